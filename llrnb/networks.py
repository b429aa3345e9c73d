"""What a network computes: kernels looking through windows.

Every two-layer architecture of the book is one object,

    f(x) = sum_k sum_p  a[k, p] tanh(w[k] . x[window p] + b[k]) + c,

where another activation may take the place of tanh.

A fully connected network has one window that sees every input. A convolution has sliding windows
and one kernel set shared by all of them; without sharing every window has its own kernels. Strides
and images are only other windows. Both biases are optional. Parameters live outside, in a dict of
float64 tensors.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from math import prod
from typing import TypeGuard

import numpy as np
import torch
from jaxtyping import Float, Real
from torch import Tensor

from llrnb import checks
from llrnb.activations import TANH, Given, activation_of
from llrnb.streams import rng

Params = Mapping[str, Tensor]

_ENTRIES = 10**7  # of all windows together: some seconds and a gigabyte


@dataclass(frozen=True)
class TwoLayerNetwork:
    """A two-layer network without its parameters; build one with `fully_connected` or `cnn`.

    Attributes:
        input_dim: number of inputs d; an image counts its pixels, row by row.
        windows: for each window, the inputs it sees, in the order of the kernel's entries.
        kernels: number of kernels N (of neurons, when there is one window).
        shared: whether all windows use the same kernels (weight sharing).
        bias: whether a hidden neuron has a bias b.
        output_bias: whether the output has a bias c; the paper's networks have none.
        activation: of every hidden neuron; it may be given by name. What is proved or compiled for
            tanh alone refuses the others.
    """

    input_dim: int
    windows: tuple[tuple[int, ...], ...]
    kernels: int
    shared: bool = True
    bias: bool = True
    output_bias: bool = False
    activation: Given = TANH

    def __post_init__(self) -> None:
        entries = partial(checks.many, partial(checks.count, least=0))
        checks.settle(
            self,
            input_dim=checks.count(self.input_dim, "input_dim"),
            windows=checks.many(entries, self.windows, "windows"),
            kernels=checks.count(self.kernels, "kernels"),
            shared=checks.flag(self.shared, "shared"),
            bias=checks.flag(self.bias, "bias"),
            output_bias=checks.flag(self.output_bias, "output_bias"),
            activation=activation_of(self.activation),
        )
        checks.room("a network", self.kernels, len(self.windows), self.entries + 1)
        if len({len(window) for window in self.windows}) != 1 or not self.windows[0]:
            raise ValueError("a network needs windows of one common, nonzero size")
        for window in self.windows:
            if (
                len(set(window)) < len(window)
                or not 0 <= min(window) <= max(window) < self.input_dim
            ):
                raise ValueError(
                    f"a window needs distinct inputs in 0..{self.input_dim - 1}, got {window}"
                )

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of one input."""
        return (self.input_dim,)

    @property
    def entries(self) -> int:
        """Number of inputs that one window sees, without the bias."""
        return len(self.windows[0])

    @property
    def neurons(self) -> int:
        """Number of hidden neurons, kernels times windows."""
        return self.kernels * len(self.windows)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of every parameter array, in the order in which `init` draws them."""
        rows = (self.kernels,) if self.shared else (self.kernels, len(self.windows))
        biases = {"b": rows} if self.bias else {}
        output = {"c": ()} if self.output_bias else {}
        a = (self.kernels, len(self.windows))
        return {"w": (*rows, self.entries), **biases, "a": a, **output}

    @property
    def parameter_count(self) -> int:
        """Number of parameters M."""
        return sum(prod(shape) for shape in self.shapes.values())

    def __call__(self, params: Params, x: Real[Tensor, " input"]) -> Float[Tensor, ""]:
        """The output at one input; `predict` batches it.

        Args:
            params: `w` (kernel, entry) if shared, else (kernel, window, entry); `b` (kernel) or
                (kernel, window) if there is a bias; `a` (kernel, window); `c` () if the output has
                a bias.
            x: the input.
        """
        self.check(params)
        x = checks.reals(x, "x").to(params["w"].dtype)
        if x.shape != (self.input_dim,):
            raise ValueError(
                f"the network needs an input of shape ({self.input_dim},), got {tuple(x.shape)}"
            )
        seen = x[self._windows_on(x.device)]
        subscripts = "ke,pe->kp" if self.shared else "kpe,pe->kp"
        preactivation = torch.einsum(subscripts, params["w"], seen)
        if self.bias:
            b = params["b"]
            preactivation = preactivation + (b[:, None] if self.shared else b)
        output = (params["a"] * activation_of(self.activation)(preactivation)).sum()
        return output + params["c"] if self.output_bias else output

    def init(self, std: float = 1e-10, seed: int = 0) -> dict[str, Float[Tensor, "..."]]:
        """Every parameter from N(0, std²), from a stream keyed by the architecture and the seed."""
        return self.draw_params(self.stream("initial params", checks.seed(seed)), std)

    def draw_params(
        self, stream: np.random.Generator, std: float = 1.0
    ) -> dict[str, Float[Tensor, "..."]]:
        """Every parameter from N(0, std²), from a stream of one's own."""
        return drawn_params(self.shapes, stream, std)

    def stream(self, role: str, seed: int) -> np.random.Generator:
        """The stream of a role (`llrnb.streams`) for this architecture."""
        return rng(
            role, kernels=self.kernels, windows=len(self.windows), entries=self.entries,
            shared=self.shared, bias=self.bias, output_bias=self.output_bias, seed=seed,
        )  # fmt: skip

    def neuron_weights(self, params: Params) -> Float[Tensor, "neuron input"]:
        """Each neuron's input weights as a vector over all inputs, zero outside its window.

        Neurons are ordered by kernel, then by window. A bias is one more entry at the end, the
        weight of a constant input 1.
        """
        self.check(params)
        rows = params["w"][:, None] if self.shared else params["w"]
        padded = rows.new_zeros(self.kernels, len(self.windows), self.input_dim)
        at = self._windows_on(rows.device).expand(self.kernels, -1, -1)
        padded.scatter_(-1, at, rows.expand(at.shape))
        if self.bias:
            b = params["b"][:, None] if self.shared else params["b"]
            padded = torch.cat([padded, b.expand(padded.shape[:-1])[..., None]], dim=-1)
        return padded.flatten(0, 1)

    def check(self, params: Params, *, axes: tuple[int, ...] = ()) -> None:
        """Raise ValueError unless params are this network's, with the given leading axes."""
        checks.shapes(params, {name: (*axes, *shape) for name, shape in self.shapes.items()})

    def _windows_on(self, device: torch.device) -> Tensor:
        if device not in self._windows_by_device:
            self._windows_by_device[device] = torch.tensor(self.windows, device=device)
        return self._windows_by_device[device]

    @cached_property
    def _windows_by_device(self) -> dict[torch.device, Tensor]:
        return {}


