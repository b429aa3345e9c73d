"""Gradient training of many two-layer ReLU networks at once, in closed form.

Three networks without biases; X has a row for each sample, W a column w_i for each neuron:

    plain        f = (X W)_+ alpha
    skip         f = (X W)_+ alpha + (X w0) alpha0
    normalised   f = sum_i alpha_i gamma_i (X w_i)_+ / ||(X w_i)_+||_2

The norm is over the samples of the current batch: what a normalised network says of an input
depends on the inputs beside it. Other activations may take the place of the ReLU (.)_+.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod, sqrt

import numpy as np
import torch
from jaxtyping import Float, Real
from torch import Tensor

from llrnb import checks
from llrnb.activations import Given, activation_of
from llrnb.models import normal_params
from llrnb.networks import Params
from llrnb.streams import rng
from llrnb.training import Training, train
from llrnb.training.optimizers import AdamW, Optimizer, SignDescent

__all__ = [
    "AdamW",
    "ReluNetwork",
    "ReluTraining",
    "SignDescent",
    "initial_relu",
    "loss_gradient",
    "predict_relu",
    "test_distance",
    "test_mse",
    "train_relu",
    "weight_distance",
]

# The parameters of each network.
NETWORKS = {
    "plain": ("W", "alpha"),
    "skip": ("W", "alpha", "w0", "alpha0"),
    "normalised": ("W", "alpha", "gamma"),
}
# A neuron whose outputs are smaller than this is divided by this, not by their norm.
_SMALLEST_NORM = 1e-12

ReluTraining = Training  # its name before ReLU networks were trained like all others

_SIGN = SignDescent()


@dataclass(frozen=True)
class ReluNetwork:
    """One of these networks without its parameters: a model, for `llrnb.train` and for ranks.

    The outputs of a normalised network depend on one another: it has them at many inputs only, by
    `outputs`, is trained on mini-batches by the norms in each, and has no rank.

    Attributes:
        kind: "plain", "skip" or "normalised".
        input_dim: number of inputs.
        width: number of neurons.
        activation: of every neuron, as `llrnb.activations.activation_of` takes it.

    >>> net = ReluNetwork("skip", 5, width=3)
    >>> net.parameter_count, net(net.start(), torch.zeros(5, dtype=torch.float64))
    (24, tensor(0., dtype=torch.float64))
    """

    kind: str
    input_dim: int
    width: int
    activation: Given = "relu"

    def __post_init__(self) -> None:
        checks.settle(
            self,
            kind=checks.one_of(NETWORKS, "network", self.kind),
            input_dim=checks.count(self.input_dim, "input_dim"),
            width=checks.count(self.width, "width"),
            activation=activation_of(self.activation),
        )
        checks.room("a network", self.input_dim, self.width)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of one input."""
        return (self.input_dim,)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of every parameter array."""
        d, m = self.input_dim, self.width
        known = {"W": (d, m), "alpha": (m,), "w0": (d,), "alpha0": (), "gamma": (m,)}
        return {name: known[name] for name in NETWORKS[self.kind]}

    @property
    def parameter_count(self) -> int:
        """Number of parameters."""
        return sum(prod(shape) for shape in self.shapes.values())

    def __call__(self, params: Params, x: Real[Tensor, " input"]) -> Float[Tensor, ""]:
        """The output at one input."""
        if self.kind == "normalised":
            raise ValueError(
                "a normalised network needs many inputs at once, by its method outputs, for what "
                "it says of one depends on the others; got one"
            )
        return self.outputs(params, x[None])[0]

    def outputs(
        self, params: Params, inputs: Real[Tensor, "sample input"]
    ) -> Float[Tensor, " sample"]:
        """The outputs at many inputs."""
        checks.shapes(params, self.shapes)
        inputs = checks.reals(inputs, "inputs").to(params["W"])
        if inputs.ndim != 2 or inputs.shape[1] != self.input_dim:
            raise ValueError(
                f"the network needs inputs of shape (sample, {self.input_dim}), "
                f"got {tuple(inputs.shape)}"
            )
        return _forward(self.kind, params, inputs, self.activation)[0]

    def squares(
        self,
        params: Params,
        inputs: Float[Tensor, "net sample input"],
        outputs: Float[Tensor, "net sample"],
    ) -> tuple[dict[str, Float[Tensor, "..."]], Float[Tensor, " net"]]:
        """The gradient of many networks' sums of squared errors, and these: `loss_gradient`."""
        return loss_gradient(self.kind, params, inputs, outputs, self.activation)

    def start(self, seed: int = 0) -> dict[str, Float[Tensor, "..."]]:
        """Initial parameters: `initial_relu`."""
        return initial_relu(self.kind, self.input_dim, self.width, seed=seed)

    def init(self, std: float, seed: int = 0) -> dict[str, Float[Tensor, "..."]]:
        """Every parameter from N(0, std²), from a stream keyed by the shapes and the seed."""
        return normal_params(self.shapes, std, seed)


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
    activation: Given = "relu",
    record_at: Sequence[int] = (),
    precision: str = "float64",
    device: str = "cpu",
) -> Training:
    """Train one network per seed on all samples, on the loss sum_i (f(x_i) - y_i)^2.

    It is `llrnb.train` of a `ReluNetwork`, by the closed-form engine. A network's result does not
    depend on the others in the call (on a GPU, up to rounding, which `SignDescent` may amplify). A
    loss that blows up is an outcome in the result, not an error.

    Args:
        network: "plain", "skip" or "normalised".
        inputs: (sample, input), shared by all networks, or (net, sample, input).
        outputs: (sample), shared by all networks, or (net, sample).
        seeds: one per network, of its initialisation; see `initial_relu`.
        learning_rate: of every network.
        steps: the number of updates.
        optimizer: what a step makes of a gradient.
        width: neurons of each network; None means one more than there are samples.
        activation: as of a `ReluNetwork`.
        record_at: steps at which the networks are kept in `history`, each in 0..steps.
        precision: "float64", or "float32" for the arithmetic of the descent.
        device: where it runs: "cpu", "cuda", "cuda:1", ...

    Raises:
        ValueError: an unknown word, data of the wrong shape or not finite, counts that do not
            match, a width below 1, a learning rate that is not positive.
        RuntimeError: a GPU was asked for and there is none.
    """
    seeds = checks.many(checks.seed, seeds, "seeds")
    learning_rate = checks.real(learning_rate, "learning_rate", above=0)
    inputs, outputs = checks.data(inputs, "inputs"), checks.data(outputs, "outputs")
    if inputs.ndim not in (2, 3) or 0 in inputs.shape:
        raise ValueError(
            "training needs inputs of shape (sample, input) or (net, sample, input), "
            f"got {tuple(inputs.shape)}"
        )
    *_, samples, dim = inputs.shape
    net = ReluNetwork(network, dim, samples + 1 if width is None else width, activation)
    if inputs.ndim == 3 and outputs.ndim == 1:
        outputs = outputs.expand(len(seeds), -1)
    elif inputs.ndim == 2 and outputs.ndim == 2:
        inputs = inputs.expand(len(seeds), -1, -1)
    return train(
        net, inputs, outputs, learning_rates=[learning_rate] * len(seeds), seeds=seeds, steps=steps,
        tolerance=None, loss="sum of squares", engine="closed form", device=device,
        record_at=record_at, optimizer=optimizer, precision=precision,
    )  # fmt: skip


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
    inputs: Real[Tensor, "*#net sample input"],
    activation: Given = "relu",
) -> Float[Tensor, "net sample"]:
    """The outputs of many networks at many inputs, their own (net, sample, input) or shared.

    A normalised network normalises over these inputs, not over those it was trained on.
    """
    inputs = _seen_by(network, params, inputs, "inputs")
    return _forward(network, params, inputs, activation)[0]


