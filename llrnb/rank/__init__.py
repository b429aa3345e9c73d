"""Model rank three ways that check each other: numerical, exact, certified."""

from llrnb.rank.certified import Certificate, certify_rank, nonsingularity_bound
from llrnb.rank.exact import Structure, exact_rank, structure
from llrnb.rank.linear_fit import LocalLinearFit, local_linear_fit
from llrnb.rank.numerical import generic_inputs, numerical_rank
from llrnb.rank.series import series_rank
from llrnb.rank.singular import NumericalRank, matrix_rank
from llrnb.rank.symmetries import Redundancy, Symmetry, redundancy
from llrnb.rank.tangent import tangent_matrix

__all__ = [
    "Certificate",
    "LocalLinearFit",
    "NumericalRank",
    "Redundancy",
    "Structure",
    "Symmetry",
    "certify_rank",
    "exact_rank",
    "generic_inputs",
    "local_linear_fit",
    "matrix_rank",
    "nonsingularity_bound",
    "numerical_rank",
    "redundancy",
    "series_rank",
    "structure",
    "tangent_matrix",
]
