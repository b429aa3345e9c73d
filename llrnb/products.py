"""Matrix factorisation: a matrix that is a product of matrices, and is seen through measurements.

A measurement X of a matrix P is <P, X> = sum_ij P_ij X_ij; X with a single 1 reads one entry. It is
the oldest model with more parameters than its functions have: for factors that are wide enough all
matrices of a rank r are its functions, and need r (rows + columns - r) measurements at least.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial, reduce
from itertools import accumulate, pairwise
from math import prod

import torch
from jaxtyping import Float, Real
from torch import Tensor

from llrnb import checks
from llrnb.networks import Params, drawn_params
from llrnb.rank.rounding import EPS
from llrnb.rank.singular import matrix_rank
from llrnb.streams import rng


@dataclass(frozen=True)
class MatrixProduct:
    """f(X) = <w_L ... w_1, X>, without its parameters.

    Attributes:
        widths: columns of the first factor, rows of each factor: w_l has widths[l] rows and
            widths[l - 1] columns, and X is of shape (widths[-1], widths[0]).

    >>> MatrixProduct((4, 2, 3)).shapes
    {'w1': (2, 4), 'w2': (3, 2)}
    """

    widths: tuple[int, ...]

    def __post_init__(self) -> None:
        checks.settle(self, widths=checks.many(checks.count, self.widths, "widths", fewest=2))
        for shape in (*self.shapes.values(), self.input_shape):
            checks.room("a factor", *shape)

    @property
    def input_shape(self) -> tuple[int, int]:
        """The shape of one measurement, and of the product."""
        return (self.widths[-1], self.widths[0])

    @property
    def shapes(self) -> dict[str, tuple[int, int]]:
        """The shape of every factor, w1 first, which is the last one to the right."""
        pairs = enumerate(pairwise(self.widths), start=1)
        return {f"w{layer}": (after, before) for layer, (before, after) in pairs}

    @property
    def parameter_count(self) -> int:
        """Number of parameters M."""
        return sum(map(prod, self.shapes.values()))

    def matrix(self, params: Params) -> Float[Tensor, "row column"]:
        """The product w_L ... w_1 itself."""
        self.check(params)
        return reduce(lambda product, w: w @ product, [params[name] for name in self.shapes])

    def __call__(self, params: Params, x: Real[Tensor, "row column"]) -> Float[Tensor, ""]:
        """What one measurement gives."""
        matrix = self.matrix(params)
        x = checks.reals(x, "x").to(matrix.dtype)
        if x.shape != self.input_shape:
            raise ValueError(
                f"the product needs a measurement of shape {self.input_shape}, got {tuple(x.shape)}"
            )
        return (matrix * x).sum()

    def init(self, std: float = 1.0, seed: int = 0) -> dict[str, Float[Tensor, "..."]]:
        """Every parameter from N(0, std²), from a stream keyed by the widths and the seed."""
        stream = rng("product initial params", widths=self.widths, seed=checks.seed(seed))
        return drawn_params(self.shapes, stream, std)

    def check(self, params: Params) -> None:
        """Raise ValueError unless params are this product's."""
        checks.shapes(params, self.shapes)


def one_hot(
    places: Sequence[Sequence[int]], shape: Sequence[int]
) -> Float[Tensor, "sample row column"]:
    """The measurements that read these entries of a matrix of that shape.

    Args:
        places: (row, column) of each entry, from 0.
        shape: rows and columns.

    Raises:
        ValueError: no entries, or one that the matrix does not have.

    >>> one_hot([(0, 2)], shape=(2, 3))
    tensor([[[0., 0., 1.],
             [0., 0., 0.]]], dtype=torch.float64)
    """
    shape = checks.many(checks.count, shape, "shape")
    places = checks.many(partial(checks.many, partial(checks.count, least=0)), places, "places")
    if len(shape) != 2 or any(
        len(place) != 2 or place[0] >= shape[0] or place[1] >= shape[1] for place in places
    ):
        raise ValueError(
            f"measurements need (row, column) of entries of a matrix, got {places} and {shape}"
        )
    checks.room("the measurements", len(places), *shape)
    found = torch.zeros(len(places), *shape, dtype=torch.float64, device="cpu")
    for one, place in zip(found, places, strict=True):
        one[place] = 1.0
    return found


def product_rank(net: MatrixProduct, params: Params) -> int:
    """The model rank (Def. 5) of a matrix product at any parameters, however degenerate.

    The derivatives by the factor l are A_l E B_l for all matrices E, with A_l = w_L ... w_(l+1) and
    B_l = w_(l-1) ... w_1: they span U_l x V_l, the columns of A_l times the rows of B_l. As U_1
    lies in U_2, ..., and V_2 in V_1, ..., bases can be chosen of which U_l takes the first u_l and
    V_l the first v_l vectors. Together they span the pairs of a staircase,

        rank = sum_l (u_l - u_(l-1)) v_l,    u_l = rank A_l,    v_l = rank B_l,    u_0 = 0;

    of two factors, rank(w_2) n + rank(w_1) m - rank(w_2) rank(w_1) for a product of m rows and n
    columns. The ranks u_l and v_l are numerical, with the rounding of the products bounded.

    Raises:
        TypeError, ValueError: params that are not this product's, or not finite, or a product whose
            rank is not clear of rounding.

    >>> net = MatrixProduct((4, 3, 4))
    >>> product_rank(net, net.init())  # of 24 parameters; all 16 entries are free but for one
    15
    """
    checks.instance(net, MatrixProduct, "net")
    params = checks.double_params(params)
    net.check(params)
    factors = [params[name] for name in net.shapes]
    before, after = factors[:-1], [w.mT for w in factors[:0:-1]]
    v = [net.widths[0], *(_ranks(before) if before else [])]
    u = [net.widths[-1], *(_ranks(after) if after else [])][::-1]
    return sum((u_l - below) * v_l for below, u_l, v_l in zip([0, *u], u, v, strict=False))


def _ranks(factors: list[Tensor]) -> Iterator[int]:
    """The ranks of the first factor, of the product of the first two, and so on."""
    products = accumulate(factors[1:], _multiplied, initial=(factors[0], factors[0] * 0))
    for made, error in products:
        found = matrix_rank(made, error[None])
        if not found.convincing:
            raise ValueError(
                "the rank of a product needs factors of which rounding tells the ranks, got some "
                f"of which {found.reason}"
            )
        yield found.rank


def _multiplied(so_far: tuple[Tensor, Tensor], w: Tensor) -> tuple[Tensor, Tensor]:
    """A factor times a matrix and the bound of its error."""
    made, error = so_far
    rounding = (made.shape[0] + 2) * EPS * (w.abs() @ made.abs())
    return w @ made, w.abs() @ error + rounding
