"""In every test, the shapes and types written in llrnb's signatures are checked at each call."""

import importlib.machinery
import sys

from beartype import BeartypeConf, beartype
from hypothesis import settings
from jaxtyping import install_import_hook

COMPILED = {
    "llrnb.training.cpu",
    "llrnb.training.lanes",
    "llrnb.rank.compiled",
    "llrnb.least_squares.marquardt",
}


class PlainImport:
    """Import Numba's modules as they are: it compiles functions, not the checks around them."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        if name in COMPILED:
            return importlib.machinery.PathFinder.find_spec(name, path, target)


check = beartype(conf=BeartypeConf(is_pep484_tower=True))  # an int will do for a float
install_import_hook("llrnb", "conftest.check")
sys.meta_path.insert(0, PlainImport)

# The first example may compile, and a failure must be the same on every machine.
settings.register_profile("llrnb", deadline=None, derandomize=True)
settings.load_profile("llrnb")