def drawn_params(
    shapes: Mapping[str, tuple[int, ...]], stream: np.random.Generator, std: float = 1.0
) -> dict[str, Float[Tensor, "..."]]:
    """Parameters of these shapes from N(0, std²), one after the other."""
    std = checks.real(std, "std", least=0)
    return {
        name: torch.from_numpy(np.asarray(std * stream.standard_normal(shape)))
        for name, shape in shapes.items()
    }


TanhNetwork = TwoLayerNetwork  # its name while tanh was its only activation


def is_two_layer(model: object) -> TypeGuard[TwoLayerNetwork]:
    """Whether a model is a `TwoLayerNetwork`, and has no `__call__` or `outputs` of its own."""
    return (
        isinstance(model, TwoLayerNetwork)
        and type(model).__call__ is TwoLayerNetwork.__call__
        and not hasattr(model, "outputs")
    )


def is_tanh_network(model: object) -> TypeGuard[TwoLayerNetwork]:
    """Whether a model computes what a two-layer tanh network does.

    What is proved, differentiated or compiled for tanh networks holds for no other.
    """
    return is_two_layer(model) and model.activation == TANH


def kind_of(model: object) -> str:
    """What a model is, in words."""
    own = isinstance(model, TwoLayerNetwork) and not is_two_layer(model)
    of = f" of {activation_of(model.activation).name} neurons" if is_two_layer(model) else ""
    why = ", which computes its outputs in its own way" if own else ""
    return f"a {type(model).__name__}{of}{why}"


def tanh_network(net: object, name: str = "net") -> TwoLayerNetwork:
    """The network, or TypeError unless it computes what a two-layer tanh network does."""
    if is_tanh_network(net):
        return net
    raise TypeError(
        f"{name} needs to be a two-layer tanh network, got {kind_of(net)}; train, numerical_rank "
        "and local_linear_fit take any model"
    )


