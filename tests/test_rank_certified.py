import mpmath
import numpy as np
import pytest
import torch
from degenerate import KINDS, QUIET, degenerate
from hypothesis import given, settings
from hypothesis import strategies as st

from llrnb.networks import cnn, fully_connected
from llrnb.rank import certify_rank, exact_rank, nonsingularity_bound, tangent_matrix
from llrnb.rank.certified import enclosed_tangent, tanh_and_slope

pytestmark = QUIET


def with_singular_values(values, seed=0):
    rng = np.random.default_rng(seed)
    left, right = (np.linalg.qr(rng.standard_normal((len(values),) * 2))[0] for _ in range(2))
    return left * values @ right


@pytest.mark.parametrize(
    "net",
    [fully_connected(5, 3), fully_connected(5, 20), cnn(5, 3, 1), cnn(5, 3, 30),
     cnn(5, 3, 10, shared=False), cnn((6, 6), 3, 2, bias=False)],
)  # fmt: skip
def test_generic_networks_are_certified(net):
    certificate = certify_rank(net, net.init(std=1.0))
    assert certificate.proved
    assert certificate.lower == exact_rank(net, net.init(std=1.0)) == net.parameter_count
    assert certificate.bound < 1


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=100)
@given(data=st.data())
def test_the_certificate_of_a_small_network_meets_its_exact_rank(kind, data):
    net, params = data.draw(degenerate(kind))
    certificate = certify_rank(net, params)
    assert certificate.lower <= certificate.upper == exact_rank(net, params)
    assert certificate.proved


def test_a_certificate_names_a_nonsingular_part_of_the_tangent_matrix():
    net = cnn(5, 3, 2)
    params = net.init(std=1.0)
    certificate = certify_rank(net, params)
    part = tangent_matrix(net, params, certificate.inputs)[:, certificate.columns]
    assert part.shape == (14, 14)
    assert torch.linalg.matrix_rank(part) == 14


@pytest.mark.parametrize("distance", [1e-6, 1e-9, 1e-13, 2.0**-52])
def test_a_slightly_perturbed_copy_is_refused_not_guessed(distance):
    net = fully_connected(5, 3)
    params = net.init(std=1.0)
    params["w"][0, 0] = params["w"][1, 0] = 1.0
    params["w"][1, 1:], params["b"][1] = params["w"][0, 1:], params["b"][0]
    assert certify_rank(net, params).lower == certify_rank(net, params).upper == 14
    params["w"][1, 0] += distance
    certificate = certify_rank(net, params)
    assert (certificate.upper, certificate.proved) == (21, False)
    assert 14 <= certificate.lower < 21


def test_a_clearly_perturbed_copy_is_proved_to_be_another_neuron():
    net = fully_connected(2, 2)
    params = net.init(std=1.0)
    params["w"][1], params["b"][1] = params["w"][0], params["b"][0]
    params["w"][1, 0] += 0.01
    assert certify_rank(net, params).lower == 8


def test_networks_too_large_or_too_extreme_are_refused():
    large = fully_connected(784, 30)
    assert certify_rank(large, large.init(std=1.0)).lower == 0
    tiny = fully_connected(5, 3)
    assert not certify_rank(tiny, tiny.init(std=1e-10)).proved
    for std in (1e150, 1e300):
        assert not certify_rank(tiny, tiny.init(std=std)).proved
    zero = certify_rank(tiny, tiny.init(std=0.0))
    assert (zero.lower, zero.upper, zero.proved) == (0, 0, True)


@pytest.mark.parametrize("smallest", [1e-3, 1e-6, 1e-9, 1e-11])
def test_a_small_singular_value_is_proved_nonzero(smallest):
    assert nonsingularity_bound(with_singular_values([1, 1, 0.5, 0.1, smallest])) < 1


@pytest.mark.parametrize("smallest", [1e-16, 1e-20, 0.0])
def test_a_singular_value_below_rounding_proves_nothing(smallest):
    for seed in range(50):
        matrix = with_singular_values([1, 1, 0.5, 0.1, smallest], seed)
        assert nonsingularity_bound(matrix) >= 1


