"""An interactive figure: controls, and for every position of them the state that it shows."""

import html
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from importlib.resources import files
from importlib.util import find_spec

from llrnb.interactive.printed import picture

Position = tuple[int, ...]


@dataclass(frozen=True)
class Choice:
    """A control that picks one of a few names."""

    label: str
    values: tuple[str, ...]
    start: int = 0


@dataclass(frozen=True)
class Slider:
    """A control that moves along values; `play` adds a button that does so by itself."""

    label: str
    values: tuple[str, ...]
    start: int = 0
    play: bool = False


@dataclass(frozen=True)
class State:
    """What is seen at one position of the controls: panels (see `marks`) and a text."""

    panels: tuple[Mapping, ...]
    text: str


@dataclass(frozen=True)
class Explorer:
    """A figure whose states were all computed beforehand.

    In a page it is a self-contained player, in print a picture of the first state, and in a live
    notebook a widget.

    Attributes:
        title: what it shows, for those who cannot see it.
        controls: in the order in which they limit each other: a value is offered if there is a
            state with it and with the values of the controls before.
        states: by the numbers of the controls' values.
        probes: names of the coordinates by which points of a panel can be asked for their numbers.
    """

    title: str
    controls: tuple[Choice | Slider, ...] = field(repr=False)
    states: Mapping[Position, State] = field(repr=False)
    probes: tuple[str, ...] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        if self.start not in self.states:
            raise ValueError(f"an explorer needs a state at its start {self.start}")

    @property
    def start(self) -> Position:
        """The position that is shown first."""
        return tuple(control.start for control in self.controls)

    @cached_property
    def data(self) -> str:
        """All that the player needs, as JSON.

        Equal marks, and equal lists in them, are written once, into a pool; {"$": 7} stands for
        the list of that number.
        """
        pool: dict[str, int] = {}

        def pooled(value):
            if isinstance(value, Mapping):
                return {key: pooled(part) for key, part in value.items()}
            if isinstance(value, list) and len(value) > 4:
                return {"$": number(value)}
            return value

        def number(value) -> int:
            return pool.setdefault(
                _json(pooled(value) if type(value) is dict else value), len(pool)
            )

        states = {
            ",".join(map(str, position)): [
                state.text,
                *([number(p["frame"]), *map(number, p["marks"])] for p in state.panels),
            ]
            for position, state in self.states.items()
        }
        controls = [
            {
                "label": c.label,
                "values": c.values,
                "start": c.start,
                "slider": isinstance(c, Slider),
                "play": getattr(c, "play", False),
            }
            for c in self.controls
        ]
        about = {"title": self.title, "controls": controls, "probes": self.probes, "states": states}
        return f'{{"pool":[{",".join(pool)}],{_json(about)[1:]}'

    def html(self) -> str:
        """A player for a page: no network, no kernel, and the same bytes for the same figure."""
        parts = files("llrnb.interactive")
        style, script = ((parts / f"player.{kind}").read_text("utf-8") for kind in ("css", "js"))
        data = self.data.replace("<", "\\u003c")
        return (
            f'<div class="explorer" role="group" aria-label="{html.escape(self.title)}">\n'
            f"<style>\n{style}</style>\n"
            f'<script type="application/json">{data}</script>\n'
            "<noscript>The controls of this figure need JavaScript.</noscript>\n</div>\n"
            f"<script>\n{script}</script>"
        )

    def png(self, position: Position | None = None) -> bytes:
        """The picture at a position, by default the first."""
        return picture(self.states[self.start if position is None else position].panels)

    def widget(self):
        """The live view, for a notebook with a kernel; needs ipywidgets."""
        if find_spec("ipywidgets") is None:
            raise ImportError("a live view needs ipywidgets: pip install 'llrnb[book]'")
        from llrnb.interactive.live import view

        return view(self)

    def _repr_mimebundle_(self, include=None, exclude=None) -> dict:
        shown = {control.label: control.values[control.start] for control in self.controls}
        first = picture(self.states[self.start].panels, constants=shown)
        bundle = {"text/plain": repr(self), "text/html": self.html(), "image/png": first}
        # Jupyter prefers the live view; a stored notebook keeps only what needs no kernel.
        live = self.widget()._repr_mimebundle_() if find_spec("ipywidgets") else {}
        return {**live, **bundle}


def _json(value) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
