"""Ranks of models of many kinds, known by counting, over the rationals, or with 150 digits."""

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import torch
from mpmath import mp
from torch import Tensor

from llrnb import embedding
from llrnb.deep import DeepNetwork
from llrnb.networks import TwoLayerNetwork, cnn, fully_connected
from llrnb.rank import (
    certify_rank,
    exact_rank,
    local_linear_fit,
    matrix_rank,
    numerical_rank,
    series_rank,
)
from llrnb.rank.exact import by_neuron
from tools.search import Case


@dataclass(frozen=True)
class Instance:
    """A model at params, and the rank of its tangent functions.

    Attributes:
        kind: in a few words.
        call: the model.
        params: its parameters.
        input_dim: number of inputs.
        rank: of the model, by a second route.
        inputs: to be given; None if the function may draw them.
        clean: whether a verdict is due.
        generic: whether n inputs from N(0, I) have the rank min(n, rank).
    """

    kind: str
    call: Callable
    params: dict
    input_dim: int
    rank: int
    inputs: Tensor | None = None
    clean: bool = False
    generic: bool = True

    def __call__(self, params: dict, x: Tensor) -> Tensor:
        return self.call(params, x)


def case(seed: int) -> Case:
    rng = np.random.default_rng([seed, 15])
    judges = [numerical] * 5 + [fit] * 4 + [matrix, exact, certificate, series]
    return judges[rng.integers(len(judges))](rng)


# The functions, judged.


def numerical(rng: np.random.Generator) -> Case:
    drawn = KINDS[rng.integers(len(KINDS))](rng)
    found = numerical_rank(drawn, drawn.params, drawn.inputs)
    said = f"{found.rank} {found.verdict} ({found.reason}); right: {drawn.rank}"
    if found.verdict == "convincing":
        outcome = "right" if found.rank == drawn.rank else "false"
    elif found.verdict == "at least":
        outcome = "undecided" if found.rank <= drawn.rank else "false"
    else:
        outcome = "undecided"
    return Case("llrnb.numerical_rank", drawn.kind, said, outcome, drawn.clean)


def fit(rng: np.random.Generator) -> Case:
    drawn = KINDS[rng.integers(len(KINDS))](rng)
    while not drawn.generic:
        drawn = KINDS[rng.integers(len(KINDS))](rng)
    distinct = max(1, drawn.rank + int(rng.integers(-3, 4)))
    inputs = normal(rng, distinct, drawn.input_dim)
    kind, clean = drawn.kind, drawn.clean
    if rng.random() < 0.2:
        inputs, kind = inputs.repeat(int(rng.integers(2, 5)), 1), kind + ", repeated inputs"
    elif rng.random() < 0.2:
        inputs, kind, clean = inputs * 10.0 ** rng.uniform(-9, -1), kind + ", tiny inputs", False
    found = local_linear_fit(drawn, drawn.params, inputs)
    right = "recovers" if distinct >= drawn.rank else "does not"
    said = f"{found.verdict} ({found.reason}); right: {right}"
    outcome = {right: "right", "undecided": "undecided"}.get(found.verdict, "false")
    return Case("llrnb.local_linear_fit", kind, said, outcome, clean)


def matrix(rng: np.random.Generator) -> Case:
    rows, columns, inner = rng.integers(1, 12, 3)
    left, right = rng.integers(-3, 4, (rows, inner)), rng.integers(-3, 4, (inner, columns))
    rank = rank_of([[Fraction(int(v)) for v in row] for row in left @ right], 0)
    values = torch.from_numpy((left @ right).astype(float))
    kind = ["integers", "scaled columns", "float32", "nearly dependent"][rng.integers(4)]
    if kind == "scaled columns":
        values = values * torch.from_numpy(10.0 ** rng.uniform(-150, 150, columns))
    if kind == "float32":
        values = (values * torch.from_numpy(rng.uniform(0.1, 1, columns))).float()
    if kind == "nearly dependent":
        # An independent column at a distance: of a rank one higher.
        rows += 1
        values = torch.cat([values, values.new_zeros(1, columns)])
        extra = values.sum(1, keepdim=True)
        extra[-1] = 10.0 ** rng.uniform(-13, 0) * max(1.0, float(extra.abs().max()))
        values, rank = torch.cat([values, extra], dim=1), rank + 1
    found = matrix_rank(values)
    outcome = "undecided"
    if found.convincing:
        outcome = "right" if found.rank == rank else "false"
    said = f"{found.rank} {found.verdict} ({found.reason}); right: {rank}"
    return Case("llrnb.matrix_rank", kind, said, outcome, kind in ("integers", "scaled columns"))


