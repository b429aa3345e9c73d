"""A progress bar for long work in a notebook."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

# Seconds before a bar appears: most calls are over by then.
_DELAY = 2.0


@contextmanager
def bar(total: int) -> Iterator[Callable[[int], None]]:
    """Report how many of `total` updates are made; nothing is shown outside a notebook.

    The environment variable TQDM_DISABLE=1 hides it there, too.
    """
    if not _in_notebook() or os.environ.get("TQDM_DISABLE", "0") != "0":
        yield lambda made: None
        return
    from tqdm.auto import tqdm

    with tqdm(total=total, desc="training", unit_scale=True, delay=_DELAY, leave=False) as shown:
        yield lambda made: shown.update(made - shown.n)


def after(report: Callable[[int], None], before: int) -> Callable[[int], None]:
    """To report what is made after so many updates."""
    return lambda made: report(before + made)


def _in_notebook() -> bool:
    ipython = sys.modules.get("IPython")
    return ipython is not None and type(ipython.get_ipython()).__name__ == "ZMQInteractiveShell"
