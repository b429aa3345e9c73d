"""A good call of every public function, and the kind of each of its arguments."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import cache, partial
from math import inf, nan

import numpy as np
import pandas as pd
import torch

import llrnb
from llrnb import (
    condensation,
    deep,
    descriptions,
    embedding,
    figures,
    laws,
    least_squares,
    local,
    products,
    rank,
    reduction,
    stacks,
    strategies,
    sweep,
    targets,
    theory,
    training,
    transitions,
)
from llrnb.activations import activation_of
from llrnb.interpolation import narrowest_interpolator
from llrnb.presets import presets_of
from llrnb.relu import arrangements, metrics, mixture, planted, programs, transition
from llrnb.relu import training as descent
from tools.search._kinds import (
    ANY_MATRIX,
    ANY_MATRIX_RELU,
    COUNT,
    COUNT0,
    COUNT_OR_NONE,
    COUNTS,
    DATA,
    DESCRIPTION,
    FLAG,
    FREE0,
    FREE_DATA,
    MODEL,
    NET,
    NOTHING,
    NUMBERS,
    OBJECT,
    OPTIONS,
    PARAMS,
    POSITIVE,
    RATES,
    REAL,
    REAL0,
    SEED,
    SEEDS,
    SHARE,
    SHOWN_PARAMS,
    SIZE,
    SQUARE,
    STACKED,
    STEPS_AT,
    STRANGE,
    TABLE,
    WIDTHS,
    WORD,
    WORD_DEVICE,
    Kind,
    a_count,
    a_list,
    a_real,
    bad_data,
    bad_description,
    but,
    but_arrays,
    but_shapes,
    in_text_of,
    is_unreal,
    strange,
)


@dataclass(frozen=True)
class Call:
    """A public function, a good call of it, and the kinds of its arguments."""

    function: Callable
    arguments: Callable[[], dict]
    kinds: Mapping[str, Kind]


@cache
def _net():
    return llrnb.cnn(5, 3, 2)


@cache
def _dense():
    return llrnb.fully_connected(3, 2)


@cache
def _product():
    return products.MatrixProduct((3, 2, 4))


@cache
def _deep():
    return deep.DeepNetwork((3, 2, 2, 1))


def _rounded(params: Mapping) -> dict:
    """Params that every precision holds."""
    return {name: (v * 8).round() / 8 + 0.125 * (v.abs() < 0.1) for name, v in params.items()}


@cache
def _params():
    return _rounded(_net().init(1.0))


@cache
def _deep_params():
    return _rounded(_deep().init(1.0))


def _grid(*shape: int, seed: int = 0) -> torch.Tensor:
    """Data that every precision and an integer hold, all different from 0."""
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.integers(1, 9, shape) * rng.choice([-1.0, 1.0], shape))


@cache
def _problem(network: str = "skip"):
    return arrangements.pose(
        llrnb.relu.plant(12, 3, labels=arrangements.MADE_FOR[network]), network
    )


@cache
def _stack(nets: int = 3):
    net = _net()
    each = [_rounded(net.init(1.0, seed)) for seed in range(nets)]
    return {name: torch.stack([one[name] for one in each]) for name in net.shapes}


@cache
def _relu_params():
    each = [descent.initial_relu("skip", 3, 4, seed=seed) for seed in range(2)]
    return {name: torch.stack([one[name].float().double() for one in each]) for name in each[0]}


@cache
def _solved():
    return {"problem": _problem(), "found": metrics.solution(_problem())}


def _data(samples: int = 9, dim: int = 5) -> dict:
    return {"inputs": _grid(samples, dim), "outputs": _grid(samples, seed=1)}


_TRAIN = {
    "learning_rates": (0.125, 0.25),
    "seeds": (0, 1),
    "steps": 3,
    "tolerance": 0.5,
    "std": 1.0,
}
_CELL = {
    "samples": 6,
    "learning_rates": (0.125,),
    "network": {"kind": "cnn", "input_shape": 5, "kernel_size": 3, "kernels": 1},
    "target": {"kind": "paper"},
    "trials": 2,
    "steps": 4,
    "tolerance": 0.5,
    "std": 0.5,
    "test_samples": 8,
    "engine": "torch",
    "precision": "float64",
    "optimizer": {"kind": "adam", "weight_decay": 0.5},
    "batch_size": 3,
    "record_at": (2, 4),
}
_LIMIT = {
    "strategy": "Adam",
    "kernels": 1,
    "multiple": 2,
    "network": _CELL["network"],
    "target": "generic",
    "samples": 8,
    "trials": 2,
    "noise": 0.5,
    "test_samples": 8,
    "options": {"steps": 4},
}
_PHASE = {
    "task": "isometry",
    "network": "skip",
    "samples": 12,
    "dim": 3,
    "trials": 2,
    "form": "relaxed",
    "neurons": 1,
    "data": "gaussian",
    "weights": "random",
    "noise": 0.5,
    "steps": 4,
}


@cache
def _rows() -> pd.DataFrame:
    return sweep.train_cell(**{**_CELL, "record_at": ()}).assign(family="CNN", multiple=1)


@cache
def _looks() -> pd.DataFrame:
    return sweep.train_cell(**_CELL)


@cache
def _phases() -> pd.DataFrame:
    return pd.concat(
        [sweep.phase_cell(**{**_PHASE, "dim": dim, "samples": n}) for dim in (2, 3) for n in (8, 9)]
    ).assign(variant="")


CALLS: dict[str, Call] = {}


def _call(
    name: str, function: Callable, arguments: Callable[[], dict] | dict, **kinds: Kind
) -> None:
    made = arguments if callable(arguments) else lambda: dict(arguments)
    CALLS[name] = Call(function, made, kinds)


def _closed_forms() -> None:
    count, flag = FREE0, FLAG
    _call(
        "theory.deep_rank_bound",
        theory.deep_rank_bound,
        {"widths": (5, 3, 1), "bias": True},
        widths=WIDTHS,
        bias=flag,
    )
    _call(
        "theory.deep_rank",
        theory.deep_rank,
        {"widths": (5, 3, 1), "bias": True, "offset": False},
        widths=WIDTHS,
        bias=flag,
        offset=flag,
    )
    one = dict.fromkeys(
        (
            "neurons",
            "input_dim",
            "kernels",
            "entries",
            "windows",
            "distinct",
            "active",
            "output_rank",
            "silent",
            "width",
            "stride",
        ),
        count,
    )
    two = dict.fromkeys(("bias", "offset", "output_bias"), flag)
    for function, given in {
        theory.fully_connected_rank: {
            "neurons": 3,
            "input_dim": 5,
            "bias": True,
            "offset": True,
            "output_bias": False,
        },
        theory.shared_cnn_rank: {
            "kernels": 1,
            "entries": 3,
            "windows": 3,
            "bias": True,
            "output_bias": False,
        },
        theory.unshared_cnn_rank: {"neurons": 3, "entries": 3, "bias": True, "output_bias": True},
        theory.fully_connected_rank_at: {
            "distinct": 3,
            "active": 2,
            "input_dim": 5,
            "bias": False,
            "blind": "active",
        },
        theory.paper_shared_cnn_rank_at: {
            "distinct": 3,
            "output_rank": 2,
            "entries": 3,
            "windows": 3,
        },
        theory.paper_unshared_cnn_rank_at: {"distinct": 3, "active": 2, "entries": 3},
        theory.paper_unshared_cnn_rank: {"kernels": 2, "entries": 3, "windows": 3, "silent": 1},
        theory.paper_fully_connected_cnn_rank: {
            "kernels": 2,
            "input_dim": 5,
            "windows": 3,
            "silent": 1,
        },
        theory.table_2: {"width": 300, "neurons": 3, "input_dim": 5},
        theory.table_3: {"kernels": 1, "entries": 3, "windows": 3, "input_dim": 5, "bias": True},
    }.items():
        kinds = {name: {**one, **two, "blind": WORD}[name] for name in given}
        _call(f"theory.{function.__name__}", function, given, **kinds)
    _call(
        "theory.table_1",
        theory.table_1,
        {"widths": (5, 300, 1), "target_widths": (5, 3, 1)},
        widths=WIDTHS,
        target_widths=WIDTHS,
    )
    _call(
        "theory.window_count",
        theory.window_count,
        {"input_shape": 9, "kernel_size": 3, "stride": 2},
        input_shape=but(SIZE, 10**30),
        kernel_size=SIZE,
        stride=a_count(huge=False),
    )
    _call(
        "relu.cover_probability",
        arrangements.cover_probability,
        {"samples": 6, "dim": 2},
        samples=COUNT,
        dim=COUNT,
    )
    _call(
        "relu.group_sparse_dimension",
        transition.group_sparse_dimension,
        {"active": 2, "idle": 50, "dim": 10},
        active=COUNT,
        idle=COUNT0,
        dim=COUNT,
    )
    _call(
        "relu.normalised_transition",
        transition.normalised_transition,
        {"neurons": 2, "dim": 4},
        neurons=COUNT,
        dim=COUNT,
    )


def _networks() -> None:
    _call(
        "fully_connected",
        llrnb.fully_connected,
        {"input_dim": 5, "width": 3, "bias": True, "output_bias": False, "activation": "gelu"},
        input_dim=COUNT,
        width=COUNT,
        bias=FLAG,
        output_bias=FLAG,
        activation=WORD,
    )
    _call(
        "cnn",
        llrnb.cnn,
        {
            "input_shape": 5,
            "kernel_size": 3,
            "kernels": 2,
            "shared": True,
            "stride": 1,
            "bias": True,
            "output_bias": False,
            "activation": "sine",
        },
        input_shape=SIZE,
        kernel_size=SIZE,
        kernels=COUNT,
        shared=FLAG,
        stride=COUNT,
        bias=FLAG,
        output_bias=FLAG,
        activation=WORD,
    )
    windows = Kind(
        lambda v, rng: [
            *STRANGE,
            "01",
            "123",
            3,
            [],
            (),
            ((),),
            ((0, 0),),
            ((0, 9),),
            ((0, -1),),
            ((0.5, 1),),
            ((True, 0),),
            (("0", "1"),),
            ((0, 1), (2,)),
            ((None,),),
            ((nan, 1),),
            (0, 1),
            ("01",),
        ],
        lambda v, rng: [[list(w) for w in v], np.array(v)],
    )
    _call(
        "TwoLayerNetwork",
        llrnb.TwoLayerNetwork,
        {
            "input_dim": 3,
            "windows": ((0, 1), (1, 2)),
            "kernels": 2,
            "shared": True,
            "bias": True,
            "output_bias": False,
            "activation": "relu",
        },
        input_dim=but(COUNT, 10**30, 2**63),
        windows=windows,
        kernels=COUNT,
        shared=FLAG,
        bias=FLAG,
        output_bias=FLAG,
        activation=WORD,
    )
    _call(
        "TwoLayerNetwork.init",
        llrnb.TwoLayerNetwork.init,
        lambda: {"self": _net(), "std": 0.5, "seed": 3},
        std=REAL0,
        seed=SEED,
    )
    _call(
        "TwoLayerNetwork.__call__",
        lambda **k: _net()(**k),
        lambda: {"params": _params(), "x": _grid(5)},
        params=SHOWN_PARAMS,
        x=FREE_DATA,
    )
    _call(
        "TwoLayerNetwork.neuron_weights",
        lambda **k: _net().neuron_weights(**k),
        lambda: {"params": _params()},
        params=SHOWN_PARAMS,
    )
    _call(
        "predict",
        llrnb.predict,
        lambda: {"net": _net(), "params": _params(), "inputs": _grid(9, 5)},
        net=NET,
        params=SHOWN_PARAMS,
        inputs=but_shapes(FREE_DATA, (8, 5), (0, 5)),
    )
    _call(
        "relative_error",
        llrnb.relative_error,
        lambda: {"predictions": _grid(9), "truth": _grid(9, seed=1)},
        predictions=but_shapes(FREE_DATA, (1, 1, 1, 9)),
        truth=FREE_DATA,
    )
    _call("activation_of", activation_of, {"activation": "leaky relu"}, activation=WORD)
    _call(
        "activation_of one's own",
        activation_of,
        {"activation": torch.sinh, "slope": torch.cosh, "odd": True},
        activation=MODEL,
        slope=but(MODEL, None),
        odd=but(FLAG, None),
    )
    _call("MatrixProduct", products.MatrixProduct, {"widths": (3, 2, 4)}, widths=WIDTHS)
    _call(
        "MatrixProduct.init",
        products.MatrixProduct.init,
        lambda: {"self": _product(), "std": 0.5, "seed": 3},
        std=REAL0,
        seed=SEED,
    )
    _call(
        "MatrixProduct.__call__",
        lambda **k: _product()(**k),
        lambda: {"params": _rounded(_product().init()), "x": _grid(4, 3)},
        params=SHOWN_PARAMS,
        x=FREE_DATA,
    )
    _call(
        "products.product_rank",
        products.product_rank,
        lambda: {"net": _product(), "params": _rounded(_product().init())},
        net=NET,
        params=PARAMS,
    )
    _call(
        "products.one_hot",
        products.one_hot,
        {"places": ((0, 2), (1, 1)), "shape": (3, 4)},
        places=Kind(lambda v, rng: [*STRANGE, 3, [], "01", (0, 2), ((0,),), ((0, -1),), ((0, 4),)]),
        shape=a_list(a_count(2, huge=False)),
    )
    _call(
        "DeepNetwork",
        llrnb.DeepNetwork,
        {"widths": (3, 2, 2, 1), "bias": True, "residual": True, "activation": torch.tanh},
        widths=a_list(COUNT),
        bias=FLAG,
        residual=FLAG,
        activation=MODEL,
    )
    _call(
        "DeepNetwork.init",
        llrnb.DeepNetwork.init,
        lambda: {"self": _deep(), "std": 0.5, "seed": 3},
        std=REAL0,
        seed=SEED,
    )
    _call(
        "DeepNetwork.__call__",
        lambda **k: _deep()(**k),
        lambda: {"params": _deep_params(), "x": _grid(3)},
        params=SHOWN_PARAMS,
        x=FREE_DATA,
    )


def _targets() -> None:
    _call(
        "targets.paper_target",
        targets.paper_target,
        {"kernel": (0.5, 1.0), "outputs": (1.0, 2.0), "bias": 0.5, "output_bias": 0.5},
        kernel=NUMBERS,
        outputs=NUMBERS,
        bias=REAL,
        output_bias=REAL,
    )
    _call(
        "targets.generic_target",
        targets.generic_target,
        lambda: {"net": _net(), "seed": 3},
        net=NET,
        seed=SEED,
    )
    _call(
        "targets.Target",
        targets.Target,
        lambda: {"net": _net(), "params": _params()},
        net=NET,
        params=PARAMS,
    )
    _call(
        "targets.Target.__call__",
        lambda inputs: targets.paper_target()(inputs),
        lambda: {"inputs": _grid(9, 5)},
        inputs=but_shapes(FREE_DATA, (8, 5), (0, 5)),
    )
    _call(
        "targets.draw",
        targets.draw,
        lambda: {"target": targets.paper_target(), "samples": 6, "seed": 3, "law": laws.NORMAL},
        target=OBJECT,
        samples=COUNT,
        seed=SEED,
        law=OBJECT,
    )
    _call(
        "targets.draw_inputs",
        targets.draw_inputs,
        {"samples": 6, "dim": 3, "seed": 3, "role": "test inputs", "law": laws.NORMAL},
        samples=COUNT,
        dim=but_arrays(SIZE),
        seed=SEED,
        role=WORD,
        law=OBJECT,
    )
    _call(
        "targets.DataSet",
        targets.DataSet,
        lambda: {"inputs": _grid(9, 5), "outputs": _grid(9, seed=1), "tests": 2},
        inputs=but_shapes(DATA, (9, 4), (9, 10), (9, 5, 1), (1, 1, 1, 9, 5)),
        outputs=but_shapes(DATA, (9, 1)),
        tests=COUNT0,
    )


def _laws() -> None:
    end = but(but_arrays(REAL), [3])  # one for each input
    _call("laws.Uniform", laws.Uniform, {"low": -1.0, "high": 0.5}, low=end, high=end)
    _call("laws.Sphere", laws.Sphere, {"radius": 0.5}, radius=but(POSITIVE, None))
    _call(
        "laws.CorrelatedNormal",
        laws.CorrelatedNormal,
        {"covariance": ((2.0, 0.5), (0.5, 1.0))},
        covariance=a_list(NUMBERS),
    )
    decay = a_real(above=-1.0, below=1.0)
    _call("laws.AutoregressiveNormal", laws.AutoregressiveNormal, {"decay": 0.5}, decay=decay)
    _call(
        "laws.Rows",
        laws.Rows,
        lambda: {"rows": _grid(9, 5), "tests": 2},
        rows=but_shapes(DATA, (9, 4), (9, 10), (8, 5)),
        tests=COUNT0,
    )
    _call(
        "laws.CovariateShift",
        laws.CovariateShift,
        {"train": laws.NORMAL, "test": laws.Sphere()},
        train=OBJECT,
        test=OBJECT,
    )
    _call(
        "laws.law_from",
        laws.law_from,
        {"description": {"kind": "uniform", "low": 0.0, "high": 1.0}},
        description=DESCRIPTION,
    )


def _ranks() -> None:
    net, good = {"net": NET, "params": PARAMS}, lambda: {"net": _net(), "params": _params()}
    _call("exact_rank", llrnb.exact_rank, good, **net)
    _call("rank.structure", rank.structure, good, **net)
    _call(
        "series_rank",
        llrnb.series_rank,
        lambda: {"net": _deep(), "params": _deep_params(), "order": 12},
        **net,
        order=COUNT,
    )
    _call("matrix_rank", llrnb.matrix_rank, lambda: {"matrix": _grid(4, 3)}, matrix=ANY_MATRIX)
    model = {"model": MODEL, "params": PARAMS}
    given = {"model": _net(), "params": _params(), "inputs": _grid(20, 5)}
    rows = but_shapes(DATA, (19, 5))
    _call(
        "numerical_rank",
        llrnb.numerical_rank,
        lambda: {**given, "eps": [0.1, 0.01]},
        **model,
        inputs=but(rows, None),
        eps=a_list(a_real(above=0.0, below=1.0)),
    )
    _call("redundancy", llrnb.redundancy, given, **model, inputs=but(rows, None))
    proved = {"model": _net(), "params": _params()}
    _call("certify_rank", llrnb.certify_rank, proved, **model)
    _call("tangent_matrix", llrnb.tangent_matrix, given, **model, inputs=rows)
    _call("local.local_sample_size", local.local_sample_size, good, **net)
    _call("local.local_order", local.local_order, given, **model, inputs=rows)
    _call(
        "local_linear_fit",
        llrnb.local_linear_fit,
        lambda: {**given, "test_inputs": _grid(20, 5, seed=1)},
        **model,
        inputs=rows,
        test_inputs=but(rows, None),
    )
    _call(
        "rank.generic_inputs",
        rank.generic_inputs,
        lambda: {"model": _net(), "params": _params(), "shape": (5,)},
        model=MODEL,
        shape=Kind(
            lambda v, rng: [
                *STRANGE,
                "5",
                (2.5,),
                (nan,),
                (-1,),
                (True,),
                (None,),
                ("5",),
                (10**30,),
            ]
        ),
    )
    _call(
        "rank.nonsingularity_bound",
        rank.nonsingularity_bound,
        lambda: {"matrix": np.eye(3) + 1.0, "error": 0.0},
        matrix=SQUARE,
        error=but(REAL0, nan, inf),
    )


def _embeddings() -> None:
    def wide(**more) -> dict:
        return {"net": _deep(), "params": _deep_params(), **more}

    net = {"net": NET, "params": PARAMS}
    _call(
        "embedding.split",
        embedding.split,
        wide(layer=1, neuron=0, share=0.5),
        **net,
        layer=COUNT,
        neuron=COUNT0,
        share=REAL,
    )
    _call("embedding.add_null", embedding.add_null, wide(layer=1), **net, layer=COUNT)
    copies = Kind(
        lambda v, rng: [
            None,
            NOTHING,
            3,
            "01",
            [],
            [[0, 1]],
            [[0, 1], [0, 2]],
            [[0, 1], [0]],
            [[0, 1], [0, 1.5]],
            [[0, 1], "01"],
            [[0, 1], [True, 0]],
            [[0, 1], [0, 1, nan]],
            [[0, 1], [0, 1, -1]],
            [[0, 1], 3],
            [["0", "1"], [0, 1]],
        ]
    )
    shares = Kind(
        lambda v, rng: [
            NOTHING,
            3,
            "01",
            [],
            [[1.0, 1.0, 0.5]],
            [[1, 1], [1, 1, nan]],
            [[1.0, 1.0], [0.5, 1.0]],
            [[1.0, 1.0], [0.25, 1.0, 0.5]],
            [[1.0, 1.0], ["0.5", 1.0, 0.5]],
            [[1.0, 1.0], [None, 1, 1]],
            [[1.0, 1.0], [1j, 1.0, 1 - 1j]],
            [[1, 1], [inf, 1, -inf]],
        ]
    )
    _call(
        "embedding.compatible",
        embedding.compatible,
        wide(copies=[[0, 1], [0, 1, 0]], shares=[[1.0, 1.0], [0.5, 1.0, 0.5]], mixing_seed=3),
        **net,
        copies=copies,
        shares=shares,
        mixing_seed=but(SEED, None),
    )

    def tanh(**more) -> dict:
        return {"net": _net(), "params": _params(), **more}

    _call(
        "embedding.split_kernel",
        embedding.split_kernel,
        tanh(kernel=1, share=0.5),
        **net,
        kernel=COUNT0,
        share=REAL,
    )
    _call("embedding.widen", embedding.widen, tanh(kernels=4), **net, kernels=but(COUNT))
    split, split_params = embedding.split(_deep(), _deep_params(), 1, 0)
    compared = {
        **{"narrow": _deep(), "params": _deep_params()},
        **{"wide": split, "wide_params": split_params, "inputs": _grid(25, 3)},
    }
    _call(
        "embedding.compare",
        embedding.compare,
        compared,
        narrow=MODEL,
        params=PARAMS,
        wide=MODEL,
        wide_params=PARAMS,
        inputs=but_shapes(DATA, (24, 3)),
    )
    _call("reduction.reduce", reduction.reduce, wide(), **net)
    _call(
        "condensation.condense",
        condensation.condense,
        tanh(angle=0.5, length=0.5),
        **net,
        angle=but(REAL0, inf),
        length=but(REAL0, inf),
    )
    _call(
        "condensation.polish",
        condensation.polish,
        tanh(**_data(), bound=8.0),
        **net,
        inputs=DATA,
        outputs=DATA,
        bound=but(POSITIVE, inf),
    )


def _fits() -> None:
    def start(**more) -> dict:
        return {"net": _net(), **_data(), **more}

    data = {"net": NET, "inputs": DATA, "outputs": DATA}
    _call(
        "least_squares.fit",
        least_squares.fit,
        lambda: {
            "net": _net(),
            **_data(),
            "starts": _stack(),
            "tolerance": 0.25,
            "bound": 8.0,
            "evaluations": 3,
            "until_first": False,
        },
        **data,
        starts=PARAMS,
        tolerance=REAL0,
        bound=but(POSITIVE, inf),
        evaluations=COUNT,
        until_first=FLAG,
    )
    _call(
        "least_squares.draw_starts",
        least_squares.draw_starts,
        start(count=3, seed=1),
        **data,
        count=COUNT,
        seed=SEED,
    )
    _call("least_squares.sizes", least_squares.sizes, start(), **data)
    _call(
        "narrowest_interpolator",
        narrowest_interpolator,
        start(budget=50, seed=1, starts=8),
        **data,
        budget=but(COUNT),
        seed=SEED,
        starts=COUNT,
    )
    _call(
        "certify",
        llrnb.certify,
        lambda: {"net": _net(), **_data(), "params": _params(), "precision": 1e-7, "seed": 1},
        **data,
        params=PARAMS,
        precision=but(a_real(above=0, below=1.0), None),
        seed=SEED,
    )
    many = {
        "net": _net(),
        "inputs": _grid(2, 9, 5),
        "outputs": _grid(2, 9, seed=1),
        "seeds": (0, 1),
    }
    for name, option in {
        "climb": "budget",
        "least_squares_fit": "starts",
        "gradient_descent": "steps",
        "adam": "steps",
        "weight_decay": "steps",
        "dropout": "steps",
        "condense_and_polish": "steps",
    }.items():
        _call(
            f"strategies.{name}",
            getattr(strategies, name),
            {**many, option: 5},
            **data,
            seeds=SEEDS,
            **{option: COUNT},
        )


def _training() -> None:
    options = {
        "learning_rates": RATES,
        "seeds": but(SEEDS, None),
        "steps": COUNT,
        "tolerance": but(REAL0, None),
        "std": but(REAL0, None),
        "loss": WORD,
    }
    data = {"net": NET, "inputs": DATA, "outputs": DATA}
    optimizer = strange("adam", training.Adam)
    _call(
        "train[cpu]",
        llrnb.train,
        lambda: {
            "net": _net(),
            **_data(),
            **_TRAIN,
            "engine": "cpu",
            "loss": "squared",
            "record_at": (0, 2),
        },
        **data,
        **options,
        engine=WORD,
        record_at=STEPS_AT,
        device=WORD_DEVICE,
    )
    _call(
        "train[torch]",
        llrnb.train,
        lambda: {
            "net": _net(),
            **_data(),
            **_TRAIN,
            "engine": "torch",
            "loss": "squared",
            "device": "cpu",
            "record_at": (0, 2),
            "optimizer": training.Adam(),
            "batch_size": 4,
            "precision": "float64",
        },
        **data,
        **options,
        engine=WORD,
        device=WORD_DEVICE,
        record_at=STEPS_AT,
        optimizer=optimizer,
        batch_size=COUNT_OR_NONE,
        precision=WORD,
    )
    _call("stacks.Stack", stacks.Stack, lambda: {"params": _stack()}, params=STACKED)
    each = lambda: {"networks": [_rounded(_net().init(1.0, seed)) for seed in range(2)]}  # noqa: E731
    _call("stacks.Stack.of", stacks.Stack.of, each, networks=strange([], [1], [{"w": [1.0]}], {}))
    _call(
        "training.GradientDescent",
        training.GradientDescent,
        {"momentum": 0.5, "weight_decay": 0.5},
        momentum=SHARE,
        weight_decay=REAL0,
    )
    _call(
        "training.Adam",
        training.Adam,
        {"beta1": 0.5, "beta2": 0.5, "epsilon": 0.5, "weight_decay": 0.5},
        beta1=SHARE,
        beta2=SHARE,
        epsilon=REAL0,
        weight_decay=REAL0,
    )


def _relu() -> None:
    plant = {
        "samples": 8,
        "dim": 3,
        "labels": "relu",
        "neurons": 2,
        "data": "gaussian",
        "weights": "random",
        "noise": 0.5,
        "seed": 3,
    }
    _call(
        "plant",
        llrnb.relu.plant,
        plant,
        samples=COUNT,
        dim=COUNT,
        labels=WORD,
        neurons=COUNT,
        data=WORD,
        weights=WORD,
        noise=REAL0,
        seed=SEED,
    )

    def rng() -> np.random.Generator:
        return np.random.default_rng(0)

    generator = strange(np.random, np.random.RandomState, 0.5)
    _call(
        "relu.data_matrix",
        planted.data_matrix,
        lambda: {"samples": 8, "dim": 3, "kind": "cubic", "rng": rng()},
        samples=COUNT,
        dim=COUNT,
        kind=WORD,
        rng=generator,
    )
    matrix = ANY_MATRIX_RELU
    _call(
        "relu.planted_weights",
        planted.planted_weights,
        lambda: {"inputs": _grid(8, 3).numpy(), "neurons": 2, "kind": "random", "rng": rng()},
        inputs=matrix,
        neurons=COUNT,
        kind=WORD,
        rng=generator,
    )
    good = {"inputs": _grid(8, 3).numpy(), "weights": _grid(3, 2).numpy()}
    good |= {"outputs": _grid(8, seed=1).numpy(), "labels": "relu", "noise": 0.5}
    columns = but_shapes(DATA, (3, 1), (3, 4))
    _call(
        "relu.Planted",
        planted.Planted,
        good,
        inputs=DATA,
        weights=columns,
        outputs=DATA,
        labels=WORD,
        noise=REAL0,
    )
    _call(
        "relu.Planted.__call__",
        lambda inputs: llrnb.relu.plant(8, 3)(inputs),
        lambda: {"inputs": _grid(7, 3).numpy()},
        inputs=but_shapes(DATA, (6, 3)),
    )
    _call(
        "relu.sample_patterns",
        arrangements.sample_patterns,
        lambda: {"inputs": _grid(8, 3).numpy(), "count": 5, "rng": rng()},
        inputs=matrix,
        count=COUNT,
        rng=generator,
    )
    _call(
        "relu.has_all_ones",
        arrangements.has_all_ones,
        lambda: {"inputs": _grid(8, 3).numpy()},
        inputs=matrix,
    )
    _call(
        "pose",
        llrnb.relu.pose,
        lambda: {"planted": llrnb.relu.plant(12, 3), "network": "skip", "patterns": 10, "seed": 3},
        planted=OBJECT,
        network=WORD,
        patterns=but(COUNT, None, 0),
        seed=SEED,
    )
    _call("isometry", llrnb.relu.isometry, lambda: {"problem": _problem()}, problem=OBJECT)
    _call(
        "recover",
        llrnb.relu.recover,
        lambda: {"problem": _problem(), "form": "relaxed", "method": "fast"},
        problem=OBJECT,
        form=WORD,
        method=WORD,
    )
    _call(
        "relu.solve",
        programs.solve,
        lambda: {"problem": _problem(), "form": "relaxed", "beta": 0.5, "solver": "CLARABEL"},
        problem=OBJECT,
        form=WORD,
        beta=POSITIVE,
        solver=WORD,
    )
    _call(
        "relu.metrics.solution",
        metrics.solution,
        lambda: {"problem": _problem(), "form": "relaxed"},
        problem=OBJECT,
        form=WORD,
    )
    for name in ("weight_distance", "other_norm", "cosine", "residual"):
        _call(f"relu.metrics.{name}", getattr(metrics, name), _solved, problem=OBJECT, found=OBJECT)
    _call(
        "relu.metrics.predictions",
        metrics.predictions,
        lambda: {**_solved(), "inputs": _grid(7, 3).numpy()},
        problem=OBJECT,
        found=OBJECT,
        inputs=but_shapes(DATA, (6, 3)),
    )
    means = but_shapes(DATA, (1, 2))
    _call(
        "relu.Mixture",
        mixture.Mixture,
        lambda: {"means": np.eye(2), "precision": 2.0, "samples": 6},
        means=means,
        precision=POSITIVE,
        samples=COUNT,
    )
    _call("relu.unit_means", mixture.unit_means, {"dim": 3, "seed": 3}, dim=COUNT, seed=SEED)
    _call(
        "relu.separation",
        mixture.separation,
        {"dim": 3, "precision": 2.0, "samples": 6, "trials": 3, "fixed_means": True, "seed": 3},
        dim=COUNT,
        precision=POSITIVE,
        samples=COUNT,
        trials=COUNT,
        fixed_means=FLAG,
        seed=SEED,
    )
    optimizer = strange("adam", descent.AdamW)
    _call(
        "relu.train_relu",
        descent.train_relu,
        lambda: {
            "network": "plain",
            **_data(6, 3),
            "seeds": (0, 1),
            "learning_rate": 0.125,
            "steps": 3,
            "optimizer": descent.AdamW(),
            "width": 4,
            "activation": "relu",
            "record_at": (0, 2),
            "precision": "float64",
            "device": "cpu",
        },
        network=WORD,
        inputs=but_shapes(DATA, (6, 2), (6, 6)),
        outputs=DATA,
        seeds=SEEDS,
        learning_rate=POSITIVE,
        steps=COUNT,
        optimizer=optimizer,
        width=COUNT_OR_NONE,
        activation=WORD,
        record_at=STEPS_AT,
        precision=WORD,
        device=WORD_DEVICE,
    )
    net = descent.ReluNetwork("skip", 3, 4)
    _call(
        "relu.ReluNetwork",
        descent.ReluNetwork,
        {"kind": "skip", "input_dim": 3, "width": 4, "activation": "relu"},
        kind=WORD,
        input_dim=COUNT,
        width=COUNT,
        activation=WORD,
    )
    _call(
        "relu.ReluNetwork.outputs",
        net.outputs,
        lambda: {"params": {k: v[0] for k, v in _relu_params().items()}, "inputs": _grid(6, 3)},
        params=SHOWN_PARAMS,
        inputs=but_shapes(FREE_DATA, (5, 3)),
    )
    _call("relu.ReluNetwork.start", net.start, {"seed": 3}, seed=SEED)
    _call("relu.ReluNetwork.init", net.init, {"std": 0.5, "seed": 3}, std=REAL0, seed=SEED)
    _call(
        "relu.initial_relu",
        descent.initial_relu,
        {"network": "skip", "input_dim": 3, "width": 4, "seed": 3},
        network=WORD,
        input_dim=COUNT,
        width=COUNT,
        seed=SEED,
    )
    _call(
        "relu.predict_relu",
        descent.predict_relu,
        lambda: {
            "network": "skip",
            "params": _relu_params(),
            "inputs": _grid(6, 3),
            "activation": "relu",
        },
        network=WORD,
        params=SHOWN_PARAMS,
        inputs=but_shapes(FREE_DATA, (5, 3)),
        activation=WORD,
    )
    _call(
        "relu.AdamW",
        descent.AdamW,
        {"beta1": 0.5, "beta2": 0.5, "epsilon": 0.5, "weight_decay": 0.5},
        beta1=SHARE,
        beta2=SHARE,
        epsilon=REAL0,
        weight_decay=REAL0,
    )
    _call(
        "relu.SignDescent",
        descent.SignDescent,
        {"epsilon": 0.5, "weight_decay": 0.5},
        epsilon=REAL0,
        weight_decay=REAL0,
    )
    near = but_shapes(DATA, (3, 1), (3, 4))
    _call(
        "relu.weight_distance",
        descent.weight_distance,
        lambda: {
            "network": "plain",
            "params": {k: v for k, v in _relu_params().items() if k in ("W", "alpha")},
            "planted": _grid(3, 2),
            "inputs": _grid(6, 3),
        },
        network=WORD,
        params=SHOWN_PARAMS,
        planted=near,
        inputs=but_shapes(DATA, (5, 3)),
    )


def _statistics() -> None:
    _call(
        "transitions.binomial_interval",
        transitions.binomial_interval,
        {"successes": 3, "trials": 20, "confidence": 0.5},
        successes=Kind(
            lambda v, rng: [b for b in FREE0.bad(v, rng) if is_unreal(b)], FREE0.same, FREE0.either
        ),
        trials=COUNT,
        confidence=a_real(above=0, below=1.0),
    )
    points = {"samples": np.array([5, 7, 9]), "level": 0.5}
    line = Kind(bad_data, lambda v, rng: [v.tolist()])
    bools = Kind(
        lambda v, rng: [
            *STRANGE,
            "123",
            3,
            v[:0],
            v[:2],
            v[..., None],
            v + nan,
            v * 1j,
            v.astype(str),
            v[0],
            v * 3,
        ]
    )
    level = a_real(above=0)
    _call(
        "transitions.transition_point",
        transitions.transition_point,
        lambda: {
            **points,
            "samples": np.array([5.0, 7.0, 9.0]),
            "fractions": np.array([0.0, 0.25, 1.0]),
        },
        samples=line,
        fractions=line,
        level=level,
    )
    _call(
        "transitions.transition_interval",
        transitions.transition_interval,
        lambda: {
            **points,
            "samples": np.array([5.0, 7.0, 9.0]),
            "recovered": np.array([[False, False], [False, True], [True, True]]),
            "confidence": 0.5,
            "draws": 5,
            "seed": 3,
        },
        samples=line,
        recovered=bools,
        level=level,
        confidence=a_real(above=0, below=1.0),
        draws=COUNT,
        seed=SEED,
    )


def _sweeps() -> None:
    number = {
        "multiple": COUNT_OR_NONE,
        "samples": COUNT,
        "trials": COUNT,
        "steps": COUNT,
        "tolerance": REAL0,
        "std": REAL0,
        "test_samples": COUNT,
        "kernels": COUNT,
        "noise": REAL0,
        "dim": COUNT,
        "neurons": COUNT,
    }
    number = {name: in_text_of(kind) for name, kind in number.items()}
    rates = Kind(
        RATES.bad, lambda v, rng: [*RATES.same(v, rng), [f"{x:e}" for x in v]], RATES.either
    )
    names = Kind(lambda v, rng: [*STRANGE, 3, nan, True, [], ["CNN"]])
    kinds = {
        **number,
        "learning_rates": rates,
        "network": DESCRIPTION,
        "target": DESCRIPTION,
        "optimizer": DESCRIPTION,
        "engine": WORD,
        "precision": WORD,
        "batch_size": Kind(COUNT_OR_NONE.bad, in_text_of(COUNT).same, COUNT.either),
        "record_at": STEPS_AT,
    }
    _call("sweep.train_cell", sweep.train_cell, _CELL, **{name: kinds[name] for name in _CELL})
    looking = {**_CELL, "record_at": (), "looks": 2}
    _call("sweep.train_cell(looks)", sweep.train_cell, looking, looks=kinds["batch_size"])
    kinds = {
        **number,
        "strategy": WORD,
        "target": WORD,
        "network": DESCRIPTION,
        "options": OPTIONS,
    }
    _call("sweep.limit_cell", sweep.limit_cell, _LIMIT, **{name: kinds[name] for name in _LIMIT})
    kinds = {
        **number,
        **dict.fromkeys(("task", "network", "form", "data", "weights"), WORD),
    }
    _call("sweep.phase_cell", sweep.phase_cell, _PHASE, **{name: kinds[name] for name in _PHASE})
    for name, described in {
        "network": _CELL["network"],
        "target": {"kind": "generic", "network": _CELL["network"], "seed": 3},
        "optimizer": {"kind": "adam", "weight_decay": 0.5},
    }.items():
        in_text = Kind(
            bad_description,
            lambda v, rng, name=name: [
                {
                    k: f"{x:e}" if k != "kind" and isinstance(x, float | int) else x
                    for k, x in v.items()
                }
            ],
        )
        _call(
            f"descriptions.{name}_from",
            getattr(descriptions, f"{name}_from"),
            {"description": described},
            description=in_text,
        )
    fig3 = presets_of("fig3")["small"]
    preset = {f.name: getattr(fig3, f.name) for f in fields(fig3)} | {
        "engine": "torch",
        "batch_size": 4,
        "learning_rates": (0.125, 0.25),
        "samples": (3, 5),
        "multiples": (1, 3),
    }
    optimizer = strange("adam", training.Adam)
    families = strange(
        {"CNN": None}, {}, {"CNN": llrnb.cnn(5, 3, 1)}, {3: partial(llrnb.cnn, 5, 3)}
    )
    _call(
        "sweep.Recovery",
        sweep.Recovery,
        preset,
        target=OBJECT,
        families=families,
        multiples=COUNTS,
        samples=COUNTS,
        learning_rates=RATES,
        trials=COUNT,
        steps=COUNT,
        tolerance=REAL0,
        std=REAL0,
        test_samples=COUNT,
        engine=WORD,
        variant=names,
        optimizer=optimizer,
        batch_size=COUNT_OR_NONE,
        precision=WORD,
    )
    limit = presets_of("limit")["small"].presets[0]
    given = {f.name: getattr(limit, f.name) for f in fields(limit)} | {"options": {"budget": 8}}
    mapping = Kind(
        lambda v, rng: [
            *STRANGE,
            "CNN",
            3,
            [],
            dict.fromkeys(v),
            dict.fromkeys(v, "3"),
            dict.fromkeys(v, 2.5),
            dict.fromkeys(v, 0),
            {"other": 3},
            {},
            dict.fromkeys(v, nan),
        ]
    )
    sizes = Kind(
        lambda v, rng: [
            *mapping.bad(v, rng),
            dict.fromkeys(v, (2.5,)),
            dict.fromkeys(v, (0,)),
            dict.fromkeys(v, "123"),
            dict.fromkeys(v, 5),
            dict.fromkeys(v, ("3",)),
        ]
    )
    _call(
        "sweep.Limit",
        sweep.Limit,
        given,
        strategy=WORD,
        target=WORD,
        families=families,
        kernels=mapping,
        samples=sizes,
        multiple=COUNT,
        trials=COUNT,
        noise=REAL0,
        test_samples=COUNT,
        options=but(OPTIONS, None),
        variant=names,
    )
    phase = {
        "task": "descent",
        "network": "skip",
        "samples": (8, 9),
        "dims": (2, 3),
        "trials": 2,
        "form": "relaxed",
        "neurons": 1,
        "data": "gaussian",
        "weights": "random",
        "noise": 0.5,
        "steps": 4,
        "seconds": 0.5,
        "variant": "",
    }
    _call(
        "sweep.PhaseDiagram",
        sweep.PhaseDiagram,
        phase,
        task=WORD,
        network=WORD,
        samples=COUNTS,
        dims=COUNTS,
        trials=COUNT,
        form=WORD,
        neurons=COUNT,
        data=WORD,
        weights=WORD,
        noise=REAL0,
        steps=COUNT,
        seconds=REAL0,
        variant=names,
    )
    _call(
        "sweep.Union",
        sweep.Union,
        lambda: {"presets": (sweep.PhaseDiagram(**phase),)},
        presets=strange((), (None,), ("small",), [3], sweep.PhaseDiagram(**phase)),
    )
    _call(
        "sweep.Grid",
        sweep.Grid,
        {
            "compute": "llrnb.sweep.recovery:looks",
            "each": {"steps": (3, 4)},
            "fixed": {"count": 2},
            "labels": {"variant": "a"},
            "seconds": 0.5,
        },
        compute=strange("", "looks", ":looks", "llrnb:no", "no.py:no", 3, print, lambda: None),
        each=strange(
            {}, {"steps": 3}, {"steps": ()}, {"steps": (nan,)}, {"steps": (3, 3)}, {3: (4,)}
        ),
        fixed=strange({}, {"steps": 3}, {"count": nan}, {"count": print}, {"count": {3: 4}}),
        labels=but(strange({"variant": nan}, {"variant": print}, {3: "a"}, ["a"]), {}, {"a": 1}),
        seconds=REAL0,
    )
    _call("presets.presets_of", presets_of, {"sweep": "fig3"}, sweep=WORD)
    for name in ("best_rate", "means"):
        _call(f"sweep.{name}", getattr(sweep, name), lambda: {"table": _rows()}, table=TABLE)
    _call(
        "sweep.means(values)",
        sweep.means,
        lambda: {"table": _rows(), "values": "steps", "by": ["samples", "learning_rate"]},
        table=TABLE,
        values=WORD,
    )
    _call(
        "sweep.best_rate(by)",
        sweep.best_rate,
        lambda: {"table": _rows(), "by": "test_error"},
        by=WORD,
    )
    _call(
        "sweep.shares", sweep.shares, lambda: {"table": _phases(), "outcome": "holds"}, table=TABLE
    )
    _call(
        "sweep.averages",
        sweep.averages,
        lambda: {"table": _phases(), "metric": "value"},
        table=TABLE,
        metric=WORD,
    )
    _call(
        "sweep.recovered_shares",
        sweep.recovered_shares,
        lambda: {"table": sweep.limit_cell(**_LIMIT)},
        table=TABLE,
    )


def _pictures() -> None:
    ranks = {"a": 7, "b": 15, "c": 21}
    _call(
        "figures.comparison",
        figures.comparison,
        lambda: {"table": sweep.means(_rows())},
        table=TABLE,
    )
    _call(
        "figures.learning_curves", figures.learning_curves, lambda: {"table": _looks()}, table=TABLE
    )
    _call(
        "figures.phase_diagram",
        figures.phase_diagram,
        lambda: {"table": sweep.averages(_phases(), "value"), "label": "x"},
        table=TABLE,
    )
    _call(
        "figures.distance_map",
        figures.distance_map,
        lambda: {"table": _phases(), "metric": "value"},
        table=TABLE,
        metric=WORD,
    )
    _call(
        "figures.losses",
        figures.losses,
        lambda: {"table": _rows().assign(test_loss=0.5), "by": "test_loss"},
        table=TABLE,
        by=WORD,
    )
    _call(
        "figures.fig3",
        figures.fig3,
        lambda: {
            "table": pd.concat([_rows().assign(family=name) for name in ranks]),
            "value": "test_error",
            "ranks": ranks,
            "label": "x",
        },
        table=TABLE,
        value=WORD,
    )


for _fill in (
    _closed_forms,
    _networks,
    _targets,
    _laws,
    _ranks,
    _embeddings,
    _fits,
    _training,
    _relu,
    _statistics,
    _sweeps,
    _pictures,
):
    _fill()
