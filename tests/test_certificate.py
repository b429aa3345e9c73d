"""The certificate is right, or says that it does not know: on each fault that an older one had."""

from dataclasses import replace

import mpmath
import numpy as np
import pytest
import torch
from scipy.optimize import root

from llrnb import (
    certificate,
    cnn,
    exact_rank,
    fully_connected,
    narrowest_interpolator,
    predict,
    tangent_matrix,
)
from llrnb.certificate import (
    THRESHOLD,
    Outcome,
    allowance,
    certify,
    misfit,
    precision_of,
    settle,
)
from llrnb.condensation import condense
from llrnb.least_squares import Stop, draw_starts, fit
from llrnb.strategies import condense_and_polish
from llrnb.targets import Target, draw, generic_target, paper_target

CNN = cnn(5, 3, 1)
FAMILIES = {
    "CNN": CNN,
    "unshared": cnn(5, 3, 1, shared=False),
    "fully connected": fully_connected(3, 2),
    "no bias": fully_connected(3, 2, bias=False),
    "output bias": cnn(4, 2, 1, output_bias=True),
}
UNSURE = {Outcome.FITS, Outcome.DETERMINED}


def climb(inputs, target, *, net=None, **options):
    net = net or replace(target.net, kernels=100)
    outputs = options.pop("outputs", None)
    outputs = target(inputs) if outputs is None else outputs
    return narrowest_interpolator(net, inputs, outputs, budget=20_000, seed=0, **options)


def agreeing(found, target, inputs):
    """The share of inputs at which the found function and the target agree as is claimed."""
    off = predict(found.narrow, found.narrow_params, inputs) - target(inputs)
    near = allowance(found.narrow, found.narrow_params, inputs, found.certificate)
    return float((off.abs() <= near).double().mean())


@pytest.mark.parametrize("net", FAMILIES.values(), ids=FAMILIES)
@pytest.mark.parametrize("more", [1, 3])
def test_a_target_is_certified_from_one_sample_more_than_parameters(net, more):
    target = generic_target(net, seed=2)
    found = certify(net, target.params, *draw(target, net.parameter_count + more))
    assert found.outcome == Outcome.AGREES
    assert len(set(found.rows)) == net.parameter_count + 1
    assert found.misfit <= 1 and found.sigma >= THRESHOLD and found.radius < 1e-8
    assert 0 < found.coincidence(1e-6) < found.coincidence(1e-3)


@pytest.mark.parametrize("net", FAMILIES.values(), ids=FAMILIES)
def test_as_many_samples_as_parameters_determine_and_fewer_only_fit(net):
    target = generic_target(net, seed=2)
    at, below = (draw(target, net.parameter_count - less) for less in (0, 1))
    assert certify(net, target.params, *at).outcome == Outcome.DETERMINED
    assert certify(net, target.params, *below).outcome == Outcome.FITS
    assert certify(net, target.params, *below).coincidence(1e-6) == 1.0


def test_the_measured_singular_value_is_that_of_the_scaled_tangent_matrix():
    """A second route: autograd's matrix, delta written out, every r of r + 1 rows."""
    target = generic_target(CNN, seed=4)
    x, y = draw(target, 8)
    found = certify(CNN, target.params, x, y)
    w, b, a = (target.params[name] for name in "wba")
    slopes = torch.vmap(torch.func.grad(CNN), in_dims=(None, 0))(target.params, x)
    matrix = torch.cat([slopes[name].flatten(1) for name in ("w", "b", "a")], dim=1)
    size = torch.cat([w[0], b]).norm()
    matrix = matrix * torch.cat([size.expand(4), a.square().mean().sqrt().expand(3)])
    delta = []
    for point, output in zip(x, y, strict=True):
        total = a.abs().sum() + output.abs()
        for p in range(3):
            seen = point[p : p + 3]
            slope = 1 / torch.cosh(w[0] @ seen + b[0]) ** 2
            total = total + a[0, p].abs() * slope * (w[0].abs() @ seen.abs() + b[0].abs())
        delta.append(4 * 2.0**-52 * total)
    matrix = matrix / torch.stack(delta)[:, None]
    least = [np.linalg.svd(np.delete(matrix, k, 0))[1][-1] for k in range(8)]
    assert found.delta == pytest.approx(float(max(delta)), rel=1e-12)
    assert found.sigma == pytest.approx(min(least), rel=1e-6)
    assert found.best == pytest.approx(max(least), rel=1e-6)


