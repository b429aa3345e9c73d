"""Networks, targets and optimizers as plain values, for files and notebooks' parameters.

    {"kind": "cnn", "input_shape": 5, "kernel_size": 3, "kernels": 10}
    {"kind": "paper"}
    {"kind": "adam", "weight_decay": 0.01}

Each kind takes the arguments of the function or class that it stands for.
"""

from collections.abc import Mapping
from dataclasses import asdict

import torch

from llrnb.networks import TanhNetwork, cnn, fully_connected
from llrnb.targets import Target, generic_target, paper_target
from llrnb.training.optimizers import Adam, GradientDescent, Optimizer


def network_from(description: Mapping) -> TanhNetwork:
    """The network that a description names.

    Its `kind` is "fully connected" or "cnn", next to the arguments of that function in
    `llrnb.networks`, or "windows", next to the fields of `TanhNetwork`.

    Raises:
        ValueError: another kind, or arguments that it does not take.

    >>> network_from({"kind": "fully connected", "input_dim": 5, "width": 3}).parameter_count
    21
    """
    kinds = {"fully connected": fully_connected, "cnn": _cnn, "windows": _windows}
    return _made(kinds, "network", description)


def describe_network(net: TanhNetwork) -> dict:
    """A network's fields, from which `network_from` makes it again."""
    fields = {**asdict(net), "windows": [list(window) for window in net.windows]}
    if not net.output_bias:  # so that older keys of stored rows stay as they are
        del fields["output_bias"]
    return {"kind": "windows", **fields}


def target_from(description: Mapping) -> Target:
    """The target that a description names.

    Its `kind` is "paper", next to the arguments of `paper_target`; "generic", next to a `network`
    and a `seed`; or "params", next to a `network` and its `params` as nested lists.

    Raises:
        ValueError: another kind, or arguments that it does not take.

    >>> target_from({"kind": "paper"}).net.parameter_count
    6
    """
    kinds = {"paper": paper_target, "generic": _generic, "params": _with_params}
    return _made(kinds, "target", description)


def describe_target(target: Target) -> dict:
    """A target's network and parameters, from which `target_from` makes it again."""
    params = {name: value.tolist() for name, value in target.params.items()}
    return {"kind": "params", "network": describe_network(target.net), "params": params}


def optimizer_from(description: Mapping) -> Optimizer:
    """The optimizer that a description names.

    Its `kind` is "gradient descent" or "adam", next to the fields of that class in
    `llrnb.training.optimizers`.

    Raises:
        ValueError: another kind, fields that it does not have, or impossible values.

    >>> optimizer_from({"kind": "gradient descent", "momentum": 0.9})
    GradientDescent(momentum=0.9, weight_decay=0.0)
    """
    return _made(_OPTIMIZERS, "optimizer", description)


def describe_optimizer(optimizer: Optimizer) -> dict:
    """An optimizer's fields, from which `optimizer_from` makes it again."""
    (kind,) = (kind for kind, made in _OPTIMIZERS.items() if isinstance(optimizer, made))
    return {"kind": kind, **asdict(optimizer)}


_OPTIMIZERS = {"gradient descent": GradientDescent, "adam": Adam}


def _made(kinds: Mapping, what: str, description: Mapping):
    arguments = dict(description)
    kind = arguments.pop("kind", None)
    if kind not in kinds:
        raise ValueError(f"a {what} needs a kind, one of {list(kinds)}, got {kind!r}")
    try:
        return kinds[kind](**arguments)
    except TypeError as error:  # Python's message names the argument
        raise ValueError(f"a {what} of kind {kind!r} cannot be made: {error}") from None


def _windows(*, windows, **fields) -> TanhNetwork:
    return TanhNetwork(windows=tuple(tuple(window) for window in windows), **fields)


def _cnn(*, input_shape, kernel_size, **arguments) -> TanhNetwork:
    """JSON has lists where `cnn` has tuples."""
    input_shape, kernel_size = (
        tuple(value) if isinstance(value, list) else value for value in (input_shape, kernel_size)
    )
    return cnn(input_shape, kernel_size, **arguments)


def _generic(*, network, seed=0) -> Target:
    return generic_target(network_from(network), seed)


def _with_params(*, network, params) -> Target:
    values = {name: torch.tensor(value, dtype=torch.float64) for name, value in params.items()}
    return Target(network_from(network), values)
