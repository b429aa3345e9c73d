"""For nbval: what a cell prints is compared number by number; no progress bars."""

import os

from nbval.plugin import IPyNbCell

from tools import compare

os.environ["TQDM_DISABLE"] = "1"  # a progress bar would be an output of its cell
DIFFERENCES_SHOWN = 10
to_the_letter = IPyNbCell.compare_outputs


def compare_outputs(cell, test, ref, skip_compare=None) -> bool:
    """Whether a run says what is stored; what is missing nbval sees itself."""
    within = compare.stated(cell.cell.metadata.get("tags", []))
    found = []
    for fresh, stored in zip(test, ref, strict=False):
        found += compare.settle(fresh, stored, within)
    same = to_the_letter(cell, test, ref, skip_compare)
    cell.comparison_traceback += found[:DIFFERENCES_SHOWN]
    return same


IPyNbCell.compare_outputs = compare_outputs
