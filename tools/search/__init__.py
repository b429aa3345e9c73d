"""A random search for false verdicts, seeded by the clock: `make search`, outside `make test`.

Each module here draws instances of one function's kinds (clean, degenerate, repeated, saturated,
huge, tiny, rounded, ...) whose right verdict it knows by a second route, and judges what the
package says of them: `case(seed)` is one instance, and depends on the seed alone.
"""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Case:
    """One verdict, judged.

    Attributes:
        function: that gave the verdict, "llrnb.numerical_rank".
        kind: of the instance, "repeated inputs".
        said: the verdict, in a few words.
        outcome: "right", "undecided" (it says that it does not know) or "false".
        clean: whether the instance is well scaled, so that a verdict is due.
    """

    function: str
    kind: str
    said: str
    outcome: Literal["right", "undecided", "false"]
    clean: bool = False
