"""Planted ReLU problems: a data matrix, planted neurons and their outputs.

The data matrix X has n rows, the samples, of d inputs. The planted weights are unit vectors w_i,
and the outputs are

    y = sum_i X w_i + z                      "linear"
    y = sum_i (X w_i)_+ + z                  "relu"
    y = sum_i (X w_i)_+ / ||(X w_i)_+|| + z  "normalised"

with noise z_i ~ N(0, σ²/n), so that ||z|| is about σ.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float

from llrnb import checks
from llrnb.checks import one_of
from llrnb.streams import rng

Data = Literal["gaussian", "cubic", "whitened", "cubic whitened"]
Weights = Literal["random", "smallest singular", "axes", "opposite"]
Labels = Literal["linear", "relu", "normalised"]

VANISHING = 1e-10  # A normalised neuron with shorter outputs is drawn again.


def data_matrix(
    samples: int, dim: int, kind: str, rng: np.random.Generator
) -> Float[np.ndarray, "sample input"]:
    """A random data matrix X.

    "gaussian" has independent entries from N(0, 1/n), "cubic" their cubes. "whitened" keeps of the
    Gaussian matrix's thin SVD X = U S V^T the factor U if n >= d, with orthonormal columns, or V^T
    if n < d, with orthonormal rows; "cubic whitened" the same of the cubic one.

    Args:
        samples: n.
        dim: d.
        kind: one of the four words.
        rng: the stream to draw from.

    Raises:
        ValueError: no sample, no input or another kind.

    >>> X = data_matrix(5, 3, "whitened", np.random.default_rng(0))
    >>> np.allclose(X.T @ X, np.eye(3))
    True
    """
    one_of(Data, "kind of data", kind)
    samples, dim = checks.count(samples, "samples"), checks.count(dim, "dim")
    checks.room("a data matrix", samples, dim)
    checks.instance(rng, np.random.Generator, "rng")
    matrix = rng.standard_normal((samples, dim)) / np.sqrt(samples)
    if "cubic" in kind:
        matrix = matrix**3
    if "whitened" in kind:
        left, _, right = np.linalg.svd(matrix, full_matrices=False)
        matrix = left if samples >= dim else right
    return matrix


def planted_weights(
    inputs: Float[np.ndarray, "sample input"],
    neurons: int,
    kind: str,
    rng: np.random.Generator,
) -> Float[np.ndarray, "input neuron"]:
    """Planted weights, unit columns w_i.

    "random" directions; the last right singular vectors of X in its thin SVD ("smallest singular":
    for n < d they lie in the row space of X); the unit vectors e_i ("axes"); or (u, -u) for a
    random direction u ("opposite").

    Args:
        inputs: X.
        neurons: k.
        kind: one of the four words.
        rng: the stream to draw from.

    Raises:
        ValueError: another kind, no neuron, more neurons than there are singular vectors or axes,
            or a number other than 2 of opposite neurons.

    >>> planted_weights(np.eye(3), 2, "axes", np.random.default_rng(0)).tolist()
    [[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]]
    """
    one_of(Weights, "kind of weights", kind)
    inputs, neurons = checks.array(inputs, "inputs", None, None), checks.count(neurons, "neurons")
    checks.instance(rng, np.random.Generator, "rng")
    samples, dim = inputs.shape
    checks.room("the weights", dim, neurons)
    most = {"smallest singular": min(samples, dim), "axes": dim, "opposite": 2}.get(kind, neurons)
    if neurons < 1 or neurons > most or (kind == "opposite" and neurons != 2):
        needed = "2" if kind == "opposite" else f"1 to {most}" if neurons > 1 else "at least 1"
        raise ValueError(f"{kind} weights need {needed} neurons here, got {neurons}")
    if kind == "axes":
        return np.eye(dim, neurons)
    if kind == "smallest singular":
        return np.linalg.svd(inputs, full_matrices=False)[2][-neurons:].T
    drawn = rng.standard_normal((dim, 1 if kind == "opposite" else neurons))
    unit = drawn / np.linalg.norm(drawn, axis=0)
    return np.hstack([unit, -unit]) if kind == "opposite" else unit


def responses(
    inputs: Float[np.ndarray, "sample input"],
    weights: Float[np.ndarray, "input neuron"],
    labels: str,
) -> Float[np.ndarray, "sample neuron"]:
    """The output of each planted neuron: X w, (X w)_+ or (X w)_+ / ||(X w)_+||.

    The norm is over the given samples, and a neuron that is nowhere active gives zeros.
    """
    one_of(Labels, "labels", labels)
    linear = inputs @ weights
    if labels == "linear":
        return linear
    active = np.maximum(linear, 0)
    if labels == "relu":
        return active
    _, exponents = np.frexp(active.max(axis=0, initial=0))
    active = np.ldexp(active, -exponents)  # exactly, so that no square under- or overflows
    sizes = np.linalg.norm(active, axis=0)
    return active / np.where(sizes > 0, sizes, 1)


@dataclass(frozen=True)
class Planted:
    """Data with the neurons that made them.

    Attributes:
        inputs: X.
        weights: the planted w_i.
        outputs: y, with its noise.
        labels: how the outputs follow from the weights, "linear", "relu" or "normalised".
        noise: σ.

    Raises:
        ValueError: another word, NaN or infinite data, data that are all the same number,
            or negative noise.
    """

    inputs: Float[np.ndarray, "sample input"]
    weights: Float[np.ndarray, "input neuron"]
    outputs: Float[np.ndarray, " sample"]
    labels: str = "linear"
    noise: float = 0.0

    def __post_init__(self) -> None:
        inputs = checks.array(self.inputs, "inputs", None, None)
        checks.settle(
            self,
            inputs=inputs,
            weights=checks.array(self.weights, "weights", inputs.shape[1], None),
            outputs=checks.array(self.outputs, "outputs", len(inputs)),
            labels=one_of(Labels, "labels", self.labels),
            noise=checks.real(self.noise, "noise", least=0),
        )
        if self.inputs.size > 1 and np.ptp(self.inputs) == 0:
            raise ValueError(f"data need more than one value, got only {self.inputs.flat[0]}")

    @property
    def samples(self) -> int:
        """n."""
        return self.inputs.shape[0]

    @property
    def dim(self) -> int:
        """d."""
        return self.inputs.shape[1]

    @property
    def neurons(self) -> int:
        """k."""
        return self.weights.shape[1]

    def __call__(self, inputs: Float[np.ndarray, "fresh input"]) -> Float[np.ndarray, " fresh"]:
        """The outputs at other inputs, without noise; "normalised" ones over these inputs."""
        inputs = checks.array(inputs, "inputs", None, self.dim)
        return responses(inputs, self.weights, self.labels).sum(axis=1)


def plant(
    samples: int,
    dim: int,
    *,
    labels: str = "linear",
    neurons: int = 1,
    data: str = "gaussian",
    weights: str = "random",
    noise: float = 0.0,
    seed: int = 0,
) -> Planted:
    """Draw a planted problem: X, w and the noise, each from a stream of its own.

    The streams are keyed by n, d and the seed: an instance does not depend on which others are
    drawn, and the same data carry every kind of label. Normalised labels are drawn again where a
    neuron is nowhere active.

    Args:
        samples: n.
        dim: d.
        labels: "linear", "relu" or "normalised".
        neurons: k.
        data: the kind of `data_matrix`.
        weights: the kind of `planted_weights`.
        noise: σ.
        seed: the number of the instance.

    Raises:
        ValueError: as `data_matrix`, `planted_weights` and `Planted`.

    >>> planted = plant(6, 2, labels="normalised")
    >>> bool(np.isclose(np.linalg.norm(planted.outputs), 1.0))
    True
    """
    one_of(Labels, "labels", labels)
    samples, dim = checks.count(samples, "samples"), checks.count(dim, "dim")
    noise = checks.real(noise, "noise", least=0)
    key = {"samples": samples, "inputs": dim, "seed": checks.seed(seed)}
    of_inputs, of_weights = rng("planted inputs", **key), rng("planted weights", **key)
    for _ in range(1000):
        inputs = data_matrix(samples, dim, data, of_inputs)
        planted = planted_weights(inputs, neurons, weights, of_weights)
        norms = np.linalg.norm(np.maximum(inputs @ planted, 0), axis=0)
        if labels != "normalised" or norms.min() > VANISHING:
            break
    else:
        raise ValueError(f"{neurons} neurons active on {samples} samples were not drawn in 1000")
    clean = responses(inputs, planted, labels).sum(axis=1)
    deviations = rng("planted noise", **key).standard_normal(samples) / np.sqrt(samples)
    return Planted(inputs, planted, clean + noise * deviations, labels, noise)
