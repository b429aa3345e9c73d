"""What is minimised: the mean, or the sum, over the samples of the loss of each.

A loss is a function of one prediction and one output, of any shapes, with a scalar value.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int, Real, Shaped
from torch import Tensor

from llrnb import checks

Loss = Callable[[Tensor, Tensor], Tensor]


def squared(prediction: Float[Tensor, "*output"], output: Real[Tensor, "*output"]) -> Tensor:
    """The square of the error, summed over the outputs."""
    return (prediction - output).square().sum()


def huber(prediction: Float[Tensor, "*output"], output: Real[Tensor, "*output"]) -> Tensor:
    """Half the square of an error up to 1, the error less 1/2 beyond; summed over the outputs."""
    return torch.nn.functional.huber_loss(prediction, output, reduction="sum")


def cross_entropy(prediction: Float[Tensor, " kind"], output: Int[Tensor, ""]) -> Tensor:
    """-log softmax(prediction) of the right kind, whose number is the output."""
    return -torch.log_softmax(prediction, dim=0).gather(0, output[None])[0]


def loss_of(loss: str | Loss) -> Loss:
    """A loss by its name, or one of one's own.

    Raises:
        ValueError: an unknown name.
        TypeError: neither a name nor a function.
    """
    if isinstance(loss, str):
        return LOSSES[checks.one_of(LOSSES, "loss", loss)]
    return checks.function(loss, "loss")


@dataclass(frozen=True)
class Sum:
    """The sum over the samples of a loss of each, by its name or one of one's own.

    Of other losses the mean is minimised.

    >>> Sum("squared") == LOSSES["sum of squares"]
    True
    """

    each: str | Loss

    def __post_init__(self) -> None:
        checks.settle(self, each=loss_of(self.each))

    def __call__(self, prediction: Tensor, output: Tensor) -> Tensor:
        return loss_of(self.each)(prediction, output)


LOSSES: dict[str, Loss] = {
    "squared": squared,
    "sum of squares": Sum(squared),
    "huber": huber,
    "cross entropy": cross_entropy,
}


def mean_loss(
    loss: Loss, made: Float[Tensor, "sample ..."], outputs: Shaped[Tensor, "sample ..."]
) -> Float[Tensor, ""]:
    """The mean over the samples, or the `Sum`.

    Predictions of shape (sample, 1) suit outputs of (sample).
    """
    return total(loss, torch.vmap(per_sample(loss))(fitted_to(made, outputs), outputs))


def total(loss: Loss, losses: Float[Tensor, " sample"]) -> Float[Tensor, ""]:
    """What is minimised, of the losses of the samples."""
    return losses.sum() if isinstance(loss, Sum) else losses.mean()


def per_sample(loss: Loss) -> Loss:
    """The loss of each sample."""
    return loss_of(loss.each) if isinstance(loss, Sum) else loss


def fitted_to(made: Tensor, outputs: Tensor) -> Tensor:
    """Predictions of shape (sample, 1) as (sample), where the outputs are."""
    single = made.ndim == 2 and made.shape[1] == 1 and outputs.ndim == 1
    return made[:, 0] if single else made


def name_of(loss: Loss) -> str:
    """A loss in a word."""
    return next((name for name, known in LOSSES.items() if known == loss), "one of your own")


def checked_outputs(
    loss: Loss, outputs: Shaped[Tensor, "sample ..."], first: Float[Tensor, "..."]
) -> None:
    """Raise ValueError unless outputs of samples suit the first prediction, and the loss both."""
    made, came, loss = tuple(first.shape), tuple(outputs.shape[1:]), per_sample(loss)
    if loss is cross_entropy:
        if len(made) != 1 or came or outputs.is_floating_point():
            raise ValueError(
                "the loss cross entropy needs predictions of shape (kind,) and integers of shape "
                f"(sample,) as outputs, got {made} and {tuple(outputs.shape)}, {outputs.dtype}"
            )
        if outputs.min() < 0 or outputs.max() >= made[0]:
            raise ValueError(
                f"the loss cross entropy needs outputs in 0..{made[0] - 1}, "
                f"got {int(outputs.min())} to {int(outputs.max())}"
            )
    elif loss in (squared, huber) and came != made:
        raise ValueError(
            f"training needs outputs of shape {(len(outputs), *made)}, got {tuple(outputs.shape)}"
        )
    value = loss(first, outputs[0])
    if not isinstance(value, Tensor) or value.ndim or not value.is_floating_point():
        raise ValueError(
            "a loss needs to be a scalar tensor for one prediction and one output, got "
            f"{checks.came(value)}"
        )