@pytest.mark.parametrize("smallest", [1e-2, 1e-5, 1e-8])
def test_the_error_of_entries_is_inside_the_bound(smallest):
    matrix = with_singular_values([1, 1, 0.5, 0.1, smallest])
    assert nonsingularity_bound(matrix, smallest * 1e-3) < 1
    assert nonsingularity_bound(matrix, smallest) >= 1  # a singular matrix is that close


def test_scaling_rows_and_columns_hardly_changes_the_bound():
    matrix = with_singular_values([1, 1, 0.5, 0.1, 1e-6])
    scales = 2.0 ** np.array([-600, 300, 0, 5, 400])
    for scaled in (matrix * scales, matrix * scales[:, None]):
        assert nonsingularity_bound(scaled) < 1e3 * nonsingularity_bound(matrix) < 1


def test_singular_and_infinite_matrices_prove_nothing():
    assert nonsingularity_bound(np.ones((2, 2))) >= 1
    assert nonsingularity_bound(np.zeros((2, 2))) >= 1
    assert nonsingularity_bound(np.array([[np.inf]])) >= 1
    assert nonsingularity_bound(np.eye(2), np.full((2, 2), np.nan)) >= 1
    assert nonsingularity_bound(np.eye(2)) < 1


def hard_arguments():
    rng = np.random.default_rng(0)
    log2 = np.log(2)
    return np.concatenate([
        rng.uniform(-350, 350, 1_000), rng.uniform(-1, 1, 1_000), 10 ** rng.uniform(-300, 2, 1_000),
        (np.arange(200) + 0.5) * log2 / 2, np.nextafter((np.arange(200) + 0.5) * log2 / 2, 0),
        [0.0, -0.0, 5e-324, 349.999],
    ])  # fmt: skip


def test_the_error_of_tanh_and_its_slope_is_within_the_proved_bound():
    u = hard_arguments()
    t, s, relative = tanh_and_slope(u)
    with mpmath.workprec(400):
        for at, tanh, slope in zip(u.tolist(), t.tolist(), s.tolist(), strict=True):
            true = mpmath.tanh(at)
            assert abs(tanh - true) <= relative * abs(true)
            true = mpmath.sech(at) ** 2
            assert abs(slope - true) <= relative * true


@pytest.mark.parametrize("scale", [1e-8, 1.0, 30.0, 1e4])
@pytest.mark.parametrize("net", [fully_connected(3, 2), cnn(4, 2, 2), cnn(4, 2, 1, shared=False)])
def test_the_error_of_tangent_entries_is_within_the_proved_bound(net, scale):
    params = net.init(std=scale)
    inputs = torch.randn(5, net.input_dim, dtype=torch.float64)
    tangent, error = enclosed_tangent(net, params, inputs)
    with mpmath.workprec(400):
        true = np.array([exact_gradient(net, params, x) for x in inputs.tolist()])
        assert (np.abs(tangent - true) <= error).all()
    close = np.abs(tangent - tangent_matrix(net, params, inputs).numpy())
    assert (close <= error + 1e-15 * scale).all()


def exact_gradient(net, params, x):
    """One row of the tangent matrix by 400-bit arithmetic, neuron by neuron."""
    slopes = {name: np.full(shape, mpmath.mpf(0)) for name, shape in net.shapes.items()}
    values = {name: value.numpy() for name, value in params.items()}
    for k in range(net.kernels):
        for p, window in enumerate(net.windows):
            row = k if net.shared else (k, p)
            u = sum(mpmath.mpf(w) * x[i] for w, i in zip(values["w"][row], window, strict=True))
            u += mpmath.mpf(values["b"][row])
            slopes["a"][k, p] = mpmath.tanh(u)
            slope = mpmath.mpf(values["a"][k, p]) * mpmath.sech(u) ** 2
            slopes["b"][row] += slope
            for e, i in enumerate(window):
                slopes["w"][(*np.atleast_1d(row), e)] += slope * x[i]
    return np.concatenate([slope.ravel() for slope in slopes.values()])
