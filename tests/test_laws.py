import json
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from scipy import linalg, stats

from llrnb import laws
from llrnb.laws import (
    AutoregressiveNormal,
    CorrelatedNormal,
    CovariateShift,
    Normal,
    Rows,
    Sphere,
    Uniform,
    describe_law,
    law_from,
)
from llrnb.targets import draw_inputs

COVARIANCE = ((2.0, 0.6, 0.0), (0.6, 1.0, -0.3), (0.0, -0.3, 0.5))
SINGULAR = ((1.0, 1.0, 0.0), (1.0, 1.0, 0.0), (0.0, 0.0, 1.0))
ROWS = np.arange(30.0).reshape(10, 3)
EACH = [
    Normal(),
    Uniform(-2, (1, 2, 3)),
    Sphere(),
    Sphere(0.5),
    CorrelatedNormal(COVARIANCE),
    AutoregressiveNormal(-0.7),
    Rows(ROWS, tests=3),
    CovariateShift(Uniform(), CorrelatedNormal(COVARIANCE)),
]


def stream(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_the_law_of_the_book_draws_what_numpy_draws():
    assert np.array_equal(Normal().draw(7, 3, stream()), stream().standard_normal((7, 3)))


def test_a_box_has_its_ends():
    drawn = Uniform((-1, 0, 5), 7).draw(2000, 3, stream())
    for column, low in zip(drawn.T, (-1, 0, 5), strict=True):
        assert stats.kstest(column, stats.uniform(low, 7 - low).cdf).pvalue > 1e-3


@pytest.mark.parametrize(("law", "radius"), [(Sphere(), 2.0), (Sphere(0.3), 0.3)])
def test_a_sphere_has_one_radius_and_no_direction(law, radius):
    """A coordinate of a uniform point on a sphere in four dimensions is beta distributed."""
    drawn = law.draw(2000, 4, stream())
    assert np.allclose(np.linalg.norm(drawn, axis=1), radius, rtol=1e-12)
    for column in drawn.T:
        assert stats.kstest((column / radius + 1) / 2, stats.beta(1.5, 1.5).cdf).pvalue > 1e-3


@pytest.mark.parametrize("covariance", [COVARIANCE, SINGULAR])
def test_correlated_inputs_have_their_covariance(covariance):
    drawn = CorrelatedNormal(covariance).draw(50_000, 3, stream())
    assert np.allclose(np.cov(drawn.T), covariance, atol=0.04)


def test_a_singular_covariance_keeps_inputs_in_its_range():
    drawn = CorrelatedNormal(SINGULAR).draw(50, 3, stream())
    assert np.allclose(drawn[:, 0], drawn[:, 1], rtol=0, atol=1e-7)


def test_an_eigenvalue_that_rounding_makes_negative_is_zero():
    """Those are 2 and -5e-11, whose root would be 7e-6."""
    drawn = CorrelatedNormal(((1.0, 1 + 5e-11), (1 + 5e-11, 1.0))).draw(50, 2, stream())
    assert np.allclose(drawn[:, 0], drawn[:, 1], rtol=0, atol=1e-9)


@pytest.mark.parametrize("decay", [0.0, 0.8, -0.5])
def test_an_autoregression_is_the_triangular_root_of_its_covariance(decay):
    covariance = linalg.toeplitz(decay ** np.arange(6.0))
    expected = stream().standard_normal((9, 6)) @ np.linalg.cholesky(covariance).T
    assert np.allclose(AutoregressiveNormal(decay).draw(9, 6, stream()), expected, rtol=1e-12)


def test_a_row_is_drawn_at_most_once_and_test_rows_never():
    law = Rows(ROWS, tests=3)
    for seed in range(20):
        drawn = law.draw(7, 3, stream(seed))
        assert sorted(drawn[:, 0]) == sorted(ROWS[:7, 0])
        few = law.test_law.draw(2, 3, stream(seed))
        assert set(few[:, 0]) < set(ROWS[7:, 0])
    assert len({tuple(law.draw(7, 3, stream(seed))[:, 0]) for seed in range(20)}) > 10


def test_more_samples_than_rows_are_refused():
    with pytest.raises(ValueError, match="samples of rows need to be at most 7, got 8"):
        draw_inputs(8, 3, law=Rows(ROWS, tests=3))
    with pytest.raises(ValueError, match="at most 3, got 4"):
        draw_inputs(4, 3, role="test inputs", law=Rows(ROWS, tests=3))
    with pytest.raises(ValueError, match="needs rows that are set apart.*got tests=0"):
        draw_inputs(4, 3, role="test inputs", law=Rows(ROWS))


def test_integers_stay_integers():
    assert draw_inputs(4, 2, law=Rows(np.arange(8).reshape(4, 2))).dtype == torch.int64


def test_training_and_test_inputs_may_have_different_laws():
    shifted = CovariateShift(Sphere(), Uniform(3, 4))
    assert torch.equal(draw_inputs(9, 4, 2, law=shifted), draw_inputs(9, 4, 2, law=Sphere()))
    test = draw_inputs(9, 4, 2, role="test inputs", law=shifted)
    assert test.min() > 3 and torch.equal(
        test, draw_inputs(9, 4, 2, role="test inputs", law=Uniform(3, 4))
    )


def test_a_shift_to_rows_tests_on_those_set_apart_or_on_all():
    for tests, there in ((2, 2), (0, 10)):
        shifted = CovariateShift(Normal(), Rows(ROWS, tests=tests))
        drawn = draw_inputs(there, 3, role="test inputs", law=shifted)
        assert sorted(drawn[:, 0].tolist()) == ROWS[-there:, 0].tolist()
        with pytest.raises(ValueError, match=f"at most {there}, got {there + 1}"):
            draw_inputs(there + 1, 3, role="test inputs", law=shifted)


def test_a_shift_has_as_many_inputs_as_its_training_law():
    shifted = CovariateShift(Rows(ROWS), Normal())
    assert shifted.dim == 3 and CovariateShift(Normal(), Uniform()).dim is None
    with pytest.raises(ValueError, match=r"the law needs inputs of 3 numbers, got \(2,\)"):
        draw_inputs(4, 2, law=shifted)


def test_rows_stay_when_what_was_given_changes():
    given = torch.ones(4, 2, dtype=torch.float64)
    law = Rows(given)
    given.zero_()
    assert draw_inputs(4, 2, law=law).eq(1).all()


@pytest.mark.parametrize("law", EACH, ids=repr)
def test_a_law_is_made_again_from_its_description(law):
    again = law_from(json.loads(json.dumps(describe_law(law))))
    for role, samples in {"training inputs": 7, "test inputs": 3}.items():
        one, other = (draw_inputs(samples, 3, role=role, law=each) for each in (law, again))
        assert torch.equal(one, other)
    assert isinstance(law, Rows) or again == law


def test_the_default_is_described_by_its_kind_alone():
    assert describe_law(laws.NORMAL) == {"kind": "normal"}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Uniform(1, 1), "needs low < high for every input, got 1.0 and 1.0"),
        (lambda: Uniform((0, 0), (1, 1, 1)), "needs low < high"),
        (lambda: Uniform((0, 2), 1), "needs low < high"),
        (lambda: Sphere(0), "radius needs a finite number > 0, got 0"),
        (lambda: AutoregressiveNormal(1.0), "decay needs a finite number > -1 and < 1, got 1.0"),
        (lambda: CorrelatedNormal(((1.0, 2.0), (2.0, 1.0))), "positive semidefinite, got"),
        (lambda: CorrelatedNormal(((1.0, 0.5), (0.0, 1.0))), "needs to be symmetric"),
        (lambda: CorrelatedNormal(((1e-9, 5e-10), (0.0, 1e-9))), "needs to be symmetric"),
        (lambda: Rows(ROWS[:0]), r"need an array of shape \(row, input\), got \(0, 3\)"),
        (lambda: Rows(ROWS, tests=10), "tests needs an integer from 0 to 9, got 10"),
        (lambda: draw_inputs(4, 2, law=Rows(ROWS)), r"inputs of 3 numbers, got \(2,\)"),
        (lambda: draw_inputs(4, 4, law=Uniform(0, (1, 1))), r"inputs of 2 numbers, got \(4,\)"),
        (lambda: law_from({"kind": "cauchy"}), "the law's kind needs one of normal, .*'cauchy'"),
        (lambda: law_from({"kind": "sphere", "centre": 1}), "needs some of .*'radius'"),
    ],
)
def test_an_impossible_law_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@dataclass(frozen=True)
class Odd(laws.Law):
    shape: tuple[int, ...] = (4, 2)
    value: float = 0.0

    def draw(self, samples, dim, stream):
        return np.full(self.shape, self.value)


def test_what_a_law_of_ones_own_draws_is_looked_at():
    assert draw_inputs(4, 2, law=Odd()).eq(0).all()
    with pytest.raises(ValueError, match=r"array of shape \(4, 2\), got \(2, 4\)"):
        draw_inputs(4, 2, law=Odd((2, 4)))
    with pytest.raises(ValueError, match="a law needs finite numbers, got 8 NaN"):
        draw_inputs(4, 2, law=Odd(value=np.nan))
    with pytest.raises(ValueError, match="needs to be in LAWS to be described, got Odd"):
        describe_law(Odd())
    with pytest.raises(NotImplementedError, match="the law Law needs a method draw"):
        draw_inputs(4, 2, law=laws.Law())
