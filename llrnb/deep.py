"""Networks of any depth, for what holds at any depth: embeddings, bounds, open questions."""

from dataclasses import dataclass
from itertools import pairwise
from math import prod

import numpy as np
from jaxtyping import Float, Real
from torch import Tensor

from llrnb import checks
from llrnb.activations import TANH, Given, activation_of
from llrnb.networks import Params, drawn_params
from llrnb.streams import rng


@dataclass(frozen=True)
class DeepNetwork:
    """A fully connected network of L layers without its parameters.

        h_0 = x,    h_l = activation(w_l h_(l-1) + b_l),    f(x) = w_L h_(L-1)

    With `residual`, the hidden layers from the second on add their input: h_l = h_(l-1) + ....

    Attributes:
        widths: number of inputs, of neurons in each hidden layer, and of outputs, which is 1.
        bias: whether hidden neurons have biases. There is no output bias.
        residual: whether hidden layers add their input; they are then of one width.
        activation: of every hidden neuron; it may be given by name, or as a function.

    >>> DeepNetwork((5, 3, 2, 1)).parameter_count
    23
    """

    widths: tuple[int, ...]
    bias: bool = False
    residual: bool = False
    activation: Given = TANH

    def __post_init__(self) -> None:
        checks.settle(
            self,
            widths=checks.many(checks.count, self.widths, "widths"),
            bias=checks.flag(self.bias, "bias"),
            residual=checks.flag(self.residual, "residual"),
            activation=activation_of(self.activation),
        )
        for before, after in pairwise(self.widths):
            checks.room("a layer", before, after)
        if len(self.widths) < 3 or self.widths[-1] != 1:
            raise ValueError(
                "a deep network needs widths of inputs, hidden layers and 1 output, "
                f"all at least 1, got {self.widths}"
            )
        if self.residual and len(set(self.widths[1:-1])) > 1:
            raise ValueError(
                f"a residual network needs hidden layers of one width, got {self.widths}"
            )

    @property
    def input_dim(self) -> int:
        """Number of inputs."""
        return self.widths[0]

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of one input."""
        return (self.input_dim,)

    @property
    def layers(self) -> int:
        """Number of layers L, the output's included."""
        return len(self.widths) - 1

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of every parameter array: w1, b1, w2, …, and no bias in the last layer."""
        shapes: dict[str, tuple[int, ...]] = {}
        for layer in range(1, self.layers + 1):
            shapes[f"w{layer}"] = (self.widths[layer], self.widths[layer - 1])
            if self.bias and layer < self.layers:
                shapes[f"b{layer}"] = (self.widths[layer],)
        return shapes

    @property
    def parameter_count(self) -> int:
        """Number of parameters M."""
        return sum(prod(shape) for shape in self.shapes.values())

    def __call__(self, params: Params, x: Real[Tensor, " input"]) -> Float[Tensor, ""]:
        """The output at one input."""
        self.check(params)
        activation = activation_of(self.activation)
        hidden = checks.reals(x, "x").to(params["w1"].dtype)
        if x.shape != (self.input_dim,):
            raise ValueError(
                f"the network needs an input of shape ({self.input_dim},), got {tuple(x.shape)}"
            )
        for layer in range(1, self.layers):
            inner = params[f"w{layer}"] @ hidden
            inner = activation(inner + params[f"b{layer}"] if self.bias else inner)
            hidden = hidden + inner if self.residual and layer > 1 else inner
        return (params[f"w{self.layers}"] @ hidden)[0]

    def init(self, std: float = 1.0, seed: int = 0) -> dict[str, Float[Tensor, "..."]]:
        """Every parameter from N(0, std²), from a stream keyed by the architecture and the seed."""
        return self.draw_params(self.stream("deep initial params", checks.seed(seed)), std)

    def draw_params(
        self, stream: np.random.Generator, std: float = 1.0
    ) -> dict[str, Float[Tensor, "..."]]:
        """Every parameter from N(0, std²), from a stream of one's own."""
        return drawn_params(self.shapes, stream, std)

    def stream(self, role: str, seed: int) -> np.random.Generator:
        """The stream of a role (`llrnb.streams`) for this architecture."""
        return rng(role, widths=self.widths, bias=self.bias, residual=self.residual, seed=seed)

    def check(self, params: Params) -> None:
        """Raise ValueError unless params are this network's."""
        checks.shapes(params, self.shapes)