def exact(rng: np.random.Generator) -> Case:
    drawn = TANH[rng.integers(len(TANH))](rng)
    found = exact_rank(drawn.call, drawn.params)
    outcome = "right" if found == drawn.rank else "false"
    return Case("llrnb.exact_rank", drawn.kind, f"{found}; right: {drawn.rank}", outcome, True)


def certificate(rng: np.random.Generator) -> Case:
    drawn = TANH[rng.integers(len(TANH))](rng)
    found = certify_rank(drawn.call, drawn.params)
    said = f"{found.lower} to {found.upper}, right: {drawn.rank}"
    if not found.lower <= drawn.rank <= found.upper:
        outcome = "false"
    else:
        outcome = "right" if found.proved else "undecided"
    return Case("llrnb.certify_rank", drawn.kind, said, outcome, drawn.clean)


def series(rng: np.random.Generator) -> Case:
    widths = (2, *(int(w) for w in rng.integers(1, 4, rng.integers(1, 3))), 1)
    net = DeepNetwork(widths, bias=False)
    params, rank = net.init(seed=int(rng.integers(1e6))), net.parameter_count
    kind = ["generic", "split", "huge and tiny", "float32"][rng.integers(4)]
    if kind == "split":
        net, params = embedding.split(net, params, layer=1, neuron=0)
    elif kind == "huge and tiny":
        params = {k: v * 10.0 ** float(rng.uniform(-300, 300)) for k, v in params.items()}
    elif kind == "float32":
        params = {k: v.float() for k, v in params.items()}
    found = series_rank(net, params)
    outcome = "false" if found > rank else "right" if found == rank else "undecided"
    return Case("llrnb.series_rank", kind, f"{found} of {rank}", outcome, kind == "generic")


# The kinds.


def normal(rng: np.random.Generator, *shape: int) -> Tensor:
    return torch.from_numpy(rng.standard_normal(shape))


def generic_network(rng: np.random.Generator) -> Instance:
    net = fully_connected(int(rng.integers(2, 6)), int(rng.integers(1, 7)), bias=rng.random() < 0.5)
    params = net.init(std=1.0, seed=int(rng.integers(1e6)))
    rank = net.parameter_count
    return Instance("generic network", net, params, net.input_dim, rank, clean=True)


def degenerate_network(rng: np.random.Generator) -> Instance:
    """Copies, opposites, idle and null neurons, fully connected: counted by hand."""
    dim, width, bias = int(rng.integers(2, 5)), int(rng.integers(2, 8)), rng.random() < 0.5
    net = fully_connected(dim, width, bias=bias)
    params = net.init(std=1.0, seed=int(rng.integers(1e6)))
    w, a, b = params["w"], params["a"], params.get("b", torch.zeros(width).double())
    group = list(range(width))
    for i in range(width):
        how = rng.integers(6)
        if how == 1 and i:
            group[i] = group[j := int(rng.integers(i))]
            sign = float(rng.choice([-1, 1]))
            w[i], b[i] = sign * w[j], sign * b[j]
        elif how == 2:
            a[i] = 0.0
        elif how == 3:
            w[i], group[i] = 0.0, -1
        elif how == 4:
            w[i], a[i], b[i], group[i] = 0.0, 0.0, 0.0, -1
    moving = [float(w[i].abs().sum()) > 0 for i in range(width)]
    living = {group[i] for i in range(width) if a[i, 0] != 0 and moving[i]}
    rank = len({group[i] for i in range(width) if moving[i]}) + len(living) * (dim + bias)
    still = [i for i in range(width) if not moving[i]]
    linear = any(a[i, 0] != 0 for i in still)
    constant = bias and (linear or any(b[i] != 0 for i in still))
    rank += dim * linear + constant
    return Instance("degenerate network", net, params, dim, rank, clean=True)


