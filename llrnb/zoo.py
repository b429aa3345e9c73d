"""Modules whose model ranks are known, by counts that one can check by hand.

They are the instances by which a numerical rank, an estimate of a functional dimension or of a
learning coefficient can be judged. Every parameter is drawn from N(0, 1), so that a count holds for
almost all of them; where a module is degenerate on purpose, its name says so.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from llrnb import checks
from llrnb.models import from_module
from llrnb.rank.numerical import on_generic_inputs
from llrnb.rank.tangent import tangent_matrix
from llrnb.streams import rng, torch_seeded


@dataclass(frozen=True)
class Specimen:
    """A kind of module, and the rank of its tangent functions on generic inputs.

    Attributes:
        build: makes the module; its parameters are drawn afterwards.
        input_shape: of one input.
        rank: for almost all parameters.
        why: the count: parameters less redundant ones.
        settle: brings drawn parameters to a degenerate place; most stay where they are.
    """

    build: Callable[[], nn.Module]
    input_shape: tuple[int, ...]
    rank: int
    why: str
    settle: Callable[[nn.Module], object] = lambda module: None

    def module(self, seed: int = 0) -> nn.Module:
        """One of them, in float64, in evaluation mode."""
        stream = rng("zoo params", seed=checks.seed(seed))
        with torch_seeded(seed), torch.no_grad():
            module = self.build().double().eval()
            for value in module.parameters():
                value.copy_(torch.from_numpy(np.asarray(stream.standard_normal(value.shape))))
            self.settle(module)
        return module


class Map(nn.Module):
    """A function of the input and of some parameters of its own, for one batch."""

    def __init__(self, function: Callable[..., Tensor], **shapes: tuple[int, ...]) -> None:
        super().__init__()
        self.function = function
        for name, shape in shapes.items():
            self.register_parameter(name, nn.Parameter(torch.zeros(shape, device="cpu")))

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x, **dict(self.named_parameters()))


class First(nn.Module):
    """The outputs of a recurrent layer, without its state."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)[0]


class Attention(nn.Module):
    """A layer that attends to its own input."""

    def __init__(self, size: int, heads: int) -> None:
        super().__init__()
        self.layer = nn.MultiheadAttention(size, heads, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x, x, x, need_weights=False)[0]