@pytest.mark.parametrize("off", [1e-15, 0.0])
def test_within_the_radius_is_a_zero(off):
    """A second route: Newton's method with 60 digits ends within the radius of the fit.

    With the outputs that the fit gives in float64 its error is 0, and the zero is not there.
    """
    net = fully_connected(1, 1)
    target = generic_target(net, seed=1)
    x, y = draw(target, 3)
    start = {name: value * (1 + off) for name, value in target.params.items()}
    found = certify(net, start, x, y)
    assert found.outcome == Outcome.DETERMINED
    mpmath.mp.dps = 60
    points, values = [mpmath.mpf(float(v)) for v in x], [mpmath.mpf(float(v)) for v in y]

    def equations(w, b, a):
        return [a * mpmath.tanh(w * p + b) - v for p, v in zip(points, values, strict=True)]

    fitted = [mpmath.mpf(float(start[name])) for name in "wba"]
    zero = mpmath.findroot(equations, fitted, tol=1e-50)
    length = mpmath.sqrt(fitted[0] ** 2 + fitted[1] ** 2)
    scale = [length, length, abs(fitted[2])]
    away = [(z - f) / s for z, f, s in zip(zero, fitted, scale, strict=True)]
    assert mpmath.norm(mpmath.matrix(away)) <= found.radius
    assert mpmath.norm(mpmath.matrix(away)) > 0


def _fold(net, w, a):
    """Three inputs at which the equations of a tanh(w . x) have a fold, and its direction there.

    The rows of the derivative are (a tanh' x, tanh), dependent where (x, sinh 2 w . x) are.
    """
    x = np.array([[1.0, 0.5], [-0.4, 1.0], [0.3, 0.0]])

    def volume(last):
        points = np.vstack([x[:2], [x[2, 0], last]])
        return np.linalg.det(np.column_stack([points, np.sinh(2 * points @ w)]))

    x[2, 1] = -volume(0) / (volume(1) - volume(0))  # w has no second entry
    z = x @ w
    slopes = np.column_stack([a / np.cosh(z)[:, None] ** 2 * x, np.tanh(z)])
    left, values, right = np.linalg.svd(slopes)
    assert values[-1] < 1e-14
    return x, left.T, right[-1]


@pytest.mark.parametrize("beyond", [True, False])
def test_equations_without_a_zero_near_have_no_radius(beyond):
    """Near a fold of the equations h > 1/2: beyond it they have no zero, though all else is met."""
    net, fitted, precision = fully_connected(2, 1, bias=False), np.array([0.8, 0.0, 1.3]), 1e-12
    x, left, right = _fold(net, fitted[:2], fitted[2])
    near = fitted + (3e-6 if beyond else 3e-5) * right

    def values(p):
        return p[2] * np.tanh(x @ p[:2])

    bend = left[-1] @ (values(fitted + 1e-3 * right) + values(fitted - 1e-3 * right))
    bend -= 2 * left[-1] @ values(fitted)
    y = values(fitted) - np.sign(bend) * 2e-12 * left[-1] if beyond else values(near)
    params = {"w": torch.from_numpy(near[None, :2]), "a": torch.from_numpy(near[None, 2:])}
    found = certify(net, params, torch.from_numpy(x), torch.from_numpy(y), precision=precision)
    assert found.misfit <= 1 and found.best >= THRESHOLD
    assert found.outcome == (Outcome.FITS if beyond else Outcome.DETERMINED)

    plane, signs = np.linalg.svd(right[None])[2][1:], set()
    for away in np.linspace(-2e-3, 2e-3, 41):  # where two equations are met, the third never is
        line = fitted + away * right
        met = root(lambda st, p=line: left[:2] @ (values(p + st @ plane) - y), [0.0, 0.0])
        assert np.abs(met.fun).max() < 1e-14
        signs.add(np.sign(left[2] @ (values(line + met.x @ plane) - y)))
    assert (len(signs) == 1) == beyond