def convolution(rng: np.random.Generator) -> Instance:
    """Shared and unshared kernels, small integers, copies, shifts: by elimination in 150 digits."""
    kernels = int(rng.integers(1, 4))
    net = cnn(int(rng.integers(3, 5)), 2, kernels, shared=rng.random() < 0.6, bias=False)
    shapes = net.shapes
    params = {k: torch.from_numpy(rng.integers(-2, 3, s).astype(float)) for k, s in shapes.items()}
    rows = params["w"].view(-1, 2)
    if len(rows) > 1 and rng.random() < 0.5:
        rows[-1] = rows[0].flip(0) if rng.random() < 0.5 else -rows[0]
    rank = rank_with_digits(net, params)
    return Instance("degenerate CNN", net, params, net.input_dim, rank, clean=True)


def near_copy(rng: np.random.Generator) -> Instance:
    net = fully_connected(2, 2 + int(rng.integers(2)), bias=False)
    params = net.init(std=1.0, seed=int(rng.integers(1e6)))
    params["w"][1] = params["w"][0] + 10.0 ** rng.uniform(-13, 0) * normal(rng, 2)
    return Instance("near copy", net, params, 2, net.parameter_count)


def any_scale(rng: np.random.Generator) -> Instance:
    net = fully_connected(int(rng.integers(2, 4)), int(rng.integers(1, 4)))
    params = net.init(std=10.0 ** rng.uniform(-120, 6), seed=int(rng.integers(1e6)))
    if rng.random() < 0.5:  # one neuron only
        params["w"][1:] = normal(rng, *params["w"][1:].shape)
    return Instance("any scale", net, params, net.input_dim, net.parameter_count)


def narrow_type(rng: np.random.Generator) -> Instance:
    drawn = generic_network(rng)
    dtype = [torch.float32, torch.bfloat16, torch.float16][rng.integers(3)]
    params = {k: v.to(dtype) for k, v in drawn.params.items()}
    return Instance("narrow params", drawn.call, params, drawn.input_dim, drawn.rank)


def tiny_layer(rng: np.random.Generator) -> Instance:
    net = DeepNetwork((2, 3, 3, 1))
    params = net.init(seed=int(rng.integers(1e6)))
    params["w2"] *= 10.0 ** rng.uniform(-30, 0)
    return Instance("tiny layer", net, params, 2, net.parameter_count)


def deep_split(rng: np.random.Generator) -> Instance:
    net = DeepNetwork((2, 2, 2, 1), residual=rng.random() < 0.3)
    wide, params = embedding.split(net, net.init(seed=int(rng.integers(1e6))), layer=1, neuron=0)
    return Instance("deep, split", wide, params, 2, net.parameter_count)


def relu_network(rng: np.random.Generator) -> Instance:
    dim, planes = int(rng.integers(2, 6)), int(rng.integers(1, 4))
    w = normal(rng, planes, dim)
    opposite = rng.random() < 0.5
    w = torch.cat([w, 2 * w[:1], -w[:1] if opposite else w[:1]])
    params = {"w": w, "a": normal(rng, len(w))}

    def call(params, x):
        return params["a"] @ torch.relu(params["w"] @ x)

    rank = dim * (planes + opposite)
    return Instance("ReLU network", call, params, dim, rank, clean=True, generic=False)


