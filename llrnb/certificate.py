"""What a fit of the samples says about the function that they came from.

Theorem. Samples (x_i, y_i), i = 1..n, are drawn independently, the x_i from a law P, with
|y_i - f*(x_i)| <= delta for one function f*. For r of the samples let A be the zeros of their r
equations in r parameters, at most N functions. Then

    P(one of them, for some r samples, is within delta of the n - r others,
      although |f - f*| <= 2 delta on a share <= p of P only)  <=  C(n, r) N p^(n-r).

So a fit that has more samples than parameters agrees with f* on more than a share p of *this law
of inputs*, or a coincidence of that probability has occurred. p is chosen, never observed.
Elsewhere than on this law nothing is said.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from math import comb, inf, sqrt

import numpy as np
import scipy.linalg
import torch
from jaxtyping import Float
from torch import Tensor

from llrnb import checks
from llrnb.checks import double_params
from llrnb.endings import Outcome
from llrnb.least_squares import ROUNDING, Stop, checked_data, draw_starts, fit, units
from llrnb.networks import Params, TwoLayerNetwork, predict
from llrnb.rank import tangent_matrix
from llrnb.rank.exact import by_neuron
from llrnb.streams import rng

THRESHOLD = 1e3  # in units of delta: what rounding leaves of a singular value is of the order of 1
SHARES = (1e-3, 1e-6)  # of the input law, at which the bound is stated

_SELECTIONS = 32  # of rows, after the first
_STEPS = 12  # of the last Gauss-Newton steps, at most
_APART = 1e-6  # of the size of the inputs: closer ones are one input
_STARTS = 64  # from which other zeros are looked for
_STEEPEST = 4 / 27**0.5  # the largest |tanh''|
_DOUBLE, _SINGLE = 2.0**-52, 2.0**-24
_LEAST = 1e-60  # delta, in units of the data, of what is exactly zero


@dataclass(frozen=True)
class Certificate:
    """What was measured of a fit, and the verdict that follows.

    delta is the rounding of a sample: four units in the last place of its output, of the terms of
    the network there, and of what the rounding of the inputs changes. Singular values are those of
    the tangent matrix, its rows in units of delta, its columns in units of the parameters (a
    kernel's length, the root mean square of the output weights), less a bound of their rounding.

    Attributes:
        outcome: the verdict; see `certify`.
        samples: n.
        params: r, the parameters of the kernels that are not zero.
        delta: the largest, in the units of the outputs.
        misfit: the largest error on a sample, in units of its delta.
        rows: r + 1 samples; none if n <= r.
        sigma: the least singular value of every r of them, the smallest one.
        best: that of the r rows that determine the parameters best.
        radius: in which the equations of these r rows have exactly one zero (Kantorovich), in
            units of the parameters; infinite if that cannot be shown.
        zeros: N, the distinct such zeros of these rows that were seen. That there are no more is
            an assumption, not a bound.
    """

    outcome: Outcome
    samples: int
    params: int
    delta: float
    misfit: float
    rows: tuple[int, ...]
    sigma: float
    best: float
    radius: float
    zeros: int = 1

    def coincidence(self, share: float) -> float:
        """C(n, r) N p^(n-r), for a share p of the input law; at most 1."""
        free = self.samples - self.params
        return (
            min(1.0, comb(self.samples, self.params) * self.zeros * share**free)
            if free > 0
            else 1.0
        )


def certify(
    net: TwoLayerNetwork,
    params: Params,
    inputs: Tensor,
    outputs: Tensor,
    *,
    precision: float | None = None,
    seed: int = 0,
) -> Certificate:
    """Whether a fit is determined by the samples, and confirmed by one more of them.

    The outcome says

    - "not fitted": an error exceeds delta.
    - "fits to δ, not certified": no more than that. If δ exceeds the outputs, it never says more.
    - "fits to δ, locally determined": r of the samples have exactly one zero near the fit.
    - "agrees on this input law, or a coincidence": besides, there are r + 1 samples of which every
      r have a smallest singular value of at least `THRESHOLD`, so that each of them tests what the
      others determine. The theorem above holds, with the bound `Certificate.coincidence`.

    The r + 1 rows are looked for greedily, by pivots and then by the row that depends on all of
    the pivots most evenly; and 32 times more with rows weighed at random. Not finding them, or no
    radius, refutes nothing.

    Args:
        net: the network of the fit.
        params: the fit; of kernels that are zero nothing is asked.
        inputs: (sample, input).
        outputs: (sample).
        precision: a unit in the last place of the data, relative. By default that of float64, or
            of float32 if all outputs are numbers of that format.
        seed: of the rows' weights and of the starts from which other zeros are looked for.

    Raises:
        TypeError, ValueError: data or params that do not belong to the network, or not finite; a
            precision that is not between 0 and 1.

    >>> from llrnb.targets import draw, paper_target
    >>> target = paper_target()
    >>> found = certify(target.net, target.params, *draw(target, 8))
    >>> str(found.outcome), found.samples, found.params, found.coincidence(1e-3) < 0.1
    ('agrees on this input law, or a coincidence', 8, 6, True)
    """
    task, seed = _Task.of(net, params, inputs, outputs, precision), checks.seed(seed)
    if not task.misfit <= 1:
        return task.certificate(Outcome.NOT_FITTED)
    if len(task.inputs) < task.size or task.vague or not task.finite:
        return task.certificate(Outcome.FITS)
    rows, sigma = task.confirmed(seed)
    first = task.determining(rows)
    radius = task.radius(first)
    measured = {"rows": rows, "sigma": sigma, "best": task.least(first), "radius": radius}
    if radius == inf:
        return task.certificate(Outcome.FITS, **measured)
    if not sigma >= THRESHOLD:
        return task.certificate(Outcome.DETERMINED, **measured)
    return task.certificate(Outcome.AGREES, **measured, zeros=task.zeros(first, seed))


def precision_of(outputs: Tensor) -> float:
    """The relative precision of the data: 2^-24 if all outputs are float32 numbers, else 2^-52."""
    return _SINGLE if torch.equal(outputs.double(), outputs.float().double()) else _DOUBLE


def tolerance_of(precision: float) -> float:
    """The relative mean squared error at which a search has come near enough to `settle`."""
    return ROUNDING * (precision / _DOUBLE) ** 2


def settle(
    net: TwoLayerNetwork,
    params: Params,
    inputs: Tensor,
    outputs: Tensor,
    *,
    precision: float | None = None,
) -> dict[str, Tensor]:
    """The last steps of a fit, by Gauss and Newton, until every sample is met to its delta.

    Raises:
        As `certify`.
    """
    task = _Task.of(net, params, inputs, outputs, precision)
    return units(inputs.double(), outputs.double()).back(task.settled().params)


def misfit(
    net: TwoLayerNetwork,
    params: Params,
    inputs: Tensor,
    outputs: Tensor,
    *,
    precision: float | None = None,
) -> float:
    """The largest error on a sample, in units of its delta: at most 1 if the samples are fitted.

    Raises:
        As `certify`.
    """
    return _Task.of(net, params, inputs, outputs, precision).misfit


def allowance(
    net: TwoLayerNetwork,
    params: Params,
    inputs: Tensor,
    certificate: Certificate,
    *,
    precision: float = 2.0**-52,
) -> Float[Tensor, " sample"]:
    """2 delta' at any inputs: within it a fit and f* agree, on the share that is certified.

    delta' is delta there, and what the distance of at most `radius` from the exact zero changes;
    infinite without a radius.
    """
    outputs = predict(net, params, inputs)
    task = _Task.of(net, params, inputs, outputs, precision)
    radius = certificate.radius
    if radius == inf:
        return torch.full_like(outputs, inf)
    changed = radius * np.linalg.norm(task.matrix, axis=1)
    bent = radius**2 * task.curvature(radius) if radius else 0.0
    return torch.from_numpy(2 * task.unit * task.delta * (1 + changed + bent))


@dataclass(frozen=True)
class _Task:
    """The equations of a fit, all in units of the data."""

    net: TwoLayerNetwork
    params: Params
    inputs: Tensor
    outputs: Tensor
    precision: float
    unit: float  # of the outputs

    @classmethod
    def of(cls, net, params, inputs, outputs, precision) -> "_Task":
        inputs, outputs = checked_data(net, inputs, outputs)
        params = double_params(params)
        net.check(params)
        if precision is None:
            precision = precision_of(outputs)
        precision = checks.real(precision, "precision", above=0, below=1)
        unit = units(inputs, outputs)
        params = {name: unit.into(params)[name] for name in net.shapes}
        return cls(net, params, *unit.data(inputs, outputs), precision, unit.outputs)

    # What the network computes on the samples, neuron by neuron.

    @cached_property
    def neurons(self) -> tuple[np.ndarray, ...]:
        """Input weights (kernel, window, entry), biases and output weights (kernel, window)."""
        return by_neuron(self.net, {name: value.numpy() for name, value in self.params.items()})

    @cached_property
    def seen(self) -> Float[np.ndarray, "sample window entry"]:
        return self.inputs.numpy()[:, np.array(self.net.windows)]

    @cached_property
    def preactivation(self) -> Float[np.ndarray, "sample kernel window"]:
        w, b, _ = self.neurons
        return np.einsum("ipe,kpe->ikp", self.seen, w) + b

    @cached_property
    def terms(self) -> Float[np.ndarray, "sample kernel window"]:
        """|w| . |x| + |b|, times tanh': what a relative change of the inputs changes."""
        w, b, _ = self.neurons
        sums = np.einsum("ipe,kpe->ikp", np.abs(self.seen), np.abs(w)) + np.abs(b)
        return _slope(np.abs(self.preactivation)) * sums

    @cached_property
    def delta(self) -> Float[np.ndarray, " sample"]:
        a = np.abs(self.neurons[2])
        size = a.sum() + abs(float(self.params.get("c", 0.0)))
        changed = (a * self.terms).sum(axis=(1, 2))
        return np.maximum(
            4 * self.precision * (size + np.abs(self.outputs.numpy()) + changed), _LEAST
        )

    @cached_property
    def error(self) -> Float[np.ndarray, " sample"]:
        """In units of delta."""
        off = predict(self.net, self.params, self.inputs) - self.outputs
        return off.numpy() / self.delta

    @property
    def misfit(self) -> float:
        return float(np.abs(self.error).max())

    @property
    def vague(self) -> bool:
        """Whether zero would fit as well, and the fit is not zero."""
        zero_fits = (np.abs(self.outputs.numpy()) <= self.delta).all()
        return bool(zero_fits and any(value.any() for value in self.params.values()))

    # The equations' first and second derivatives.

    @cached_property
    def lengths(self) -> np.ndarray:
        """Of each kernel (kernel), or neuron (kernel, window) without sharing, with its bias."""
        parts = [self.params["w"], *([self.params["b"][..., None]] if self.net.bias else [])]
        return torch.cat(parts, dim=-1).norm(dim=-1).numpy()

    @cached_property
    def per(self) -> dict[str, np.ndarray]:
        """What each parameter is measured in; 0 for those of kernels that are zero."""
        a = self.params["a"].numpy()
        alive = (a.any(axis=1) if self.net.shared else a != 0) & (self.lengths > 0)
        length = np.where(alive, self.lengths, 0.0)
        used = np.broadcast_to(alive[:, None] if self.net.shared else alive, a.shape)
        most = np.abs(a[used]).max(initial=0.0) or 1.0  # first, so that no square overflows
        size = float(most * np.sqrt(np.square(a[used] / most).mean())) if used.any() else 0.0
        c = size or abs(float(self.params.get("c", 0.0))) or 1.0
        return {
            "w": np.broadcast_to(length[..., None], self.params["w"].shape),
            "b": length,
            "a": np.where(used, size, 0.0),
            "c": np.array(c),
        }

    def flat(self, values: dict[str, np.ndarray]) -> np.ndarray:
        """In the order of the columns of the tangent matrix; leading axes stay."""
        parts = ((values[name], len(shape)) for name, shape in self.net.shapes.items())
        return np.concatenate(
            [part.reshape(*part.shape[: part.ndim - axes], -1) for part, axes in parts], axis=-1
        )

    @cached_property
    def scale(self) -> Float[np.ndarray, " param"]:
        return self.flat(self.per)

    @cached_property
    def size(self) -> int:
        """r, the parameters of the kernels that are not zero."""
        return int((self.scale > 0).sum())

    @cached_property
    def matrix(self) -> Float[np.ndarray, "sample column"]:
        """The tangent matrix of these, rows in units of delta, columns in units of the params."""
        tangent = tangent_matrix(self.net, self.params, self.inputs).numpy()
        return (tangent * self.scale)[:, self.scale > 0] / self.delta[:, None]

    @cached_property
    def noise(self) -> Float[np.ndarray, "sample column"]:
        """A bound of the rounding error of each entry of the matrix."""
        a, x = np.abs(self.neurons[2]), np.abs(self.seen)
        lost = 4 + (self.net.entries + 2) * self.terms
        inward = a * lost
        summed = "ikp,ipe->ike" if self.net.shared else "ikp,ipe->ikpe"
        bounds = {
            "w": np.einsum(summed, inward, x),
            "b": inward.sum(axis=2) if self.net.shared else inward,
            "a": lost,
            "c": np.ones(len(x)),
        }
        bound = self.flat(bounds) * self.scale
        return _DOUBLE * bound[:, self.scale > 0] / self.delta[:, None]

    def curvature(self, radius: float) -> Float[np.ndarray, " sample"]:
        """A bound of the norm of each equation's second derivative within the radius.

        Of a neuron a tanh(v . x) it has a block a tanh'' x x^T for v, and tanh' x between v and a.
        Different kernels have none in common.
        """
        a, length, size = np.abs(self.neurons[2]), self.lengths, float(self.per["a"].max())
        if self.net.shared:
            length = length[:, None]
        x = np.sqrt(np.square(self.seen).sum(axis=2) + self.net.bias)[:, None]
        slope = _slope(np.maximum(np.abs(self.preactivation) - radius * length * x, 0.0))
        steep = np.minimum(2 * slope, _STEEPEST)
        inner = np.square(length * x) * (a + radius * size) * steep
        cross = np.square(length * size * x * slope)
        if self.net.shared:
            inner, cross = inner.sum(axis=2), cross.sum(axis=2)
        return (inner + np.sqrt(cross)).reshape(len(x), -1).max(axis=1) / self.delta

    # What follows from them.

    @property
    def finite(self) -> bool:
        """Whether the equations and their derivatives are numbers."""
        numbers = (self.matrix, self.noise, self.error)
        return all(np.isfinite(values).all() for values in numbers)

    def step(self) -> "_Task":
        """The fit after one step of Gauss and Newton; where it was, if that is nowhere."""
        if not self.finite:
            return self
        move = np.zeros_like(self.scale)
        move[self.scale > 0] = np.linalg.lstsq(self.matrix, -self.error, rcond=None)[0]
        sizes = [value.numel() for value in self.params.values()]
        parts = torch.from_numpy(move * self.scale).split(sizes)
        moved = zip(self.params.items(), parts, strict=True)
        params = {name: value + part.reshape(value.shape) for (name, value), part in moved}
        return replace(self, params=params)

    def least(self, rows: np.ndarray) -> float:
        """A lower bound of the least singular value of r rows; of the least of several r."""
        if not self.size:
            return inf
        values = np.linalg.svd(self.matrix[rows], compute_uv=False)
        rounding = np.linalg.norm(self.noise[rows], axis=(-2, -1))
        rounding = rounding + _DOUBLE * self.size * values[..., 0]
        return float((values[..., -1] - rounding).min())

    def confirmed(self, seed: int) -> tuple[tuple[int, ...], float]:
        """r + 1 rows, and the least singular value of every r of them."""
        rows: tuple[int, ...] = ()
        sigma = 0.0
        if len(self.inputs) <= self.size:
            return rows, sigma
        if not self.size:
            return (0,), inf
        for chosen in self.selections(seed):
            least = self.least(_all_but_one(chosen)) if self.apart(chosen) else 0.0
            if least > sigma:
                rows, sigma = tuple(int(row) for row in chosen), least
            if sigma >= THRESHOLD:
                break
        return rows, sigma

    def selections(self, seed: int) -> Iterator[np.ndarray]:
        """r + 1 rows each: r pivots, and the row that depends on all of these most evenly."""
        stream = rng("rows of a certificate", samples=len(self.inputs), params=self.size, seed=seed)
        if len(self.inputs) == self.size + 1:
            yield np.arange(len(self.inputs))
            return
        for trial in range(1 + _SELECTIONS):
            weight = stream.uniform(size=len(self.inputs)) if trial else np.ones(len(self.inputs))
            first, rest, least = self.pivots(weight)
            if least >= THRESHOLD:
                shares = np.linalg.solve(self.matrix[first].T, self.matrix[rest].T)
                yield np.append(first, rest[np.abs(shares).min(axis=0).argmax()])

    def pivots(self, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
        """r rows by pivots, the others, and a bound above their least singular value."""
        triangle, order = scipy.linalg.qr(
            (self.matrix * weight[:, None]).T, mode="r", pivoting=True
        )
        last = abs(triangle[self.size - 1, self.size - 1]) / weight[order[self.size - 1]]
        return order[: self.size], order[self.size :], float(last)

    def apart(self, rows: np.ndarray) -> bool:
        """Whether no two inputs are one, up to rounding."""
        chosen = self.inputs[rows]
        return bool((torch.pdist(chosen) > _APART * chosen.norm(dim=1).max()).all())

    def determining(self, rows: tuple[int, ...]) -> np.ndarray:
        """The r of r + 1 rows that determine the parameters best; the pivots if there are none."""
        if not self.size:
            return np.arange(0)
        if not rows:
            return self.pivots(np.ones(len(self.inputs)))[0]
        return max(_all_but_one(np.array(rows)), key=self.least)

    def radius(self, rows: np.ndarray) -> float:
        """In which the equations of these r rows have exactly one zero, by Kantorovich.

        With eta >= |F'^-1 F| at the fit, and omega >= |F'^-1 F''| within 2 eta, there is one if
        h = omega eta <= 1/2, no farther than 2 eta / (1 + sqrt(1 - 2h)).
        """
        if not self.size:
            return 0.0
        sigma = self.least(rows)
        if not sigma >= THRESHOLD:
            return inf
        inverse = np.linalg.inv(self.matrix[rows])
        lost = 1 / (sigma * np.linalg.norm(inverse, 2))  # by the rounding of the matrix
        spread, wrong = np.abs(inverse), _DOUBLE / self.precision  # of the errors, in delta
        off, blurred = inverse @ self.error[rows], spread.sum(axis=1) * wrong
        eta = float(lost * (np.linalg.norm(off) + np.linalg.norm(blurred)))
        bent = self.curvature(2 * eta)[rows]
        h = eta * min(lost * np.linalg.norm(spread @ bent), np.linalg.norm(bent) / sigma)
        return float(2 * eta / (1 + sqrt(1 - 2 * h))) if h <= 0.5 else inf

    def zeros(self, rows: np.ndarray, seed: int) -> int:
        """How many functions are certified zeros of these r rows, the fit among them."""
        if self.size < self.net.parameter_count or not self.size:
            return 1
        x, y = self.inputs[rows], self.outputs[rows]
        starts = draw_starts(self.net, x, y, _STARTS, seed)
        fits = fit(self.net, x, y, starts, tolerance=tolerance_of(self.precision))
        where = (self.inputs + self.inputs.flip(0)) / 2
        found = [predict(self.net, self.params, where)]
        for start in (i for i, stop in enumerate(fits.status) if stop is Stop.CONVERGED):
            params = fits.params[start]
            values = predict(self.net, params, where)
            new = all((values - other).norm() > _APART * other.norm() for other in found)
            if new and replace(self, params=params, inputs=x, outputs=y).is_zero():
                found.append(values)
        return len(found)

    def is_zero(self) -> bool:
        """Whether exactly one zero of as many equations is near."""
        task = self.settled()
        return task.misfit <= 1 and task.finite and task.radius(np.arange(len(self.inputs))) < inf

    def settled(self) -> "_Task":
        """The fit after as many steps as lower the misfit, until every sample is met."""
        task = self
        for _ in range(_STEPS):
            further = task.step() if task.misfit > 1 else task
            if not further.misfit < task.misfit:
                break
            task = further
        return task

    def certificate(self, outcome: Outcome, **measured) -> Certificate:
        nothing = {"rows": (), "sigma": 0.0, "best": 0.0, "radius": inf}
        return Certificate(
            outcome, len(self.inputs), self.size, self.unit * float(self.delta.max()), self.misfit,
            **{**nothing, **measured},
        )  # fmt: skip


def _slope(z: np.ndarray) -> np.ndarray:
    """tanh' at z >= 0, without cancellation."""
    q = np.exp(-2 * z)
    return 4 * q / np.square(1 + q)


def _all_but_one(rows: np.ndarray) -> np.ndarray:
    """Every choice of all but one of them, one in a line."""
    return np.array([np.delete(rows, k) for k in range(len(rows))])
