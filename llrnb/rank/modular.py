"""The exact rank of a sparse matrix whose entries are sums of floats.

A float is an odd integer times a power of two, so such a matrix has an exact rank, and a residue
modulo every odd prime. A rank modulo a prime never exceeds the rank; here it counts only where it
is proved equal.
"""

from collections import Counter
from fractions import Fraction
from functools import cache
from math import isqrt

import numpy as np
from jaxtyping import Bool, Float, Int

from llrnb.rank.compiled import components, peel, rank_modulo

Ints = Int[np.ndarray, " term"]
Floats = Float[np.ndarray, " term"]


def sparse_rank(rows: Ints, columns: Ints, terms: Floats) -> int:
    """The rank over the rationals of the matrix with entries sum of terms[t] at (row, column)[t].

    Entries that sum to zero are dropped. Then a row or column with a single entry is a pivot,
    whatever its value, and is removed with its partner until there is none. What remains falls
    into blocks that share no row and no column, and only these need arithmetic.

    >>> sparse_rank(np.array([0, 0, 1]), np.array([0, 0, 1]), np.array([1e16, 1.0, -0.0]))
    1
    """
    keep = _of_nonzero_entries(rows, columns, terms)
    if not keep.any():
        return 0
    rows, columns, terms = _renumbered(rows[keep]), _renumbered(columns[keep]), terms[keep]
    columns = columns + rows.max() + 1  # rows and columns are the vertices of one graph
    start, neighbours = _graph(rows, columns)
    pivots, alive = peel(start, neighbours)
    block = np.where(alive[rows] & alive[columns], components(start, neighbours, alive)[rows], -1)
    order = np.argsort(block, kind="stable")
    blocks = np.split(order, np.flatnonzero(np.diff(block[order])) + 1)
    # A repeated kernel leaves the same block once for each of its entries: rank it once.
    alike = Counter(
        _as_key(_renumbered(rows[b]), _renumbered(columns[b]), terms[b])
        for b in blocks
        if block[b[0]] >= 0
    )
    return pivots + sum(times * _dense_rank(*map(np.array, key)) for key, times in alike.items())


def _as_key(*parts: np.ndarray) -> tuple[tuple, ...]:
    return tuple(tuple(part.tolist()) for part in parts)


def _renumbered(labels: Ints) -> Ints:
    """The labels as 0, 1, 2, …, in their order."""
    return np.unique(labels, return_inverse=True)[1]


def _of_nonzero_entries(rows: Ints, columns: Ints, terms: Floats) -> Bool[np.ndarray, " term"]:
    """Which terms belong to an entry whose exact sum is not zero."""
    if not len(terms):
        return np.zeros(0, dtype=bool)
    entry = rows * (columns.max() + 1) + columns
    _, entry, times = np.unique(entry, return_inverse=True, return_counts=True)
    nonzero = np.zeros(len(times), dtype=bool)
    nonzero[entry] = terms != 0
    several = np.flatnonzero(times[entry] > 1)
    sums: dict[int, Fraction] = {}
    for label, term in zip(entry[several].tolist(), terms[several].tolist(), strict=True):
        sums[label] = sums.get(label, Fraction(0)) + Fraction(term)
    for label, total in sums.items():
        nonzero[label] = total != 0
    return nonzero[entry] & (terms != 0)


def _graph(rows: Ints, columns: Ints) -> tuple[Int[np.ndarray, " v"], Int[np.ndarray, " edge"]]:
    """The neighbours of vertex v are neighbours[start[v] : start[v + 1]]."""
    edges = np.unique(np.stack([rows, columns], axis=1), axis=0)
    ends = np.concatenate([edges, edges[:, ::-1]])
    ends = ends[np.argsort(ends[:, 0], kind="stable")]
    start = np.searchsorted(ends[:, 0], np.arange(ends[-1, 0] + 2))
    return start, ends[:, 1].copy()


def _dense_rank(rows: Ints, columns: Ints, terms: Floats) -> int:
    """The rank of a block, from as many primes as its proof needs.

    Let no prime so far have given a rank above r. Then every minor of order r + 1, of the matrix
    with each row scaled to integers, is divisible by all these primes; it is zero, and the rank is
    r, once their product exceeds what such a minor can be: the product of r + 1 row sums.
    """
    if rows.max() > columns.max():
        rows, columns = columns, rows
    odd, exponent, length = _odd_parts(terms)
    full = rows.max() + 1
    top, low = np.full(full, -9999), np.full(full, 9999)
    np.maximum.at(top, rows, exponent + length)
    np.minimum.at(low, rows, exponent)
    row_bits = top - low + np.frexp(np.bincount(rows))[1]  # of the sum of |terms|
    minor_bits = np.cumsum(np.sort(row_bits)[::-1])  # of a minor of order 1, 2, …
    powers, power = np.unique(exponent, return_inverse=True)
    rank = primes = 0
    while rank < full and minor_bits[rank] > 30 * primes:
        primes += 1
        prime = _prime(primes)
        residue = odd % prime * np.array([pow(2, int(e), prime) for e in powers])[power] % prime
        matrix = np.zeros((full, columns.max() + 1), dtype=np.int64)
        np.add.at(matrix, (rows, columns), residue)
        rank = max(rank, rank_modulo(matrix % prime, prime))
    return rank


def _odd_parts(terms: Floats) -> tuple[Ints, Ints, Ints]:
    """Each nonzero float as odd * 2**exponent, |odd| < 2**length."""
    mantissa, exponent = np.frexp(terms)
    whole = np.ldexp(mantissa, 53).astype(np.int64)
    lowest_bit = whole & -whole
    zeros = np.frexp(lowest_bit.astype(np.float64))[1] - 1
    return whole // lowest_bit, exponent - 53 + zeros, 53 - zeros


@cache
def _prime(index: int) -> int:
    """The largest primes below 2**31, each above 2**30, counted from 1."""
    candidate = (_prime(index - 1) if index > 1 else 2**31) - 1
    while not (candidate % np.arange(2, isqrt(candidate) + 1)).all():
        candidate -= 1
    return candidate