def rarely_active(rng: np.random.Generator) -> Instance:
    """A ReLU unit that is on at a share of the inputs between a third and one in 10^9."""
    dim = int(rng.integers(1, 4))
    params = {"w": normal(rng, dim), "b": normal(rng, 1)[0], "v": normal(rng, dim)}
    params["b"] = -params["w"].norm() * float(rng.uniform(0.5, 6))

    def call(params, x):
        return torch.relu(params["w"] @ x + params["b"]) + params["v"] @ x

    return Instance("rarely active", call, params, dim, 2 * dim + 1, generic=False)


def product(rng: np.random.Generator) -> Instance:
    p, q, rank = (int(v) for v in rng.integers(2, 5, 3))
    rank = min(rank, p, q)
    extra = int(rng.integers(0, 3))  # null columns
    u, v = normal(rng, p, rank), normal(rng, q, rank)
    params = {
        "u": torch.cat([u, torch.zeros(p, extra).double()], dim=1),
        "v": torch.cat([v, torch.zeros(q, extra).double()], dim=1),
    }

    def call(params, x):
        return x[:p] @ params["u"] @ (params["v"].T @ x[p:])

    return Instance("matrix product", call, params, p + q, rank * (p + q - rank), clean=True)


def square(rng: np.random.Generator) -> Instance:
    p, width = int(rng.integers(2, 6)), int(rng.integers(1, 4))
    params = {"u": normal(rng, p, width)}
    least = min(p, width)

    def call(params, x):
        return (x @ params["u"]).square().sum()

    rank = p * least - least * (least - 1) // 2
    return Instance("quadratic", call, params, p, rank, clean=True)


def polynomial(rng: np.random.Generator) -> Instance:
    """Linear in its params, with dependent polynomials of one variable as features."""
    degree, count = int(rng.integers(2, 5)), int(rng.integers(2, 8))
    mix = rng.integers(-2, 3, (count, degree + 1))
    rank = rank_of([[Fraction(int(v)) for v in row] for row in mix], 0)
    features, params = torch.from_numpy(mix.astype(float)), {"c": normal(rng, count)}

    def call(params, x):
        return params["c"] @ (features @ torch.stack([x[0] ** k for k in range(degree + 1)]))

    return Instance("polynomial", call, params, 1, rank, clean=True)


def attention(rng: np.random.Generator) -> Instance:
    """softmax(q (k . h_i + b)): b does nothing, and q is along k."""
    dim, tokens = int(rng.integers(2, 5)), int(rng.integers(3, 6))
    v, values = normal(rng, tokens, dim, dim), normal(rng, tokens)
    params = {"q": normal(rng, 1)[0], "k": normal(rng, dim), "b": normal(rng, 1)[0]}

    def call(params, x):
        scores = params["q"] * (torch.tanh(v @ x) @ params["k"] + params["b"])
        return torch.softmax(scores, 0) @ values

    return Instance("attention", call, params, dim, dim, clean=True)


def normalised(rng: np.random.Generator) -> Instance:
    """A layer norm without epsilon: means of weights and of biases, and their scale, are lost."""
    dim, width = int(rng.integers(2, 4)), int(rng.integers(4, 6))
    params = {k: normal(rng, width) for k in ("b", "gamma", "beta", "c")}
    params["w"] = normal(rng, width, dim)

    def call(params, x):
        z = params["w"] @ x + params["b"]
        z = z - z.mean()
        z = z / z.square().mean().sqrt()
        return params["c"] @ torch.tanh(params["gamma"] * z + params["beta"])

    rank = width * (dim + 4) - dim - 2
    return Instance("layer norm", call, params, dim, rank)


def float32_inside(rng: np.random.Generator) -> Instance:
    drawn = [generic_network, degenerate_network, product, attention][rng.integers(4)](rng)

    def call(params, x):
        narrow = {name: value.float() for name, value in params.items()}
        w, a = narrow.get("w"), narrow.get("a")
        if w is None or a is None:
            return drawn.call(params, x).float().double()
        b = narrow.get("b", 0.0)
        return (a[:, 0] @ torch.tanh(w @ x.float() + b)).double()

    return Instance("float32 inside", call, drawn.params, drawn.input_dim, drawn.rank)