@pytest.mark.parametrize("seed", range(6))
def test_the_least_singular_value_is_a_lower_bound_whatever_rounding_does(seed):
    """A second route: the scaled tangent matrix and its singular values with 50 digits."""
    net = fully_connected(1, 1)
    target = generic_target(net, seed)
    x, y = draw(target, 4, seed)
    found = certify(net, target.params, x, y)
    mpmath.mp.dps = 50
    w, b, a = (mpmath.mpf(float(target.params[name])) for name in "wba")
    length, rows = mpmath.sqrt(w**2 + b**2), []
    for point, output in zip(x.flatten().tolist(), y.tolist(), strict=True):
        inner, slope = w * point + b, mpmath.sech(w * point + b) ** 2
        changed = abs(a) * slope * (abs(w * point) + abs(b))
        delta = 4 * mpmath.mpf(2) ** -52 * (abs(a) + abs(output) + changed)
        row = [a * slope * point * length, a * slope * length, mpmath.tanh(inner) * abs(a)]
        rows.append([entry / delta for entry in row])
    least = []
    for left in range(4):
        chosen = mpmath.matrix([row for k, row in enumerate(rows) if k != left])
        least.append(min(mpmath.svd_r(chosen, compute_uv=False)))
    assert 0 < found.sigma <= min(least) and found.best <= max(least)
    assert found.sigma == pytest.approx(float(min(least)), rel=1e-3)


def test_a_fit_that_is_off_is_not_fitted_and_settling_mends_it():
    target = generic_target(CNN, seed=3)
    data = draw(target, 9)
    off = {name: value * (1 + 1e-9) for name, value in target.params.items()}
    assert certify(CNN, off, *data).outcome == Outcome.NOT_FITTED
    assert misfit(CNN, settle(CNN, off, *data), *data) <= 1
    assert certify(CNN, settle(CNN, off, *data), *data).outcome == Outcome.AGREES
    wrong = data[0], data[1] + torch.eye(9)[4].double()
    assert misfit(CNN, settle(CNN, off, *wrong), *wrong) > 1


@pytest.mark.parametrize("size", [30.0, 100.0])
@pytest.mark.parametrize("seed", range(3))
def test_inputs_that_saturate_the_target_certify_no_wrong_network(size, seed):
    target = paper_target()
    inputs, fresh = draw(target, 8, seed)[0], draw(target, 2000, 77)[0]
    found = climb(size * inputs, target, net=cnn(5, 3, 100))
    assert found.status != Outcome.AGREES or agreeing(found, target, size * fresh) > 0.99


@pytest.mark.parametrize("seed", range(3))
def test_large_weights_and_signs_as_outputs_certify_no_wrong_network(seed):
    target = generic_target(CNN, seed)
    target = Target(CNN, {name: 10 * value for name, value in target.params.items()})
    inputs, fresh = draw(target, 8, seed)[0], draw(target, 2000, 77)[0]
    found = climb(inputs, target)
    assert found.status != Outcome.AGREES or agreeing(found, target, fresh) > 0.99
    assert climb(inputs, target, outputs=target(inputs).sign()).status != Outcome.AGREES


@pytest.mark.parametrize("seed", range(3))
def test_inputs_and_their_negatives_count_once_where_the_network_is_odd(seed):
    net = cnn(5, 3, 1, bias=False)
    target = generic_target(net, seed)
    x = draw(target, 4, seed)[0]
    assert (
        certify(net, target.params, torch.cat([x, -x]), target(torch.cat([x, -x]))).outcome
        in UNSURE
    )
    x = draw(target, 7, seed)[0]
    both = torch.cat([x, -x])
    assert certify(net, target.params, both, target(both)).outcome == Outcome.AGREES


@pytest.mark.parametrize("apart", [0.0, 1e-15])
def test_repeated_inputs_count_once(apart):
    target = generic_target(CNN, seed=6)
    x = draw(target, 7)[0]
    twice = torch.cat([x, x * (1 + apart)])
    assert certify(CNN, target.params, twice, target(twice)).outcome in UNSURE
    constant = fully_connected(3, 1, output_bias=True)
    point = torch.randn(1, 3, dtype=torch.float64) * torch.tensor([[1.0], [1.0 + apart]])
    outputs = torch.full((2,), 1.5, dtype=torch.float64)
    found = narrowest_interpolator(constant, point, outputs, budget=100, seed=0)
    assert found.kernels == 0 and found.status == Outcome.DETERMINED


