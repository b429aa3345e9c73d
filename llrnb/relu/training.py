"""Gradient training of many two-layer ReLU networks at once, in closed form.

Three networks without biases; X has a row for each sample, W a column w_i for each neuron:

    plain        f = (X W)_+ alpha
    skip         f = (X W)_+ alpha + (X w0) alpha0
    normalised   f = sum_i alpha_i gamma_i (X w_i)_+ / ||(X w_i)_+||_2

The norm is over the samples of the current batch: what a normalised network says of an input
depends on the inputs beside it. Other activations may take the place of the ReLU (.)_+.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf, pi, sqrt

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from llrnb import checks
from llrnb.streams import rng
from llrnb.training import check_device, progress
from llrnb.training.optimizers import GradientDescent, check_bounds
from llrnb.training.outcome import History

Params = Mapping[str, Tensor]

# The parameters of each network.
NETWORKS = {
    "plain": ("W", "alpha"),
    "skip": ("W", "alpha", "w0", "alpha0"),
    "normalised": ("W", "alpha", "gamma"),
}
_PRECISIONS = {"float64": torch.float64, "float32": torch.float32}
# A neuron whose outputs are smaller than this is divided by this, not by their norm.
_SMALLEST_NORM = 1e-12
_LEAK = 0.01
# Activations that a CPU computes at a time: those of a few networks, which stay in its cache.
_TOGETHER = 2**15


@dataclass(frozen=True)
class AdamW:
    """Adam with decoupled weight decay, as torch.optim.AdamW; m and v average g and g^2:

    theta <- (1 - learning_rate weight_decay) theta
             - learning_rate (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + epsilon)
    """

    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    weight_decay: float = 0.01

    def __post_init__(self) -> None:
        check_bounds(self, beta1=1, beta2=1, epsilon=inf, weight_decay=inf)


@dataclass(frozen=True)
class SignDescent:
    """A step of one length in every coordinate, whatever the size of the gradient g:

    theta <- (1 - learning_rate weight_decay) theta - learning_rate g / (|g| + epsilon)

    It is AdamW without a memory. The experiments of the neural-recovery repositories are named
    after AdamW, but create it anew in each epoch of one step, and so run this. A neuron whose
    gradient is zero up to rounding, such as a normalised one that a single sample activates, moves
    by its rounding errors where they are not small against epsilon.
    """

    epsilon: float = 1e-8
    weight_decay: float = 1e-6

    def __post_init__(self) -> None:
        check_bounds(self, epsilon=inf, weight_decay=inf)


Optimizer = GradientDescent | AdamW | SignDescent

_SIGN = SignDescent()


@dataclass(frozen=True)
class ReluTraining:
    """Many trained networks, along a leading `net` axis.

    Attributes:
        params: each array with a leading net axis; the neurons are the columns of `W`.
        loss: the sum of the squared errors of these params on the train data; infinite or NaN for
            a network that has diverged.
        history: the networks at the steps of `record_at`.
    """

    params: Params
    loss: Float[Tensor, " net"]
    history: History


def train_relu(
    network: str,
    inputs: Tensor | np.ndarray,
    outputs: Tensor | np.ndarray,
    *,
    seeds: Sequence[int],
    learning_rate: float = 2e-3,
    steps: int = 400,
    optimizer: Optimizer = _SIGN,
    width: int | None = None,
    activation: str = "relu",
    record_at: Sequence[int] = (),
    precision: str = "float64",
    device: str = "cpu",
) -> ReluTraining:
    """Train one network per seed on all samples, on the loss sum_i (f(x_i) - y_i)^2.

    A network's result does not depend on the others in the call (on a GPU, up to rounding, which
    `SignDescent` may amplify). A loss that blows up is an outcome in the result, not an error.

    Args:
        network: "plain", "skip" or "normalised".
        inputs: (sample, input), shared by all networks, or (net, sample, input).
        outputs: (sample), shared by all networks, or (net, sample).
        seeds: one per network, of its initialisation; see `initial_relu`.
        learning_rate: of every network.
        steps: the number of updates.
        optimizer: what a step makes of a gradient.
        width: neurons of each network; None means one more than there are samples.
        activation: "relu", "leaky relu", "tanh", "sigmoid" or "gelu".
        record_at: steps at which the networks are kept in `history`, each in 0..steps.
        precision: "float64", or "float32" for the arithmetic of the descent.
        device: where it runs: "cpu", "cuda", "cuda:1", ...

    Raises:
        ValueError: an unknown word, data of the wrong shape or not finite, counts that do not
            match, a width below 1, a learning rate that is not positive.
        RuntimeError: a GPU was asked for and there is none.
    """
    seeds = checks.many(checks.seed, seeds, "seeds")
    inputs, outputs = _checked_data(inputs, outputs, nets=len(seeds))
    width = inputs.shape[-2] + 1 if width is None else checks.count(width, "width")
    checks.one_of(_ACTIVATIONS, "activation", activation)
    checks.one_of(_PRECISIONS, "precision", precision)
    check_device(device)
    checks.instance(optimizer, Optimizer, "optimizer")
    learning_rate = checks.real(learning_rate, "learning_rate", above=0)
    steps = checks.count(steps, "steps")
    record_at = checks.many(checks.count, record_at, "record_at", fewest=0, least=0, most=steps)
    checks.room("the history", 1 + len(record_at), len(seeds), width, inputs.shape[-1])

    initial = [initial_relu(network, inputs.shape[-1], width, seed=seed) for seed in seeds]
    task = {"rate": learning_rate, "steps": steps, "optimizer": optimizer, "record_at": record_at}
    on_cpu = torch.device(device).type == "cpu"
    together = max(1, _TOGETHER // (width * inputs.shape[-2])) if on_cpu else len(seeds)
    parts = []
    with progress.bar(steps * len(seeds)) as report:
        for first in range(0, len(seeds), together):
            nets = slice(first, first + together)
            params = {name: torch.stack([p[name] for p in initial[nets]]) for name in initial[0]}
            tensors = ({"X": inputs[nets], "y": outputs[nets]}, params)
            data, params = (_cast(part, device, _PRECISIONS[precision]) for part in tensors)
            parts.append(_descend(network, *data.values(), params, activation, **task))
            report(steps * min(first + together, len(seeds)))
    return _joined(parts, record_at)


def initial_relu(
    network: str, input_dim: int, width: int, *, seed: int = 0
) -> dict[str, Float[Tensor, "..."]]:
    """Every parameter uniform in ±1/sqrt(fan_in), from a stream keyed by width, input_dim and seed.

    The fan-in is input_dim for `W` and `w0`, width for `alpha`, and 1 for `alpha0`; `gamma` is 1.
    Networks of different kinds start with the same neurons.

    Raises:
        ValueError: an unknown network, or a size below 1.
    """
    checks.one_of(NETWORKS, "network", network)
    input_dim, width = checks.count(input_dim, "input_dim"), checks.count(width, "width")
    checks.room("a network", input_dim, width)
    stream = rng("ReLU initial params", width=width, inputs=input_dim, seed=checks.seed(seed))
    drawn = {
        "W": stream.uniform(-1, 1, (input_dim, width)) / sqrt(input_dim),
        "alpha": stream.uniform(-1, 1, width) / sqrt(width),
        "w0": stream.uniform(-1, 1, input_dim) / sqrt(input_dim),
        "alpha0": np.asarray(stream.uniform(-1, 1)),
        "gamma": np.ones(width),
    }
    return {name: torch.from_numpy(drawn[name]) for name in NETWORKS[network]}


def predict_relu(
    network: str,
    params: Params,
    inputs: Float[Tensor, "*#net sample input"],
    activation: str = "relu",
) -> Float[Tensor, "net sample"]:
    """The outputs of many networks at many inputs, their own (net, sample, input) or shared.

    A normalised network normalises over these inputs, not over those it was trained on.
    """
    checks.one_of(_ACTIVATIONS, "activation", activation)
    inputs = _seen_by(network, params, inputs, "inputs")
    return _forward(network, params, inputs, activation)[0]


def loss_gradient(
    network: str,
    params: Params,
    inputs: Float[Tensor, "net sample input"],
    outputs: Float[Tensor, "net sample"],
    activation: str = "relu",
) -> tuple[dict[str, Float[Tensor, "..."]], Float[Tensor, " net"]]:
    """Of every network's loss sum_i (f(x_i) - y_i)^2, and that loss.

    With e = 2 (f - y) and A the activations of X W, for a plain network

        alpha: A^T e        W: X^T (e alpha^T ∘ A')

    A skip network adds w0: alpha0 X^T e and alpha0: (X w0)^T e. In a normalised network a_i / s_i
    with s_i = ||a_i||_2 stands for the column a_i, alpha_i gamma_i for alpha_i, and e is, for
    neuron i, its part orthogonal to a_i, over s_i.
    """
    found, hidden, slope, scale = _forward(network, params, inputs, activation)
    error = found - outputs
    loss = error.square().sum(dim=-1)
    error = (2 * error)[..., None]
    by_top = (hidden.mT @ error)[..., 0]
    gradient = {"alpha": by_top}
    top = params["alpha"]
    if network == "normalised":
        by_top = by_top * scale
        gradient = {"alpha": params["gamma"] * by_top, "gamma": top * by_top}
        inner = torch.where(scale < 1 / _SMALLEST_NORM, by_top * scale, 0.0)
        slope = slope * torch.addcmul(error, hidden, inner[:, None], value=-1)
        top = top * params["gamma"] * scale
    else:
        slope = slope * error
    gradient["W"] = (inputs.mT @ slope) * top[:, None]
    if network == "skip":
        by_direct = (inputs.mT @ error)[..., 0]
        gradient["w0"] = params["alpha0"][:, None] * by_direct
        gradient["alpha0"] = (params["w0"] * by_direct).sum(dim=-1)
    return gradient, loss


def weight_distance(
    network: str,
    params: Params,
    planted: Float[Tensor, "*#net input planted"],
    inputs: Float[Tensor, "*#net sample input"],
) -> Float[Tensor, " net"]:
    """How far each ReLU network's weights are from the planted ones, as in the convex programs.

    skip: ||alpha0 w0 - sum_j w*_j||_2; the other neurons do not count, nor do the inputs.

    plain and normalised: there, neurons with one activation pattern 1[X w >= 0] on the train
    inputs act as one. Let u_j be the sum of the network's neurons with the pattern of the planted
    w*_j, each alpha_i w_i; the distance is (sum_j ||u_j - w*_j||^2)^(1/2). For a normalised network
    the neurons are alpha_i gamma_i w_i / ||(X w_i)_+||, the planted ones w*_j / ||(X w*_j)_+||, and
    the norm of a vector v is that of D_j X v, D_j the pattern. Planted neurons with one pattern
    are first added up. Neurons with other patterns do not count: a network without a neuron in
    any planted pattern is at the distance of a network that is zero.

    Args:
        network: "plain", "skip" or "normalised".
        params: of many networks.
        planted: the planted neurons as columns, shared or for each network.
        inputs: the train inputs, shared or for each network.
    """
    inputs = _seen_by(network, params, inputs, "inputs")
    planted = _seen_by(network, params, checks.tensor(planted, "planted").mT, "planted").mT
    for name, values in {"inputs": inputs, "planted": planted}.items():
        if not values.isfinite().all():  # NaN >= 0 is False, and has a pattern
            raise ValueError(f"a distance needs finite {name}, got NaN or infinity")
    if network == "skip":
        return (params["alpha0"][:, None] * params["w0"] - planted.sum(dim=-1)).norm(dim=-1)
    vectors, goals = params["W"] * params["alpha"][:, None], planted
    if network == "normalised":  # the vectors D_j X v themselves
        ours, goals = (inputs @ params["W"]).relu(), (inputs @ planted).relu()
        goals = goals * _scale(goals)[:, None]
        vectors = ours * (params["alpha"] * params["gamma"] * _scale(ours))[:, None]
    of_pattern = _same_pattern(inputs, params["W"], planted)  # (net, neuron, planted)
    alike = _same_pattern(inputs, planted, planted)
    gap = vectors @ of_pattern - goals @ alike
    # Planted neurons with one pattern have the same gap: it counts once.
    return (gap.square().sum(dim=-2) / alike.sum(dim=-2)).sum(dim=-1).sqrt()


def test_distance(
    predictions: Float[Tensor, "net sample"], truth: Float[Tensor, "*#net sample"]
) -> Float[Tensor, " net"]:
    """||f(X) - f*(X)||_2 on fresh inputs X, with f*(X) free of noise."""
    return (predictions - truth).norm(dim=-1)


def test_mse(
    predictions: Float[Tensor, "net sample"], truth: Float[Tensor, "*#net sample"]
) -> Float[Tensor, " net"]:
    """The mean of (f(x) - f*(x))^2 over fresh inputs x, with f*(x) free of noise."""
    return (predictions - truth).square().mean(dim=-1)


def _relu(h: Tensor) -> tuple[Tensor, Tensor]:
    a = h.relu()
    return a, a.sign()  # several times faster than h > 0


def _leaky_relu(h: Tensor) -> tuple[Tensor, Tensor]:
    slope = torch.where(h > 0, 1.0, h.new_full((), _LEAK))
    return slope * h, slope


def _tanh(h: Tensor) -> tuple[Tensor, Tensor]:
    a = h.tanh()
    return a, 1 - a * a


def _sigmoid(h: Tensor) -> tuple[Tensor, Tensor]:
    a = 0.5 + 0.5 * (0.5 * h).tanh()  # its rounding does not depend on the number of networks
    return a, a * (1 - a)


def _gelu(h: Tensor) -> tuple[Tensor, Tensor]:
    below = torch.special.ndtr(h)
    return h * below, below + h * (-0.5 * h * h).exp() / sqrt(2 * pi)


# Each gives the values and the derivatives at many points.
_ACTIVATIONS = {
    "relu": _relu,
    "leaky relu": _leaky_relu,
    "tanh": _tanh,
    "sigmoid": _sigmoid,
    "gelu": _gelu,
}


def _forward(network, params, inputs, activation) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """Outputs, activations, their slopes, and what normalises each neuron (net, neuron)."""
    hidden, slope = _ACTIVATIONS[activation](inputs @ params["W"])
    top, scale = params["alpha"], None
    if network == "normalised":
        scale = _scale(hidden)
        top = top * params["gamma"] * scale
    # A row times a matrix: its rounding does not depend on the number of networks.
    outputs = (top[:, None] @ hidden.mT)[:, 0]
    if network == "skip":
        direct = params["alpha0"][:, None] * params["w0"]
        outputs = outputs + (direct[:, None] @ inputs.mT)[:, 0]
    return outputs, hidden, slope, scale


def _scale(hidden: Tensor) -> Tensor:
    """One over the norm of every neuron's outputs (net, neuron)."""
    return 1 / hidden.square().sum(dim=-2).sqrt().clamp_min(_SMALLEST_NORM)


def _descend(
    network, inputs, outputs, params, activation, *, rate, steps, optimizer, record_at
) -> ReluTraining:
    memory = {name: [torch.zeros_like(v) for _ in range(2)] for name, v in params.items()}
    kept = {}
    for step in range(steps + 1):
        gradient, loss = loss_gradient(network, params, inputs, outputs, activation)
        if step in record_at:
            kept[step] = _cast({**params, "loss": loss}, "cpu", torch.float64)
        if step < steps:
            for name, value in params.items():
                _update(optimizer, rate, value, gradient[name], memory[name], step + 1)
    last = _cast({**params, "loss": loss}, "cpu", torch.float64)
    records = {name: [kept[step][name] for step in record_at] for name in last}
    past = {
        name: torch.stack(values) if values else last[name].new_empty((0, *last[name].shape))
        for name, values in records.items()
    }
    return ReluTraining(last, last.pop("loss"), History(record_at, past, past.pop("loss")))


def _update(by: Optimizer, rate: float, value, slope, memory, t: int) -> None:
    """The t-th step of one array of parameters, in place."""
    if isinstance(by, GradientDescent):
        (v, _) = memory
        v.mul_(by.momentum).add_(slope).add_(value, alpha=by.weight_decay)
        value.sub_(v, alpha=rate)
        return
    if isinstance(by, AdamW):
        m, v = memory
        m.mul_(by.beta1).add_(slope, alpha=1 - by.beta1)
        v.mul_(by.beta2).addcmul_(slope, slope, value=1 - by.beta2)
        slope = m / (1 - by.beta1**t)
        size = (v / (1 - by.beta2**t)).sqrt_()
    else:
        size = slope.abs()
    value.mul_(1 - rate * by.weight_decay).addcdiv_(slope, size.add_(by.epsilon), value=-rate)


def _cast(tensors: Params, device: str, dtype: torch.dtype) -> dict[str, Tensor]:
    return {name: value.to(device, dtype, copy=True) for name, value in tensors.items()}


def _joined(parts: Sequence[ReluTraining], record_at: tuple[int, ...]) -> ReluTraining:
    """The networks of all parts, in order."""
    pasts = [part.history for part in parts]
    return ReluTraining(
        {name: torch.cat([part.params[name] for part in parts]) for name in parts[0].params},
        torch.cat([part.loss for part in parts]),
        History(
            record_at,
            {name: torch.cat([p.params[name] for p in pasts], dim=1) for name in pasts[0].params},
            torch.cat([past.loss for past in pasts], dim=1),
        ),
    )


def _same_pattern(inputs: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """(net, i, j), 1 where column i of the first and j of the second have one pattern, else 0."""
    signs = [(inputs @ columns >= 0).to(inputs.dtype) * 2 - 1 for columns in (first, second)]
    return (signs[0].mT @ signs[1] == inputs.shape[-2]).to(inputs.dtype)


def _checked_data(inputs, outputs, *, nets: int) -> tuple[Tensor, Tensor]:
    """The data of every network, as float64 tensors on the CPU."""
    inputs, outputs = checks.data(inputs, "inputs"), checks.data(outputs, "outputs")
    shape = tuple(inputs.shape)
    if inputs.ndim not in (2, 3) or 0 in shape or (inputs.ndim == 3 and shape[0] != nets):
        raise ValueError(
            f"training needs inputs of shape (sample, input) or ({nets}, sample, input), "
            f"for {nets} seeds, got {shape}"
        )
    samples = shape[-2]
    if tuple(outputs.shape) not in ((samples,), (nets, samples)):
        raise ValueError(
            f"training needs outputs of shape ({samples},) or ({nets}, {samples}), "
            f"got {tuple(outputs.shape)}"
        )
    return inputs.expand(nets, *shape[-2:]), outputs.expand(nets, samples)


def _seen_by(network: str, params: Params, values: Tensor, name: str) -> Tensor:
    """What every one of these networks sees, (net, row, input), in their precision."""
    checks.one_of(NETWORKS, "network", network)
    weights = checks.mapping(params, "params").get("W")
    if not isinstance(weights, Tensor) or weights.ndim != 3:
        came = checks.came(weights)
        raise ValueError(f"networks need params W of shape (net, input, neuron), got {came}")
    nets, dim, width = weights.shape
    shapes = {"W": (dim, width), "alpha": (width,), "w0": (dim,), "alpha0": (), "gamma": (width,)}
    checks.shapes(params, {part: (nets, *shapes[part]) for part in NETWORKS[network]})
    values = checks.tensor(values, name).to(weights)
    *axes, rows, columns = (0, 0, *values.shape) if values.ndim < 2 else values.shape
    if columns != dim or not rows or axes not in ([], [1], [nets]):
        raise ValueError(f"a network needs {name} of {dim} inputs, got shape {tuple(values.shape)}")
    return values.expand(nets, *values.shape[-2:])
