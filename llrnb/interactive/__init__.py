"""Interactive figures that need no kernel: every state is computed before the page is made."""

from llrnb.interactive.condensation import condensation
from llrnb.interactive.explorer import Choice, Explorer, Slider, State
from llrnb.interactive.linear_fit import linear_fit
from llrnb.interactive.phases import phases
from llrnb.interactive.ranks import ranks
from llrnb.interactive.recovery import recovery
from llrnb.interactive.redundant import redundant
from llrnb.interactive.splitting import splitting

__all__ = [
    "Choice",
    "Explorer",
    "Slider",
    "State",
    "condensation",
    "linear_fit",
    "phases",
    "ranks",
    "recovery",
    "redundant",
    "splitting",
]