def test_four_samples_given_twice_are_not_certified_after_a_descent():
    target = paper_target()
    x = draw(target, 4)[0].repeat(2, 1)
    wide = cnn(5, 3, 10)
    (attempt,) = condense_and_polish(wide, x[None], target(x)[None], [0], steps=3000)
    assert attempt.status != Outcome.AGREES


@pytest.mark.parametrize("unit", [1e155, 1e170, 1e-163, 1e-170, 2.0**-600])
def test_the_unit_of_the_outputs_changes_nothing(unit):
    target = paper_target()
    x = draw(target, 8)[0]
    plain, found = climb(x, target), climb(x, target, outputs=unit * target(x))
    assert found.kernels == plain.kernels == 1
    assert found.status == plain.status == Outcome.AGREES
    off = found.narrow_params["a"] / unit * found.narrow_params["w"].sum().sign() - 1
    assert off.abs().max() < 1e-9
    assert found.certificate.delta == pytest.approx(
        unit * plain.certificate.delta, rel=0.5, abs=0.0
    )


@pytest.mark.parametrize("unit", [1e170, 1e-200])
def test_the_unit_of_the_inputs_changes_nothing(unit):
    target = paper_target()
    x = draw(target, 8)[0]
    found = climb(unit * x, target, outputs=target(x))
    assert (found.kernels, found.status) == (1, Outcome.AGREES)


def test_tiny_outputs_are_not_zero():
    target = paper_target()
    x, y = draw(target, 8)
    starts = draw_starts(target.net, x, 1e-200 * y, 20)
    fits = fit(target.net, x, 1e-200 * y, starts)
    assert set(fits.status) > {Stop.CONVERGED}
    away = predict(target.net, fits.params, x) / 1e-200 - y
    for stop, error in zip(fits.status, away, strict=True):
        assert (stop is Stop.CONVERGED) == bool(error.abs().max() < 1e-10)


@pytest.mark.parametrize("unit", [1e-200, 1e200])
def test_perpendicular_kernels_are_not_merged_in_any_unit(unit):
    net = fully_connected(2, 2, bias=False)
    w = unit * torch.tensor([[1.0, 2.0], [2.0, -1.0]], dtype=torch.float64)
    params = {"w": w, "a": unit * torch.ones(2, 1, dtype=torch.float64)}
    assert condense(net, params)[0].kernels == 2
    params["w"] = torch.stack([w[0], -w[0]])
    narrow, merged = condense(net, params)
    assert narrow.kernels == 1 and not merged["a"].any()
    params["a"] = unit * torch.tensor([[1.0], [-2.0]], dtype=torch.float64)
    assert abs(condense(net, params)[1]["a"].item()) == pytest.approx(3 * unit, abs=0.0)


@pytest.mark.parametrize("net", [CNN, cnn(5, 3, 1, shared=False)], ids=["CNN", "unshared"])
def test_data_rounded_to_float32_are_recognised_and_fitted(net):
    target = generic_target(net, seed=1)
    x, y = draw(target, net.parameter_count + 3)
    x32, y32 = x.float(), y.float()
    assert precision_of(y) == 2.0**-52 and precision_of(y32) == precision_of(y32.double())
    found = narrowest_interpolator(replace(net, kernels=10), x32, y32, budget=10**5, seed=0)
    assert (found.kernels, found.status) == (1, Outcome.AGREES)
    fresh = draw(target, 1000, 9)[0]
    near = predict(found.narrow, found.narrow_params, fresh) - target(fresh)
    assert 1e-12 < near.abs().max() < 1e-3
    exact = narrowest_interpolator(
        replace(net, kernels=1), x32, y32, budget=10**5, seed=0, precision=2.0**-52, starts=64
    )
    assert exact.status == Outcome.NOT_INTERPOLABLE


