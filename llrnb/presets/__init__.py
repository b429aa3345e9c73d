"""One module per figure or study; its presets are named in capitals and hold values only."""

from types import ModuleType

from llrnb import checks
from llrnb.presets import fig3, hmtk, limit, relu, zoo
from llrnb.sweep import Preset

SWEEPS: dict[str, ModuleType] = {
    "fig3": fig3,
    "hmtk": hmtk,
    "limit": limit,
    "relu": relu,
    "zoo": zoo,
}


def presets_of(sweep: str) -> dict[str, Preset]:
    """A sweep's presets by their names in small letters.

    Raises:
        ValueError: no such sweep.

    >>> sorted(presets_of("fig3"))[:2]
    ['generic', 'paper']
    """
    checks.one_of(SWEEPS, "sweep", sweep)
    values = vars(SWEEPS[sweep]).items()
    return {
        name.lower(): value
        for name, value in values
        if name[0].isupper() and name.isupper() and isinstance(value, Preset)
    }
