"""Compiled functions, kept for other processes as long as the package stays as it is."""

import hashlib
from collections.abc import Callable
from functools import cache
from pathlib import Path

from numba import njit


def compiled(**options: object) -> Callable:
    """As `numba.njit`, compiled at the first call and kept where a folder can be written.

    Numba looks at the function's own file only, and would go on with what it once made of functions
    that are imported. Here any change of the package's files makes all kept code void.
    """

    def of(function: Callable) -> Callable:
        try:
            found = njit(cache=True, **options)(function)
        except RuntimeError:  # neither the package's folder nor the user's can be written
            return njit(**options)(function)
        found._cache._cache_file._source_stamp = of_files(Path(__file__).parent)
        return found

    return of


@cache
def of_files(folder: Path) -> str:
    """A hash of all Python files in a folder."""
    texts = [path.read_bytes() for path in sorted(folder.rglob("*.py"))]
    return hashlib.sha256(b"\n".join(texts)).hexdigest()