def detached(rng: np.random.Generator) -> Instance:
    """The hidden weights, or a part of the output, are hidden from autograd."""
    drawn = generic_network(rng)
    part = float(rng.choice([1.0, 0.5]))

    def call(params, x):
        hidden = {**params, "w": part * params["w"].detach() + (1 - part) * params["w"]}
        return drawn.call(hidden, x)

    return Instance("detached", call, drawn.params, drawn.input_dim, drawn.rank, generic=False)


def repeated_inputs(rng: np.random.Generator) -> Instance:
    drawn = generic_network(rng)
    distinct = int(rng.integers(1, drawn.rank + 3))
    inputs = normal(rng, distinct, drawn.input_dim).repeat(4, 1)
    inputs += float(rng.choice([0, 1e-15, 1e-12, 1e-6])) * normal(rng, *inputs.shape)
    return Instance(
        "repeated inputs", drawn.call, drawn.params, drawn.input_dim, drawn.rank, inputs
    )


def special_inputs(rng: np.random.Generator) -> Instance:
    """Given inputs on a line, on a lattice, rounded, tiny, or huge."""
    drawn = generic_network(rng)
    x = normal(rng, 200, drawn.input_dim)
    way = rng.integers(6)
    if way == 0:
        x = x[:, :1] * normal(rng, 1, drawn.input_dim)
    elif way == 1:
        x = x.round()
    elif way == 2:
        x = x * 10.0 ** rng.uniform(-12, 12)
    elif way == 3:
        x = x.float()
    elif way == 4:
        x = (x.float() + x[:1].float() * 1e4) - x[:1].float() * 1e4
    else:
        x = (x[:, :1] @ normal(rng, 1, drawn.input_dim)).float()
    return Instance("special inputs", drawn.call, drawn.params, drawn.input_dim, drawn.rank, x)


TANH = [generic_network, degenerate_network, convolution, near_copy, any_scale]
KINDS = [
    *TANH,
    narrow_type,
    tiny_layer,
    deep_split,
    relu_network,
    rarely_active,
    product,
    square,
    polynomial,
    attention,
    normalised,
    float32_inside,
    detached,
    repeated_inputs,
    special_inputs,
]


# The second routes.


def rank_with_digits(net: TwoLayerNetwork, params: dict) -> int:
    """The rank of the tangent matrix, computed and eliminated with 150 digits."""
    with mp.workdps(150):
        w, b, a = by_neuron(net, {k: v.double().numpy() for k, v in params.items()})
        rng = np.random.default_rng(0)
        rows = []
        for x in rng.standard_normal((net.parameter_count + 3, net.input_dim)):
            out, inner = {}, {}
            for k, p in np.ndindex(a.shape):
                seen = [mp.mpf(x[i]) for i in net.windows[p]]
                u = mp.fdot([mp.mpf(v) for v in w[k, p]], seen) + mp.mpf(b[k, p])
                t = mp.tanh(u)
                out[k, p] = t
                for e, value in enumerate(seen):
                    key = (k, e) if net.shared else (k, p, e)
                    inner[key] = inner.get(key, 0) + mp.mpf(a[k, p]) * (1 - t * t) * value
            rows.append([*out.values(), *inner.values()])
        return rank_of(rows, mp.mpf(10) ** -100)


def rank_of(rows: list[list], zero) -> int:
    """The rank by elimination with full pivoting; what is at most `zero` counts as 0."""
    rank = 0
    while rows and rows[0]:
        i, j = max(np.ndindex(len(rows), len(rows[0])), key=lambda at: abs(rows[at[0]][at[1]]))
        pivot = rows.pop(i)
        if abs(head := pivot.pop(j)) <= zero:
            break
        rank += 1
        ratios = [row.pop(j) / head for row in rows]
        rows = [
            [v - ratio * p for v, p in zip(row, pivot, strict=True)]
            for row, ratio in zip(rows, ratios, strict=True)
        ]
    return rank
