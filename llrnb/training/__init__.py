"""Gradient descent of many networks at once: one interface, five engines.

`cpu` is compiled and keeps eight two-layer networks in a core's cache; `cuda` does the same on a
GPU; `torch` batches them, runs on any device and knows all optimizers and mini-batches; `closed
form` takes models that know the gradient of their squares, such as ReLU networks; `general` trains
any model with any loss. They give the same answers up to rounding.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from math import inf

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from llrnb import checks
from llrnb.models import Model, ModuleModel, from_module, outputs_of
from llrnb.networks import TwoLayerNetwork
from llrnb.stacks import Stack
from llrnb.streams import torch_seeded
from llrnb.training import batched, closed, cpu, cuda, general, progress
from llrnb.training.losses import LOSSES, Loss, Sum, checked_outputs, fitted_to, loss_of
from llrnb.training.optimizers import (
    Adam,
    AdamW,
    GradientDescent,
    Optimizer,
    SignDescent,
    check_step,
)
from llrnb.training.outcome import History, Status, Training
from llrnb.training.task import PRECISIONS, Task

__all__ = [
    "LOSSES",
    "PRECISIONS",
    "Adam",
    "AdamW",
    "GradientDescent",
    "History",
    "Loss",
    "Optimizer",
    "SignDescent",
    "Status",
    "Sum",
    "Task",
    "Training",
    "train",
]

ENGINES = {engine.NAME: engine for engine in (cpu, cuda, batched, closed, general)}
_PLAIN = GradientDescent()
_STD = 1e-10  # of the paper's networks


def train(
    net: Model | torch.nn.Module | Callable[[], torch.nn.Module],
    inputs: Tensor | np.ndarray | Sequence[Tensor],
    outputs: Tensor | np.ndarray | Sequence[Tensor],
    *,
    learning_rates: Sequence[float] | np.ndarray,
    seeds: Sequence[int] | None = None,
    steps: int,
    tolerance: float | None = 1e-12,
    std: float | None = None,
    starts: Mapping[str, Tensor] | None = None,
    loss: str | Loss = "squared",
    engine: str = "auto",
    device: str = "cpu",
    record_at: Sequence[int] = (),
    optimizer: Optimizer = _PLAIN,
    batch_size: int | None = None,
    precision: str = "float64",
) -> Training:
    """Train one network per learning rate and seed, by default by full-batch gradient descent.

    theta <- theta - learning_rate * grad (1/n) sum_i loss(f_theta(x_i), y_i), until the loss is at
    most `tolerance`, or `steps` updates are made, or the loss blows up. Each is an outcome in the
    result, not an error. A network's result does not depend on the others in the call (up to
    rounding, where the engine is not cpu). Long work shows a progress bar in a notebook.

    Args:
        net: the architecture: a network of this package, or any torch module (it is copied and
            trained in evaluation mode), or a function without arguments that makes one.
        inputs: (sample, ...), shared by all networks, or (net, sample, ...), for which a module
            needs to be made a model by `llrnb.from_module`; or a list of (sample, ...), one for
            each network, of any numbers of samples. Integers stay integers.
        outputs: (sample, ...) or (net, sample, ...) or a list, to match.
        learning_rates: one per network.
        seeds: one per network, of its initialisation and its mini-batches; 0, 1, 2, ... by default.
        steps: the most updates.
        tolerance: the loss at which a network has converged; None for a loss that has no least
            value to be near.
        std: draws the initial parameters from N(0, std²). By default it is 1e-10 for networks of
            this package, but ReLU networks have a law of their own, and a module starts from its
            own parameters. A function that makes modules is called for each seed, with torch's
            generator at this seed.
        starts: the initial parameters themselves, by name, each with a leading axis `net`.
        loss: "squared", the squared error, summed over the outputs; "huber"; "cross entropy", of
            predictions for each kind and an integer; or a function of one of each. Of these the
            mean over the samples is minimised; their sum is that of "sum of squares" or
            `Sum(loss)`.
        engine: "cpu", "cuda", "torch", "closed form" or "general"; "auto" takes the first of these
            that can do it.
        device: where the other engines run: "cpu", "cuda", "cuda:1", ...
        record_at: steps at which the networks are kept in `history`, each in 0..steps.
        optimizer: what a step makes of a gradient.
        batch_size: samples of each step, in a new order every epoch; None means all. The losses of
            the result are those of all samples, and networks stop between epochs.
        precision: "float64", or "float32" for the arithmetic of the descent.

    Raises:
        ValueError: data of the wrong shape or not finite, learning rates that are not positive,
            counts that do not match, an optimizer that works in place, an unknown engine or device,
            or an engine that cannot do it.
        RuntimeError: a GPU was asked for and there is none.

    >>> layers = torch.nn.Linear(3, 8), torch.nn.GELU(), torch.nn.Linear(8, 1)
    >>> run = train(torch.nn.Sequential(*layers), torch.eye(3), torch.ones(3),
    ...             learning_rates=[0.1], steps=500)
    >>> run.engine, bool(run.loss[0] < 1e-6)
    ('general', True)
    """
    rates = np.array(checks.many(checks.real, learning_rates, "learning_rates", above=0))
    seeds = range(len(rates)) if seeds is None else seeds
    seeds = checks.many(checks.seed, seeds, "seeds")
    if len(rates) != len(seeds):
        raise ValueError(
            "training needs one learning rate and one seed per network, "
            f"got {len(rates)} learning rates and {len(seeds)} seeds"
        )
    steps = checks.count(steps, "steps")
    tolerance = -inf if tolerance is None else checks.real(tolerance, "tolerance", least=0)
    if precision == "float32":  # in which the engines compare it with the loss
        tolerance = float(np.float32(tolerance))
    record_at = checks.many(checks.count, record_at, "record_at", fewest=0, least=0, most=steps)
    checks.instance(optimizer, Optimizer, "optimizer")
    batch_size = None if batch_size is None else checks.count(batch_size, "batch_size")
    checks.one_of(PRECISIONS, "precision", precision)
    if engine != "auto":
        checks.one_of(ENGINES, "engine", engine)
    loss = loss_of(loss)
    model, starts = _started(net, inputs, seeds, std, starts)
    inputs, outputs, own_data, counts = _checked_data(model, inputs, outputs, starts, loss)
    check_step(optimizer, starts)
    parameters = sum(value.numel() for value in starts[0].values())
    checks.room("the history", len(record_at), len(rates), parameters)
    task = Task(
        model, inputs, outputs, own_data, counts, starts, rates, seeds, steps, tolerance, record_at,
        loss, optimizer, batch_size, precision, device,
    )  # fmt: skip
    chosen, why = _engine(engine, task)
    if chosen is not cpu:
        checks.device(device)
    with progress.bar(steps * len(rates)) as report:
        found = _descended(chosen, task, report)
    return replace(found, model=model, engine=chosen.NAME, passed_over=why)


def _descended(engine, task: Task, report: Callable[[int], None]) -> Training:
    """What an engine makes of a task; most get networks of one number of samples at a time."""
    if task.counts is None or engine is cuda:
        return engine.descend(task, report)
    parts: list[Training] = []
    order: list[int] = []
    for count in sorted(set(task.counts)):
        some = np.flatnonzero(np.equal(task.counts, count)).tolist()
        made = progress.after(report, task.steps * len(order))
        parts.append(engine.descend(task.of(some), made))
        order += some
    return batched.joined(parts).of(np.argsort(order).tolist())


def _engine(name: str, task: Task) -> tuple:
    """The engine of that name, or the first that does not refuse; and why others did."""
    refusals: dict[str, str] = {}
    for engine in ENGINES.values() if name == "auto" else [ENGINES[name]]:
        refusal = engine.refuses(task)
        if refusal is None and name == "auto" and engine is cuda:
            refusal = cuda.untried(task)
        if refusal is None:
            return engine, tuple(refusals.values())
        refusals[engine.NAME] = refusal
    raise ValueError(f"{refusals[name]}; use engine='auto'")


def _started(net, inputs, seeds, std, starts) -> tuple[Model, Stack]:
    """The model and every network's initial parameters."""
    made = [net]
    if not isinstance(net, Model | torch.nn.Module):
        if not callable(net):
            raise TypeError(
                "net needs to be a network, a torch module or a function that makes one, "
                f"got {checks.came(net)}"
            )
        made = [_made(net, seed) for seed in seeds]
    if isinstance(made[0], torch.nn.Module):
        first = inputs[0] if isinstance(inputs, list | tuple) and len(inputs) else inputs
        shape = tuple(np.shape(first)[1:])
        made = [from_module(module, shape) for module in made]
    model = made[0]
    if not all(model.computes_like(other) for other in made[1:]):
        raise ValueError(
            "the modules of one training need to differ in their parameters only, got other "
            "shapes or buffers for another seed"
        )
    if starts is not None:
        if std is not None:
            raise ValueError(f"training needs starts or std, got both, std {std}")
        checks.shapes(starts, {name: (len(seeds), *s) for name, s in model.shapes.items()})
        return model, Stack(checks.double_params(starts))
    if std is None and hasattr(model, "start"):
        started = [model.start(seed) for seed in seeds]
    elif not isinstance(model, ModuleModel) or std is not None:
        started = [model.init(_STD if std is None else std, seed) for seed in seeds]
    elif len(made) == len(seeds):
        started = [checks.double_params(one.params) for one in made]
    else:
        raise ValueError(
            f"a module has one initialisation, and there are {len(seeds)} seeds: pass a function "
            "that makes the module, or std, or starts"
        )
    return model, Stack.of({name: p[name] for name in model.shapes} for p in started)


