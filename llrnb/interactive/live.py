"""The live view of an explorer, for a notebook with a kernel."""

import html

import ipywidgets


def view(explorer) -> ipywidgets.Widget:
    """Controls above the picture of their state; a position without a state says so."""
    picture = ipywidgets.Image(format="png", layout={"max_width": "100%"})
    text = ipywidgets.HTML()
    controls = [_control(control) for control in explorer.controls]

    def show(_=None) -> None:
        position = tuple(control.index for control in controls)
        state = explorer.states.get(position)
        text.value = html.escape(state.text if state else "Not computed: choose other values.")
        if state:
            picture.value = explorer.png(position)

    for control in controls:
        control.observe(show, "index")
    show()
    return ipywidgets.VBox(
        [*(_played(*pair) for pair in zip(controls, explorer.controls, strict=True)), picture, text]
    )


def _control(control) -> ipywidgets.Widget:
    kind = ipywidgets.SelectionSlider if hasattr(control, "play") else ipywidgets.Dropdown
    return kind(
        options=control.values, index=control.start, description=control.label,
        style={"description_width": "initial"},
    )  # fmt: skip


def _played(widget: ipywidgets.Widget, control) -> ipywidgets.Widget:
    if not getattr(control, "play", False):
        return widget
    play = ipywidgets.Play(max=len(control.values) - 1, interval=500, value=control.start)
    ipywidgets.link((play, "value"), (widget, "index"))
    return ipywidgets.HBox([play, widget])
