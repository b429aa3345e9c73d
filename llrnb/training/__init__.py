"""Gradient descent of many networks at once: one interface, two engines.

`cpu` is compiled and keeps eight networks in a core's cache; `torch` is batched, runs on any device
and knows other optimizers and mini-batches. They give the same answers up to rounding.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from llrnb import checks
from llrnb.networks import TanhNetwork
from llrnb.training import batched, cpu, progress
from llrnb.training.optimizers import Adam, GradientDescent, Optimizer
from llrnb.training.outcome import History, Status, Training

__all__ = ["Adam", "GradientDescent", "History", "Optimizer", "Status", "Training", "train"]

_PLAIN = GradientDescent()
_PRECISIONS = {"float64": torch.float64, "float32": torch.float32}


def train(
    net: TanhNetwork,
    inputs: Tensor,
    outputs: Tensor,
    *,
    learning_rates: Sequence[float] | np.ndarray,
    seeds: Sequence[int],
    steps: int,
    tolerance: float = 1e-12,
    std: float = 1e-10,
    engine: str = "cpu",
    device: str = "cpu",
    record_at: Sequence[int] = (),
    optimizer: Optimizer = _PLAIN,
    batch_size: int | None = None,
    precision: str = "float64",
) -> Training:
    """Train one network per learning rate and seed, by default by full-batch gradient descent.

    theta <- theta - learning_rate * grad (1/n) sum_i (f_theta(x_i) - y_i)^2, from
    `net.init(std, seed)`, until the loss is at most `tolerance`, or `steps` updates are made, or
    the loss blows up. Each is an outcome in the result, not an error. A network's result does not
    depend on the others in the call (with the torch engine, up to rounding). Long work shows a
    progress bar in a notebook.

    Args:
        net: the architecture.
        inputs: (sample, input), shared by all networks, or (net, sample, input).
        outputs: (sample) or (net, sample), to match.
        learning_rates: one per network.
        seeds: one per network, of its initialisation.
        steps: the most updates.
        tolerance: the mean squared error at which a network has converged.
        std: the standard deviation of the initial parameters.
        engine: "cpu" or "torch".
        device: where the torch engine runs: "cpu", "cuda", "cuda:1", ...
        record_at: steps at which the networks are kept in `history`, each in 0..steps.
        optimizer: what a step makes of a gradient; other than plain gradient descent it needs the
            torch engine, as do the next two.
        batch_size: samples of each step, in a new order every epoch; None means all. The losses of
            the result are those of all samples, and networks stop between epochs.
        precision: "float64", or "float32" for the arithmetic of the descent.

    Raises:
        ValueError: data of the wrong shape or not finite, learning rates that are not positive,
            counts that do not match, an unknown engine or device.
        RuntimeError: a GPU was asked for and there is none.
    """
    checks.instance(net, TanhNetwork, "net")
    rates = np.array(checks.many(checks.real, learning_rates, "learning_rates", above=0))
    seeds = checks.many(checks.seed, seeds, "seeds")
    inputs, outputs = _checked_data(net, inputs, outputs, nets=len(rates))
    if len(rates) != len(seeds):
        raise ValueError(
            "training needs one learning rate and one seed per network, "
            f"got {len(rates)} learning rates and {len(seeds)} seeds"
        )
    steps, tolerance = checks.count(steps, "steps"), checks.real(tolerance, "tolerance", least=0)
    record_at = checks.many(checks.count, record_at, "record_at", fewest=0, least=0, most=steps)
    checks.instance(optimizer, Optimizer, "optimizer")
    batch_size = None if batch_size is None else checks.count(batch_size, "batch_size")
    checks.one_of(_PRECISIONS, "precision", precision)
    options = {"optimizer": optimizer, "batch_size": batch_size, "precision": precision}
    _check_engine(engine, device, options)

    checks.room("the history", len(record_at), len(rates), net.parameter_count)
    started = [net.init(std, seed) for seed in seeds]
    initial = {name: torch.stack([params[name] for params in started]) for name in net.shapes}
    limits = {"steps": steps, "tolerance": tolerance, "record_at": record_at}
    with progress.bar(steps * len(rates)) as report:
        task = (net, inputs, outputs, initial, rates)
        if engine == "cpu":
            return cpu.descend(*task, **limits, report=report)
        return batched.descend(
            *task,
            **limits,
            device=device,
            optimizer=optimizer,
            batch_size=batch_size,
            seeds=seeds,
            precision=_PRECISIONS[precision],
            report=report,
        )


def _checked_data(net, inputs, outputs, *, nets) -> tuple[Tensor, Tensor]:
    """The data as float64 tensors on the CPU."""
    inputs, outputs = checks.data(inputs, "inputs"), checks.data(outputs, "outputs")
    shape = tuple(inputs.shape)
    if inputs.ndim not in (2, 3) or shape[-1] != net.input_dim or 0 in shape:
        raise ValueError(
            f"training needs inputs of shape (sample, {net.input_dim}) or "
            f"(net, sample, {net.input_dim}), got {shape}"
        )
    if inputs.ndim == 3 and shape[0] != nets:
        raise ValueError(f"training needs inputs of {nets} networks, got those of {shape[0]}")
    if outputs.shape != inputs.shape[:-1]:
        raise ValueError(
            f"training needs outputs of shape {shape[:-1]}, got {tuple(outputs.shape)}"
        )
    return inputs, outputs


def _check_engine(engine: str, device: str, options: Mapping) -> None:
    """The cpu engine is fast because it does one thing."""
    checks.one_of(("cpu", "torch"), "engine", engine)
    if engine == "torch":
        return check_device(device)
    plain = {"optimizer": _PLAIN, "batch_size": None, "precision": "float64"}
    for name, value in {**options, "device": device}.items():
        if value != {**plain, "device": "cpu"}[name]:
            raise ValueError(
                f"the cpu engine needs {name} {plain.get(name, 'cpu')!r}, got {value!r}; "
                "use engine='torch'"
            )


def check_device(device: str) -> None:
    """Raise ValueError unless torch knows the device, RuntimeError unless it is here."""
    try:
        kind = torch.device(device).type if isinstance(device, str | torch.device) else "meta"
    except RuntimeError:
        kind = "meta"
    if kind == "meta":  # where nothing is computed
        raise ValueError(f"the device needs to be a torch device, got {checks.came(device)}")
    if kind == "cuda" and not torch.cuda.is_available():
        raise RuntimeError(f"device {device!r} needs a CUDA GPU, and torch finds none here")
    try:
        torch.empty(0, device=device)
    except Exception as error:  # each backend has its own
        raise RuntimeError(f"device {device!r} needs to be here, got: {error}") from None
