"""What inputs are drawn from: the law of a data set, as a value.

A law draws rows of so many inputs from a random stream. The law of the test inputs is the same one,
unless the two are told apart: by `CovariateShift`, or for given rows by those set apart.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from math import sqrt

import numpy as np
from jaxtyping import Shaped
from torch import Tensor

from llrnb import checks


@dataclass(frozen=True)
class Law:
    """What every law has; one of your own derives from it and defines `draw`."""

    @property
    def dim(self) -> int | None:
        """The number of inputs, if there can be only one."""
        return None

    @property
    def test_law(self) -> "Law":
        """The law of the test inputs."""
        return self

    def draw(
        self, samples: int, dim: int, stream: np.random.Generator
    ) -> Shaped[np.ndarray, "sample input"]:
        """So many inputs; `llrnb.targets.draw_inputs` checks what it asks for, and gets."""
        raise NotImplementedError(f"the law {type(self).__name__} needs a method draw, got none")


@dataclass(frozen=True)
class Normal(Law):
    """N(0, I), the law of the book."""

    def draw(self, samples: int, dim: int, stream: np.random.Generator):
        return stream.standard_normal((samples, dim))


@dataclass(frozen=True)
class Uniform(Law):
    """Uniform on a box.

    Attributes:
        low, high: its ends, the same for all inputs or one for each.

    >>> Uniform(0, (1, 10)).draw(1, 2, np.random.default_rng(0)).round(2).tolist()
    [[0.64, 2.7]]
    """

    low: float | tuple[float, ...] = -1.0
    high: float | tuple[float, ...] = 1.0

    def __post_init__(self) -> None:
        low, high = _end(self.low, "low"), _end(self.high, "high")
        checks.settle(self, low=low, high=high)
        lengths = {len(end) for end in (low, high) if isinstance(end, tuple)}
        if len(lengths) > 1 or not np.all(np.less(low, high)):
            raise ValueError(f"a box needs low < high for every input, got {low} and {high}")

    @property
    def dim(self) -> int | None:
        return next((len(end) for end in (self.low, self.high) if isinstance(end, tuple)), None)

    def draw(self, samples: int, dim: int, stream: np.random.Generator):
        return stream.uniform(self.low, self.high, (samples, dim))


@dataclass(frozen=True)
class Sphere(Law):
    """Uniform on the sphere of a radius around 0.

    Attributes:
        radius: of the sphere; None is the root of the number of inputs, where N(0, I) is large.
    """

    radius: float | None = None

    def __post_init__(self) -> None:
        if self.radius is not None:
            checks.settle(self, radius=checks.real(self.radius, "radius", above=0))

    def draw(self, samples: int, dim: int, stream: np.random.Generator):
        directions = stream.standard_normal((samples, dim))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        return directions * (sqrt(dim) if self.radius is None else self.radius)


@dataclass(frozen=True)
class CorrelatedNormal(Law):
    """N(0, covariance).

    Attributes:
        covariance: symmetric and positive semidefinite, row by row.
    """

    covariance: tuple[tuple[float, ...], ...]

    def __post_init__(self) -> None:
        found = checks.array(self.covariance, "covariance", None, None)
        size = np.abs(found).max()
        square = found.shape[0] == found.shape[1]
        symmetric = square and np.allclose(found, found.T, atol=1e-8 * size)
        # Rounding makes the zeros of a singular one a little negative.
        if not symmetric or np.linalg.eigvalsh(found)[0] < -1e-10 * size:
            raise ValueError(
                "a covariance needs to be symmetric and positive semidefinite, got "
                f"{found.tolist()}"
            )
        checks.settle(self, covariance=tuple(map(tuple, found.tolist())))

    @property
    def dim(self) -> int:
        return len(self.covariance)

    def draw(self, samples: int, dim: int, stream: np.random.Generator):
        values, vectors = np.linalg.eigh(np.array(self.covariance))
        # The symmetric root, for it is unique.
        root = vectors * np.sqrt(values.clip(min=0)) @ vectors.T
        return stream.standard_normal((samples, dim)) @ root


@dataclass(frozen=True)
class AutoregressiveNormal(Law):
    """N(0, C) with C_ij = decay^|i - j|: x_i = decay x_(i-1) + sqrt(1 - decay^2) z_i.

    Attributes:
        decay: the correlation of neighbours, between -1 and 1.
    """

    decay: float = 0.5

    def __post_init__(self) -> None:
        checks.settle(self, decay=checks.real(self.decay, "decay", above=-1, below=1))

    def draw(self, samples: int, dim: int, stream: np.random.Generator):
        inputs = stream.standard_normal((samples, dim))
        for i in range(1, dim):
            inputs[:, i] = self.decay * inputs[:, i - 1] + sqrt(1 - self.decay**2) * inputs[:, i]
        return inputs


@dataclass(frozen=True, eq=False)
class Rows(Law):
    """Rows of one's own, each drawn at most once.

    Attributes:
        rows: "row input"; integers stay integers.
        tests: how many of them, the last ones, are set apart for tests. Shuffle rows first whose
            order says something.
    """

    rows: Shaped[np.ndarray | Tensor, "row input"]
    tests: int = 0

    def __post_init__(self) -> None:
        rows = checks.numbers(self.rows, "rows").clone().numpy()
        if rows.ndim != 2 or not rows.size:
            raise ValueError(f"rows need an array of shape (row, input), got {rows.shape}")
        tests = checks.count(self.tests, "tests", least=0, most=len(rows) - 1)
        checks.settle(self, rows=rows, tests=tests)

    @property
    def dim(self) -> int:
        return self.rows.shape[1]

    @property
    def test_law(self) -> "Rows":
        if not self.tests:
            raise ValueError("a test needs rows that are set apart, with tests=..., got tests=0")
        return Rows(self.rows[len(self.rows) - self.tests :])

    def draw(self, samples: int, dim: int, stream: np.random.Generator):
        there = len(self.rows) - self.tests
        if samples > there:
            raise ValueError(f"samples of rows need to be at most {there}, got {samples}")
        return self.rows[stream.permutation(there)[:samples]]


@dataclass(frozen=True)
class CovariateShift(Law):
    """Trained on inputs of one law, tested on those of another.

    Where these are rows, it is on those set apart for tests, or on all if none are.
    """

    train: Law
    test: Law

    def __post_init__(self) -> None:
        checks.instance(self.train, Law, "train")
        checks.instance(self.test, Law, "test")

    @property
    def dim(self) -> int | None:
        return self.train.dim

    @property
    def test_law(self) -> Law:
        whole = isinstance(self.test, Rows) and not self.test.tests  # so that all are for tests
        return self.test if whole else self.test.test_law

    def draw(self, samples: int, dim: int, stream: np.random.Generator):
        return self.train.draw(samples, dim, stream)


NORMAL = Normal()

# By the word for each in a description.
LAWS: dict[str, type[Law]] = {
    "normal": Normal,
    "uniform": Uniform,
    "sphere": Sphere,
    "correlated normal": CorrelatedNormal,
    "autoregressive normal": AutoregressiveNormal,
    "rows": Rows,
    "covariate shift": CovariateShift,
}


def law_from(description: Mapping) -> Law:
    """The law that a description names: its `kind`, of `LAWS`, next to the fields of that class.

    Raises:
        ValueError: another kind, or arguments that it does not take.

    >>> law_from({"kind": "uniform", "low": 0})
    Uniform(low=0.0, high=1.0)
    """
    arguments = {
        name: law_from(value) if isinstance(value, Mapping) else value
        for name, value in checks.mapping(description, "a law").items()
    }
    kinds: dict[str, Callable[..., Law]] = {**LAWS, "rows": _rows}
    return checks.described(kinds, "law", arguments)


def describe_law(law: Law) -> dict:
    """A law's fields as plain values, from which `law_from` makes it again.

    That of N(0, I) is {"kind": "normal"}: a sweep leaves it out of its cells, so that their keys
    stay as they are.

    Raises:
        ValueError: a law that is not in `LAWS`.
    """
    checks.instance(law, Law, "law")
    kinds = [kind for kind, made in LAWS.items() if type(law) is made]
    if not kinds:
        raise ValueError(f"a law needs to be in LAWS to be described, got {checks.came(law)}")
    values = {field.name: _plain(getattr(law, field.name)) for field in fields(law)}
    return {"kind": kinds[0], **values}


NORMAL_DESCRIBED = describe_law(NORMAL)


def _rows(*, rows, tests=0) -> Rows:
    return Rows(checks.numbers(rows, "rows"), tests)


def _plain(value: object) -> object:
    if isinstance(value, Law):
        return describe_law(value)
    if isinstance(value, np.ndarray):
        return value.tolist()
    return [_plain(part) for part in value] if isinstance(value, tuple) else value


def _end(value: object, name: str) -> float | tuple[float, ...]:
    """An end of a box."""
    if isinstance(value, list | tuple | np.ndarray):
        return checks.many(checks.real, value, name)
    return checks.real(value, name)