def _made(function: Callable[[], torch.nn.Module], seed: int) -> torch.nn.Module:
    """A module from its function, under this seed; torch's generator stays as it is."""
    with torch_seeded(seed):
        module = function()
    return checks.instance(module, torch.nn.Module, "what the function makes")


def _checked_data(
    model, inputs, outputs, starts, loss
) -> tuple[Tensor, Tensor, bool, tuple[int, ...] | None]:
    """The data on the CPU, as float64 or as integers; whether each network has its own; its counts.

    Counts are None unless they differ.
    """
    nets = starts.nets
    if isinstance(inputs, list | tuple):
        if not isinstance(outputs, list | tuple) or not len(inputs) == len(outputs) == nets:
            raise ValueError(
                f"training needs lists of inputs and outputs for each of {nets} networks, "
                f"got {checks.came(inputs)} and {checks.came(outputs)}"
            )
        sets = [_checked_set(model, *pair) for pair in zip(inputs, outputs, strict=True)]
        counts = tuple(len(y) for _, y in sets)
    else:
        inputs, outputs = _checked_set(model, inputs, outputs, nets)
        own_data, counts = inputs.ndim - len(model.input_shape) == 2, ()
        sets = [(inputs[0], outputs[0]) if own_data else (inputs, outputs)]
    made = _first_made(model, starts[0], *sets[0])
    for _, y in sets:
        checked_outputs(loss, y, made)
    if not counts:
        return inputs, outputs, own_data, None
    x, y = (pad_sequence(list(part), batch_first=True) for part in zip(*sets, strict=True))
    return x, y, True, counts if len(set(counts)) > 1 else None


