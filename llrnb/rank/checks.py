"""What every rank function asks of its arguments; see `llrnb.checks`."""

from llrnb.checks import double, double_params

__all__ = ["double", "double_params"]