def loss_gradient(
    network: str,
    params: Params,
    inputs: Float[Tensor, "net sample input"],
    outputs: Float[Tensor, "net sample"],
    activation: Given = "relu",
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
    if scale is not None:
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


def _forward(network, params, inputs, activation) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """Outputs, activations, their slopes, and what normalises each neuron, of any leading axes."""
    hidden, slope = activation_of(activation).value_and_slope(inputs @ params["W"])
    top, scale = params["alpha"], None
    if network == "normalised":
        scale = _scale(hidden)
        top = top * params["gamma"] * scale
    # A row times a matrix: its rounding does not depend on the number of networks.
    outputs = (top[..., None, :] @ hidden.mT)[..., 0, :]
    if network == "skip":
        direct = params["alpha0"][..., None] * params["w0"]
        outputs = outputs + (direct[..., None, :] @ inputs.mT)[..., 0, :]
    return outputs, hidden, slope, scale


def _scale(hidden: Tensor) -> Tensor:
    """One over the norm of every neuron's outputs, (..., neuron)."""
    # In this order, so that the derivative of the root is finite at zero.
    return 1 / hidden.square().sum(dim=-2).clamp_min(_SMALLEST_NORM**2).sqrt()


def _same_pattern(inputs: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """(net, i, j), 1 where column i of the first and j of the second have one pattern, else 0."""
    signs = [(inputs @ columns >= 0).to(inputs.dtype) * 2 - 1 for columns in (first, second)]
    return (signs[0].mT @ signs[1] == inputs.shape[-2]).to(inputs.dtype)


def _seen_by(network: str, params: Params, values: Tensor, name: str) -> Tensor:
    """What every one of these networks sees, (net, row, input), in their precision."""
    checks.one_of(NETWORKS, "network", network)
    weights = checks.mapping(params, "params").get("W")
    if not isinstance(weights, Tensor) or weights.ndim != 3:
        came = checks.came(weights)
        raise ValueError(f"networks need params W of shape (net, input, neuron), got {came}")
    nets, dim, width = weights.shape
    shapes = ReluNetwork(network, dim, width).shapes
    checks.shapes(params, {name: (nets, *shape) for name, shape in shapes.items()})
    values = checks.reals(values, name).to(weights)
    *axes, rows, columns = (0, 0, *values.shape) if values.ndim < 2 else values.shape
    if columns != dim or not rows or axes not in ([], [1], [nets]):
        raise ValueError(f"a network needs {name} of {dim} inputs, got shape {tuple(values.shape)}")
    return values.expand(nets, *values.shape[-2:])