def test_on_palindromes_a_reversed_kernel_is_right_on_this_law_and_only_there():
    target = generic_target(CNN, seed=5)
    half, fresh = draw(target, 9)[0], draw(target, 500, 8)[0]

    def folded(x):
        return torch.cat([x[:, :3], x[:, [1, 0]]], dim=1)

    turned = {
        name: value.flip(-1) if name != "b" else value for name, value in target.params.items()
    }
    x = folded(half)
    assert certify(CNN, turned, x, target(x)).outcome == Outcome.AGREES
    away = predict(CNN, turned, folded(fresh)) - target(folded(fresh))
    assert away.abs().max() < 1e-12
    assert (predict(CNN, turned, fresh) - target(fresh)).abs().max() > 0.1


def test_the_bound_counts_choices_zeros_and_free_samples():
    target = generic_target(CNN, seed=2)
    found = certify(CNN, target.params, *draw(target, 10))
    assert found.coincidence(1e-3) == pytest.approx(120 * found.zeros * 1e-9)
    assert replace(found, zeros=3).coincidence(1e-6) == pytest.approx(360e-18)


def test_wrong_zeros_at_as_many_samples_as_parameters_are_refuted_by_one_more():
    """What certifies must tell the zeros of r samples apart: all but the target miss the next."""
    target = generic_target(CNN, seed=3)
    x, y = draw(target, 8, 2)
    starts = draw_starts(CNN, x[:7], y[:7], 400)
    fits = fit(CNN, x[:7], y[:7], starts)
    outcomes = set()
    for start in (k for k, stop in enumerate(fits.status) if stop is Stop.CONVERGED):
        params = settle(CNN, fits.params[start], x, y)
        right = bool((predict(CNN, params, x) - y).abs().max() < 1e-9)
        outcome = certify(CNN, params, x, y).outcome
        outcomes.add((right, outcome == Outcome.AGREES))
        assert right or outcome == Outcome.NOT_FITTED
    assert outcomes == {(True, True), (False, False)}


@pytest.mark.parametrize("precision", [0.0, 1.0, float("nan")])
def test_misuse_is_named(precision):
    target = paper_target()
    with pytest.raises(ValueError, match="precision needs a finite number > 0 and < 1, got"):
        certify(target.net, target.params, *draw(target, 8), precision=precision)


@pytest.mark.parametrize("name", ["inputs", "outputs"])
@pytest.mark.parametrize("unit", [1e305, 1e-305])
def test_data_without_room_for_weights_are_refused(name, unit):
    x, y = draw(paper_target(), 8)
    data = {"inputs": x, "outputs": y}
    data[name] = unit * data[name]
    with pytest.raises(ValueError, match=f"{name} of a size between 1e-300 and 1e300"):
        narrowest_interpolator(CNN, **data, budget=100, seed=0)


def test_the_rank_of_a_certified_fit_is_its_number_of_parameters():
    for net in FAMILIES.values():
        target = generic_target(net, seed=2)
        found = certify(net, target.params, *draw(target, net.parameter_count + 1))
        assert found.params == exact_rank(net, target.params) == net.parameter_count
        assert tangent_matrix(net, target.params, draw(target, 3)[0]).shape[1] == found.params


def test_a_fit_whose_rounding_exceeds_the_outputs_is_not_certified():
    net, x = fully_connected(2, 2), torch.randn(12, 2).double()
    huge = {"w": torch.full((2, 2), 1e-300, dtype=torch.float64)}
    huge |= {"b": torch.zeros(2).double(), "a": torch.full((2, 1), 1e305, dtype=torch.float64)}
    for y in (torch.ones(12).double(), predict(net, huge, x)):
        assert certify(net, huge, x, y).outcome is Outcome.FITS
        settled = settle(net, huge, x, y)
        assert all(torch.equal(value, huge[name]) for name, value in settled.items())


def test_a_step_to_nowhere_is_not_taken(monkeypatch):
    target = generic_target(CNN, seed=1)
    x, y = draw(target, 9)
    off = {name: value * 1.001 for name, value in target.params.items()}
    assert misfit(CNN, settle(CNN, off, x, y), x, y) <= 1
    monkeypatch.setattr(
        certificate, "tangent_matrix", lambda *task: tangent_matrix(*task) * torch.inf
    )
    assert all(torch.equal(v, off[name]) for name, v in settle(CNN, off, x, y).items())
    assert certify(CNN, target.params, x, y).outcome is Outcome.FITS
