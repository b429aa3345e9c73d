"""The torch engine: all networks in one batch of tensor operations, on any device."""

import numpy as np
import torch

from llrnb.networks import Params, TanhNetwork, predict
from llrnb.training.outcome import BLOWN_UP, Training, empty_history, stopped

# Steps between two questions whether every network has stopped; on a GPU a question waits.
_PATIENCE = 100


def descend(
    net: TanhNetwork,
    inputs: torch.Tensor,
    outputs: torch.Tensor,
    initial: Params,
    learning_rates: np.ndarray,
    *,
    steps: int,
    tolerance: float,
    record_at: tuple[int, ...],
    device: str,
) -> Training:
    """Train every network; see `llrnb.train`. The gradient is autograd's, batched by `vmap`."""

    def loss_of_one(params, x, y):
        return (predict(net, params, x) - y).square().mean()

    data = 0 if inputs.ndim == 3 else None
    slope = torch.vmap(torch.func.grad_and_value(loss_of_one), in_dims=(0, data, data))
    x, y = inputs.to(device), outputs.to(device)
    params = {name: value.to(device, copy=True) for name, value in initial.items()}
    rate = torch.as_tensor(learning_rates, device=device)
    done = torch.zeros(len(rate), dtype=torch.int64, device=device)
    going = torch.ones(len(rate), dtype=torch.bool, device=device)

    def advance(count: int) -> torch.Tensor:
        """Make up to so many steps with every network that goes on; the losses where they ended."""
        for step in range(count + 1):
            gradient, loss = slope(params, x, y)
            going.logical_and_((loss > tolerance) & (loss < BLOWN_UP))
            if step == count or (step % _PATIENCE == 0 and not going.any()):
                return loss
            done.add_(going)
            for name, value in params.items():
                of_net = (-1, *[1] * (value.ndim - 1))
                change = rate.view(of_net) * gradient[name]
                value.sub_(torch.where(going.view(of_net), change, 0.0))

    history = empty_history(initial, record_at)
    at, loss = 0, None
    for event in sorted({*record_at, steps}):
        loss = advance(event - at)
        at = event
        for record, step in enumerate(record_at):
            if step == event:
                history.loss[record] = loss.cpu()
                for name, value in params.items():
                    history.params[name][record] = value.cpu()
    status = tuple(
        stopped(float(value), int(made), tolerance=tolerance, limit=steps)
        for value, made in zip(loss, done, strict=True)
    )
    params = {name: value.cpu() for name, value in params.items()}
    return Training(params, loss.cpu(), done.cpu(), status, history)