def fully_connected(
    input_dim: int,
    width: int,
    *,
    bias: bool = True,
    output_bias: bool = False,
    activation: Given = TANH,
) -> TwoLayerNetwork:
    """f(x) = sum_i a_i tanh(w_i . x + b_i) + c: one window that sees every input.

    Another activation is one of `llrnb.activations`, its name, or a function of one's own.

    >>> fully_connected(5, width=3, activation="gelu").parameter_count
    21
    """
    window = tuple(range(checks.count(input_dim, "input_dim", most=_ENTRIES)))
    own = activation_of(activation)
    return TwoLayerNetwork(
        input_dim, (window,), width, bias=bias, output_bias=output_bias, activation=own
    )


def cnn(
    input_shape: int | tuple[int, int],
    kernel_size: int | tuple[int, int],
    kernels: int,
    *,
    shared: bool = True,
    stride: int = 1,
    bias: bool = True,
    output_bias: bool = False,
    activation: Given = TANH,
) -> TwoLayerNetwork:
    """A convolution without padding, an activation, and one output weight per kernel and window.

    Args:
        input_shape: length of a signal, or (height, width) of an image (read row by row).
        kernel_size: entries along each axis; for an image an int means a square.
        kernels: number of kernels N.
        shared: weight sharing; without it every window has its own kernels and biases.
        stride: step of the window along each axis.
        bias: whether hidden neurons have biases.
        output_bias: whether the output has one.
        activation: one of `llrnb.activations`, its name, or a function of one's own.

    Raises:
        ValueError: a kernel larger than the input, or a size, stride or count below 1.

    >>> [cnn(5, 3, 100).parameter_count, cnn(5, 3, 100, shared=False).parameter_count]
    [700, 1500]
    """
    shape = checks.sizes(input_shape, "input_shape")
    size = checks.sizes(kernel_size, "kernel_size", axes=len(shape))
    stride = checks.count(stride, "stride")
    if len(size) != len(shape) or any(not 1 <= k <= n for k, n in zip(size, shape, strict=True)):
        raise ValueError(f"a kernel needs 1 to {shape} entries along the axes, got {size}")
    steps = [(n - k) // stride + 1 for n, k in zip(shape, size, strict=True)]
    if max(prod(shape), prod(steps) * prod(size)) > _ENTRIES:
        raise ValueError(
            f"a network needs at most {_ENTRIES:,} pixels and entries of its windows, got an input "
            f"of {shape} with {steps} windows of {size}"
        )
    pixels = np.arange(prod(shape)).reshape(shape)
    views = np.lib.stride_tricks.sliding_window_view(pixels, size)
    views = views[(slice(None, None, stride),) * len(shape)].reshape(-1, prod(size))
    windows = tuple(tuple(int(i) for i in view) for view in views)
    own = activation_of(activation)
    return TwoLayerNetwork(pixels.size, windows, kernels, shared, bias, output_bias, own)


def predict(
    net: TwoLayerNetwork, params: Params, inputs: Real[Tensor, "sample input"]
) -> Float[Tensor, "*net sample"]:
    """The outputs at many inputs, of one network or of many (a leading `net` axis in params)."""
    checks.instance(net, TwoLayerNetwork, "net")
    a = checks.mapping(params, "params").get("a")
    stack = a.shape[:1] if isinstance(a, Tensor) and a.ndim > len(net.shapes["a"]) else ()
    net.check(params, axes=tuple(stack))
    inputs = checks.reals(inputs, "inputs").to(params["a"])
    if inputs.ndim != 2 or inputs.shape[1] != net.input_dim:
        raise ValueError(
            f"the network needs inputs of shape (sample, {net.input_dim}), "
            f"got {tuple(inputs.shape)}"
        )
    over_samples = torch.vmap(net, in_dims=(None, 0))
    if not stack:
        return over_samples(dict(params), inputs)
    return torch.vmap(over_samples, in_dims=(0, None))(dict(params), inputs)


def relative_error(
    predictions: Float[Tensor, "*net sample"], truth: Float[Tensor, " sample"]
) -> Float[Tensor, "*net"]:
    """The mean squared error over the mean square of the truth: 1 for a network that is zero."""
    predictions = checks.tensor(predictions, "predictions").double()
    truth = checks.tensor(truth, "truth").to(predictions)
    if truth.ndim != 1 or not len(truth) or predictions.shape[-1:] != truth.shape:
        raise ValueError(
            "an error needs predictions of shape (..., sample) and a truth of shape (sample,), "
            f"got {tuple(predictions.shape)} and {tuple(truth.shape)}"
        )
    unit = 2.0 ** torch.frexp(truth.abs().max()).exponent.double()  # so that no square overflows
    return ((predictions - truth) / unit).square().mean(dim=-1) / (truth / unit).square().mean()