class Residual(nn.Module):
    """A block that adds its input."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block

    def forward(self, x: Tensor) -> Tensor:
        return x + self.block(x)


def dense(*widths: int, between: Callable[[], nn.Module] = nn.Tanh, bias: bool = True) -> nn.Module:
    """Linear layers with an activation between them."""
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [between(), nn.Linear(before, after, bias)]
    return nn.Sequential(*layers[1:])


def _convolution(*rest: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Conv1d(1, 2, 3), *rest)


def _equal_neurons(module: nn.Module) -> None:
    for name in ("0.weight", "0.bias"):
        value = module.get_parameter(name)
        value[1] = value[0]


def _nearly_equal_neurons(module: nn.Module) -> None:
    _equal_neurons(module)
    module.get_parameter("0.weight")[1, 0] += 1e-6


def _no_output(module: nn.Module) -> None:
    module.get_parameter("2.weight")[:, 0] = 0


def _no_input(module: nn.Module) -> None:
    module.get_parameter("0.weight")[0] = 0


def _on_and_off(module: nn.Module) -> None:
    """Every neuron of the second layer is off where all of the first are, and on far from there."""
    module.get_parameter("2.weight").abs_()
    module.get_parameter("2.bias").abs_().neg_()


def _off(module: nn.Module) -> None:
    weight = module.get_parameter("0.weight")[0]
    module.get_parameter("0.bias")[0] = -abs(weight).sum() * 100


ZOO: dict[str, Specimen] = {
    "linear": Specimen(lambda: nn.Linear(5, 3), (5,), 18, "15 + 3"),
    "two linear": Specimen(
        lambda: dense(4, 2, 3, between=nn.Identity, bias=False), (4,), 10,
        "a 3 x 4 matrix of rank 2: 2 (3 + 4 - 2)",
    ),
    "two linear with biases": Specimen(
        lambda: dense(4, 2, 3, between=nn.Identity), (4,), 13,
        "that matrix, 10, and one output bias, 3",
    ),
    "three linear": Specimen(
        lambda: dense(3, 3, 3, 3, between=nn.Identity, bias=False), (3,), 9, "any 3 x 3 matrix"
    ),
    "tanh": Specimen(lambda: dense(3, 4, 2), (3,), 26, "all of 16 + 10"),
    "deep tanh": Specimen(lambda: dense(3, 4, 3, 1), (3,), 35, "all of 16 + 15 + 4"),
    "sigmoid": Specimen(lambda: dense(3, 4, 1, between=nn.Sigmoid), (3,), 21, "all of 16 + 5"),
    "GELU": Specimen(lambda: dense(3, 4, 2, between=nn.GELU), (3,), 26, "all of 16 + 10"),
    "SiLU": Specimen(lambda: dense(3, 4, 1, between=nn.SiLU), (3,), 21, "all of 16 + 5"),
    "softplus": Specimen(lambda: dense(3, 4, 1, between=nn.Softplus), (3,), 21, "all of 16 + 5"),
    "ELU": Specimen(lambda: dense(3, 4, 1, between=nn.ELU), (3,), 21, "all of 16 + 5"),
    "ReLU": Specimen(
        lambda: dense(3, 4, 2, between=nn.ReLU), (3,), 22, "26 less a scale for each of 4 neurons"
    ),
    "deep ReLU": Specimen(
        lambda: dense(3, 2, 2, 1, between=nn.ReLU), (3,), 13, "17 less a scale for each of 4",
        _on_and_off,
    ),
    "leaky ReLU": Specimen(
        lambda: dense(3, 4, 1, between=nn.LeakyReLU), (3,), 17, "21 less a scale for each of 4"
    ),
    "PReLU": Specimen(
        lambda: dense(3, 4, 1, between=nn.PReLU), (3,), 18, "22 less a scale for each of 4"
    ),
    "residual tanh": Specimen(lambda: Residual(dense(3, 4, 3)), (3,), 31, "all of 16 + 15"),
    "squares": Specimen(
        lambda: Map(lambda x, w, a: (x @ w.T).square() @ a, w=(4, 3), a=(4,)), (3,), 6,
        "a quadratic form in 3 variables",
    ),
    "cubes": Specimen(
        lambda: Map(lambda x, w, a: (x @ w.T) ** 3 @ a, w=(2, 2), a=(2,)), (2,), 4,
        "u_i^2 x_j; u_i^3 is a sum of these",
    ),
    "sines": Specimen(
        lambda: Map(lambda x, w, b, a: torch.sin(x @ w.T + b) @ a, w=(4, 3), b=(4,), a=(4,)), (3,),
        20, "all of 16 + 4",
    ),
    "product of scales": Specimen(
        lambda: Map(lambda x, w, s, t: s * t * torch.tanh(x @ w), w=(3,), s=(), t=()), (3,), 4,
        "5 less one: only the product counts",
    ),
    "scale in a softmax": Specimen(
        lambda: Map(
            lambda x, q, k, b: (torch.softmax(q * (k * x + b), -1) * x).sum(-1), q=(), k=(), b=()
        ), (4,), 1, "q k; the shift q b drops out",
    ),
    "log-softmax head": Specimen(
        lambda: nn.Sequential(nn.Linear(2, 3), nn.LogSoftmax(-1)), (2,), 6, "9 less a shift of 3"
    ),
    "tied autoencoder": Specimen(
        lambda: Map(lambda x, w, b, c: torch.tanh(x @ w.T + b) @ w + c, w=(2, 3), b=(2,), c=(3,)),
        (3,), 11, "all of 6 + 2 + 3",
    ),
    "one block three times": Specimen(
        lambda: Map(
            lambda x, w, b: torch.tanh(torch.tanh(torch.tanh(x @ w + b) @ w + b) @ w + b),
            w=(3, 3), b=(3,),
        ), (3,), 12, "all of 9 + 3",
    ),
    "maxout": Specimen(
        lambda: Map(
            lambda x, w, b, a: (torch.einsum("ni,uki->nuk", x, w) + b).amax(-1) @ a,
            w=(2, 2, 3), b=(2, 2), a=(2,),
        ), (3,), 12, "18 less a scale for each of 2 units and 4 of a linear function between them",
    ),
    "gated linear unit": Specimen(
        lambda: nn.Sequential(nn.Linear(3, 4), nn.GLU()), (3,), 16, "all of 12 + 4"
    ),
    "weight normalisation": Specimen(
        lambda: Map(
            lambda x, v, g, b, a: torch.tanh(x @ (g[:, None] * v / v.norm(dim=1, keepdim=True)).T
                                             + b) @ a,
            v=(4, 3), g=(4,), b=(4,), a=(4,),
        ), (3,), 20, "24 less a scale for each of 4 neurons",
    ),
    "low-rank adapter": Specimen(
        lambda: Map(
            lambda x, up, down: torch.tanh(x + x @ down.T @ up.T).sum(-1), up=(4, 1), down=(1, 4)
        ), (4,), 7, "a 4 x 4 matrix of rank 1: 4 + 4 - 1",
    ),
    "bilinear": Specimen(
        lambda: Map(lambda x, w: torch.einsum("ni,nj,oij->no", x[:, :3], x[:, 3:], w), w=(2, 3, 2)),
        (5,), 12, "all of 2 x 6",
    ),
    "unused parameter": Specimen(
        lambda: Map(lambda x, w, v: torch.tanh(x @ w), w=(3,), v=(4,)), (3,), 3, "7 less 4 unused"
    ),
    "batch norm": Specimen(
        lambda: nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)), (3,), 16,
        "a linear map of 12 and a bias of 4",
    ),
    "layer norm": Specimen(
        lambda: nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4, eps=1e-2)), (3,), 20,
        "24 less a shift of the 4 outputs for each of 3 weights and a bias",
    ),
    "layer norm without eps": Specimen(
        lambda: nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4, eps=0.0)), (3,), 19,
        "as with eps, less one scale of the linear map",
    ),
    "RMS norm": Specimen(
        lambda: nn.Sequential(nn.Linear(3, 4), nn.RMSNorm(4, eps=0.0)), (3,), 19,
        "20 less one scale of the linear map",
    ),
    "instance norm": Specimen(
        lambda: nn.Sequential(nn.Conv1d(2, 3, 3), nn.InstanceNorm1d(3, eps=1e-2)), (2, 7), 18,
        "21 less a bias for each of 3 channels",
    ),
    "group norm": Specimen(
        lambda: nn.Sequential(nn.Conv1d(2, 4, 3), nn.GroupNorm(2, 4, eps=1e-2)), (2, 7), 34,
        "24 + 4 + 8 less a shift of each of 2 groups",
    ),
    "convolution tanh": Specimen(
        lambda: _convolution(nn.Tanh(), nn.Flatten(), nn.Linear(8, 1)), (1, 6), 17, "all of 8 + 9"
    ),
    "convolution ReLU": Specimen(
        lambda: _convolution(nn.ReLU(), nn.Flatten(), nn.Linear(8, 1)), (1, 6), 15,
        "17 less a scale for each of 2 channels",
    ),
    "convolution linear": Specimen(
        lambda: _convolution(nn.Flatten(), nn.Linear(8, 1)), (1, 6), 7, "a linear map of 6 and a 1"
    ),
    "convolution and mean": Specimen(
        lambda: _convolution(nn.Tanh(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(2, 1)),
        (1, 6), 11, "all of 8 + 3",
    ),
    "padded convolution and maximum": Specimen(
        lambda: nn.Sequential(
            nn.Conv2d(1, 2, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(8, 1)
        ), (1, 4, 4), 27, "20 + 9 less a scale for each of 2 channels",
    ),
    "RNN": Specimen(
        lambda: First(nn.RNN(3, 2, batch_first=True)), (4, 3), 12, "14 less a second bias of 2"
    ),
    "LSTM": Specimen(
        lambda: First(nn.LSTM(3, 2, batch_first=True)), (4, 3), 48, "56 less a second bias of 8"
    ),
    "GRU": Specimen(
        lambda: First(nn.GRU(3, 2, batch_first=True)), (4, 3), 38,
        "42 less a second bias of 4, of two of three gates",
    ),
    "attention": Specimen(
        lambda: Attention(3, 1), (4, 3), 24,
        "queries times keys 4 x 3, values times outputs 3 x 3, one bias of 3",
    ),
    "attention of two heads": Specimen(
        lambda: Attention(4, 2), (5, 4), 56,
        "each head: a 5 x 4 matrix of rank 2, 14, and a 4 x 4 one, 12; one bias of 4",
    ),
    "transformer layer": Specimen(
        lambda: nn.TransformerEncoderLayer(4, 2, 6, batch_first=True), (5, 4), 102,
        "154 less 24 of attention, 5 means of its output, 4 shifts between the norms, 6 weights "
        "along 1 / gamma, a scale for each of 6 neurons, 7 means of their output",
    ),
    "transformer layer with GELU": Specimen(
        lambda: nn.TransformerEncoderLayer(4, 2, 6, activation="gelu", batch_first=True), (5, 4),
        108, "as with ReLU, whose scales are not redundant",
    ),
    "computed in float32": Specimen(
        lambda: Map(
            lambda x, w, a: torch.relu(x.float() @ w.T.float()) @ a.float(), w=(4, 3), a=(4,)
        ), (3,), 12, "16 less a scale for each of 4 neurons",
    ),
    "equal neurons": Specimen(
        lambda: dense(3, 4, 1), (3,), 16, "3 kinds of neurons, 5 each, and a bias", _equal_neurons
    ),
    "nearly equal neurons": Specimen(
        lambda: dense(3, 4, 1), (3,), 21, "all of 16 + 5, two neurons 1e-6 apart",
        _nearly_equal_neurons,
    ),
    "neuron without output": Specimen(
        lambda: dense(3, 4, 1), (3,), 17, "21 less 4 input weights", _no_output
    ),
    "neuron without input": Specimen(
        lambda: dense(3, 4, 1), (3,), 19, "3 neurons of 5, 3 linear functions and a 1", _no_input
    ),
    "neuron that is off": Specimen(
        lambda: dense(3, 4, 1, between=nn.ReLU), (3,), 13,
        "on inputs that it does not see: 3 neurons of 4, and a bias", _off,
    ),
}  # fmt: skip


def judged(name: str, seed: int = 0) -> pd.DataFrame:
    """What `numerical_rank` says of a specimen, and what the bare singular values say.

    Returns:
        One row: name, seed, parameters, known (the rank), found, verdict, reason, right; and
        bare, the rank by `torch.linalg.matrix_rank` of the same tangent matrix.
    """
    specimen = ZOO[checks.one_of(ZOO, "name", name)]
    module = specimen.module(seed)
    model = from_module(module, specimen.input_shape)
    found, inputs = on_generic_inputs(model, model.params, specimen.input_shape)
    bare = int(torch.linalg.matrix_rank(tangent_matrix(model, model.params, inputs)))
    row = {
        "name": name, "seed": seed, "parameters": model.parameter_count, "known": specimen.rank,
        "found": found.rank, "verdict": found.verdict, "reason": found.reason,
        "right": found.rank == specimen.rank, "bare": bare,
    }  # fmt: skip
    return pd.DataFrame([row])
