"""Interactive figures that need no kernel: every state is computed before the page is made."""

from llrnb.interactive.explorer import Choice, Explorer, Slider, State
from llrnb.interactive.recovery import recovery

__all__ = ["Choice", "Explorer", "Slider", "State", "recovery"]
