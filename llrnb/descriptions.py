"""Networks, targets and optimizers as plain values, for files and notebooks' parameters.

    {"kind": "cnn", "input_shape": 5, "kernel_size": 3, "kernels": 10}
    {"kind": "paper"}
    {"kind": "adam", "weight_decay": 0.01}

Each kind takes the arguments of the function or class that it stands for.
"""

from collections.abc import Callable, Mapping
from dataclasses import fields

from llrnb import checks
from llrnb.activations import ACTIVATIONS, TANH, activation_of
from llrnb.networks import TwoLayerNetwork, cnn, fully_connected, is_two_layer, kind_of
from llrnb.targets import Target, generic_target, paper_target
from llrnb.training.optimizers import Adam, AdamW, GradientDescent, Optimizer, SignDescent


def network_from(description: Mapping) -> TwoLayerNetwork:
    """The network that a description names.

    Its `kind` is "fully connected" or "cnn", next to the arguments of that function in
    `llrnb.networks`, or "windows", next to the fields of `TwoLayerNetwork`.

    Raises:
        ValueError: another kind, or arguments that it does not take.

    >>> network_from({"kind": "fully connected", "input_dim": 5, "width": 3}).parameter_count
    21
    """
    kinds: dict[str, Callable[..., TwoLayerNetwork]] = {
        "fully connected": fully_connected, "cnn": cnn, "windows": TwoLayerNetwork,
    }  # fmt: skip
    return checks.described(kinds, "network", description)


def describe_network(net: TwoLayerNetwork | Callable) -> dict:
    """A network's fields, from which `network_from` makes it again.

    Raises:
        TypeError: another model.
        ValueError: an activation of one's own, which no file can name.
    """
    if not is_two_layer(net):
        raise TypeError(f"a description needs a two-layer network, got {kind_of(net)}")
    own = activation_of(net.activation)
    if ACTIVATIONS.get(own.name) != own:
        raise ValueError(
            f"a description needs an activation that it can name, one of {', '.join(ACTIVATIONS)}, "
            f"got one of your own, {own.name}"
        )
    values = {field.name: getattr(net, field.name) for field in fields(net)}
    values |= {"windows": [list(window) for window in net.windows], "activation": own.name}
    # What most networks have is left out, so that older keys of stored rows stay as they are.
    usual = {"output_bias": False, "activation": TANH.name}
    kept = {name: value for name, value in values.items() if usual.get(name) != value}
    return {"kind": "windows", **kept}


CNN = "CNN"
UNSHARED = "CNN without sharing"
FULLY_CONNECTED = "fully connected"


def family_of(network: Mapping, name: str | None = None) -> str:
    """The name of the family of a described network: the one given, if it is no other's.

    Raises:
        ValueError: the name of another family.

    >>> family_of({"kind": "fully connected", "input_dim": 5, "width": 3})
    'fully connected'
    """
    net = network_from(network)
    if net.windows == (tuple(range(net.input_dim)),):
        found = FULLY_CONNECTED
    else:
        found = CNN if net.shared else UNSHARED
    if name in {CNN, UNSHARED, FULLY_CONNECTED} - {found}:
        raise ValueError(f"the family of this network needs to be {found!r}, got {name!r}")
    return name or found


def target_from(description: Mapping) -> Target:
    """The target that a description names.

    Its `kind` is "paper", next to the arguments of `paper_target`; "generic", next to a `network`
    and a `seed`; or "params", next to a `network` and its `params` as nested lists.

    Raises:
        ValueError: another kind, or arguments that it does not take.

    >>> target_from({"kind": "paper"}).net.parameter_count
    6
    """
    kinds: dict[str, Callable[..., Target]] = {
        "paper": paper_target, "generic": _generic, "params": _with_params,
    }  # fmt: skip
    return checks.described(kinds, "target", description)


def describe_target(target: Target) -> dict:
    """A target's network and parameters, from which `target_from` makes it again.

    Raises:
        TypeError: a subclass, of which nothing is known, or a target of another model.
        ValueError: an activation of one's own.
    """
    if type(target) is not Target:
        raise TypeError(f"a description needs a Target and no subclass, got {checks.came(target)}")
    assert target.params is not None  # once it is made
    params = {name: value.tolist() for name, value in target.params.items()}
    return {"kind": "params", "network": describe_network(target.net), "params": params}


def optimizer_from(description: Mapping) -> Optimizer:
    """The optimizer that a description names.

    Its `kind` is "gradient descent", "adam", "adamw" or "sign descent", next to the fields of that
    class in `llrnb.training.optimizers`.

    Raises:
        ValueError: another kind, fields that it does not have, or impossible values.

    >>> optimizer_from({"kind": "gradient descent", "momentum": 0.9})
    GradientDescent(momentum=0.9, weight_decay=0.0)
    """
    return checks.described(_OPTIMIZERS, "optimizer", description)


def describe_optimizer(optimizer: Optimizer) -> dict:
    """An optimizer's fields, from which `optimizer_from` makes it again.

    Raises:
        ValueError: an optimizer of one's own, which no file can name.
    """
    kinds = [kind for kind, made in _OPTIMIZERS.items() if type(optimizer) is made]
    if not kinds:
        raise ValueError(
            f"a description needs an optimizer that it can name, one of {', '.join(_OPTIMIZERS)}, "
            f"got {checks.came(optimizer)}"
        )
    return {"kind": kinds[0], **vars(optimizer)}


_OPTIMIZERS = {
    "gradient descent": GradientDescent,
    "adam": Adam,
    "adamw": AdamW,
    "sign descent": SignDescent,
}


def _generic(*, network, seed=0) -> Target:
    return generic_target(network_from(network), seed)


def _with_params(*, network, params) -> Target:
    values = checks.mapping(params, "the params of a target")
    values = {name: checks.data(value, f"params[{name!r}]") for name, value in values.items()}
    return Target(network_from(network), values)