def _checked_set(model, inputs, outputs, nets: int | None = None) -> tuple[Tensor, Tensor]:
    """One data set, or where there are `nets` one for each of these."""
    shape = tuple(model.input_shape)
    own = isinstance(model, TwoLayerNetwork)  # which takes numbers only
    inputs = checks.data(inputs, "inputs") if own else checks.numbers(inputs, "inputs")
    outputs = checks.data(outputs, "outputs") if own else checks.numbers(outputs, "outputs")
    came, axes = tuple(inputs.shape), len(shape)
    wanted = (1,) if nets is None else (1, 2)
    if inputs.ndim - axes not in wanted or came[inputs.ndim - axes :] != shape or 0 in came:
        one = ", ".join(["sample", *map(str, shape)])
        also = "" if nets is None else f" or (net, {one})"
        raise ValueError(f"training needs inputs of shape ({one}){also}, got {came}")
    own_data = inputs.ndim - axes == 2
    if own_data and came[0] != nets:
        raise ValueError(f"training needs inputs of {nets} networks, got those of {came[0]}")
    leading = came[: 1 + own_data]
    if tuple(outputs.shape[: len(leading)]) != leading:
        raise ValueError(f"training needs outputs of shape {leading}, got {tuple(outputs.shape)}")
    return inputs, outputs


def _first_made(model, params, inputs, outputs) -> Tensor:
    """What a model makes of the first sample; the same each time.

    Raises:
        ValueError: it cannot take such inputs, or draws random numbers.
    """
    try:
        with torch.no_grad():
            made, again = (outputs_of(model, params, inputs[:1]) for _ in range(2))
    except Exception as error:  # of many kinds, by what a module does
        raise ValueError(
            f"training needs inputs that the model can take, got {inputs.dtype} and: {error}"
        ) from error
    if not torch.equal(made.nan_to_num(), again.nan_to_num()):
        raise ValueError(
            "training needs a model that makes the same of the same inputs, got one that draws "
            "random numbers in evaluation mode"
        )
    return fitted_to(made, outputs[:1])[0]
