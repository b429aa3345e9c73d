"""How something ended: every word for it, and the sentence that it stands for.

Columns of tables hold the words. A word that two vocabularies share means the same in both.

>>> str(Status.STEP_LIMIT), Status.STEP_LIMIT.sentence
('step limit', 'The most steps were made.')
>>> sentence("tie")
'Other weights fit at the same cost.'
"""

from enum import StrEnum

_CONVERGED = "converged", "What is to vanish, a loss or residuals, has reached the tolerance."
_UNDECIDED = "undecided", "Neither it nor the opposite is shown."
_CERTIFICATE = "dual certificate", "A multiplier λ of the constraints proves recovery."
_CHEAPER = "cheaper feasible point", "Other weights fit and are shorter."


class Ending(StrEnum):
    """A word for how something ended, which is its value; all vocabularies derive from it.

    Attributes:
        sentence: what the word means.
    """

    sentence: str

    def __new__(cls, word: str, sentence: str) -> "Ending":
        member = str.__new__(cls, word)
        member._value_, member.sentence = word, sentence
        return member

    def __repr__(self) -> str:
        return repr(str(self))


class Status(Ending):
    """Why a network's descent stopped."""

    CONVERGED = _CONVERGED
    STEP_LIMIT = "step limit", "The most steps were made."
    DIVERGED = "diverged", "The train loss exceeded 1e100, or is not a number."


class Stop(Ending):
    """Why a start's search stopped."""

    CONVERGED = _CONVERGED
    STALLED = "stalled", "The error falls too slowly or not at all: a minimum that is not zero."
    UNBOUNDED = "unbounded", "A weight left the bounds."
    LIMIT = "evaluation limit", "The most evaluations were made."
    DROPPED = "dropped", "An earlier start has converged."


class Outcome(Ending):
    """What samples and a fit can honestly say."""

    AGREES = (
        "agrees on this input law, or a coincidence",
        "One sample more than parameters confirms the fit: it is the target on nearly all of this "
        "input law, or a coincidence of a stated probability has occurred.",
    )
    DETERMINED = (
        "fits to δ, locally determined",
        "As many samples as parameters have exactly one zero near the fit; none confirms it.",
    )
    FITS = "fits to δ, not certified", "Every sample is met to its rounding, and no more is shown."
    NOT_FITTED = "not fitted", "An error on a sample exceeds its rounding."
    BUDGET_SPENT = "budget spent", "No start has fitted, and the budget ended before the starts."
    NOT_INTERPOLABLE = (
        "not interpolable at the net's width",
        "No start has fitted at any width up to the net's: a report of the search, not a proof.",
    )


class Reason(Ending):
    """What a verdict on planted weights rests on."""

    ISOMETRY = "isometry", "The neural isometry condition holds."
    CERTIFICATE = _CERTIFICATE
    CHEAPER = _CHEAPER
    TIE = "tie", "Other weights fit at the same cost."
    DEPENDENT = "dependent neurons", "Some planted outputs are combinations of the others."
    ALL_ONES = "all-ones pattern", "A gate that is always open repeats the linear unit."
    SHARED = "shared pattern", "Two planted neurons have one group of variables."
    TOO_FEW = "too few samples", "The planted blocks alone fit with shorter weights."
    NO_FIT = "no fit", "The planted weights do not give the outputs."
    NO_PROOF = "no proof", "None was found within the limits of iterations and of rounding."


class Splitting(Ending):
    """Why an operator splitting stopped."""

    CERTIFICATE = _CERTIFICATE
    CHEAPER = _CHEAPER
    CONVERGED = _CONVERGED
    LIMIT = "iteration limit", "The most iterations were made."


class Solver(Ending):
    """What found a convex program's solution says of it; but for the last, CVXPY's words."""

    OPTIMAL = "optimal", "The solver's own tolerances are met."
    INACCURATE = "optimal_inaccurate", "The solver stopped near them, short of its tolerances."
    CONVERGED = _CONVERGED


class Instance(Ending):
    """What became of a planted problem: the outcomes of a verdict and of a phase diagram."""

    RECOVERED = "recovered", "The program's only solution is the planted one."
    NOT_RECOVERED = "not recovered", "The planted weights are not the program's only solution."
    UNDECIDED = _UNDECIDED
    HOLDS = "holds", "The isometry condition holds, beyond rounding."
    FAILS = "fails", "The isometry condition does not hold, or not beyond rounding."
    ACCURATE = "accurate", "The solution's gap and violation are at most 1e-6."
    INACCURATE = "inaccurate", "The solution's gap or violation exceeds 1e-6."
    TRAINED = "trained", "A network was trained; its distances say how well."
    NOT_RUN = "not run", "The problem cannot be posed: n < d in a normalised network."


class RankVerdict(Ending):
    """What a numerical rank says of the model's."""

    CONVINCING = "convincing", "It is the model's, by a clear gap of the singular values."
    AT_LEAST = "at least", "The model's may be larger, for further inputs may raise it."
    UNDECIDED = _UNDECIDED


class FitVerdict(Ending):
    """What a local linear fit says of the target."""

    RECOVERS = "recovers", "Every minimiser equals the target at the test inputs, too."
    DOES_NOT = "does not", "Some minimiser differs from the target at the test inputs."
    UNDECIDED = _UNDECIDED


def sentence(word: str) -> str:
    """What a word means, such as one in a table's column `status`, `outcome` or `reason`.

    Raises:
        ValueError: a word of no vocabulary.
    """
    found = {str(one): one.sentence for kind in Ending.__subclasses__() for one in kind}
    if word not in found:
        raise ValueError(f"a sentence needs one of the words {list(found)}, got {word!r}")
    return found[word]
