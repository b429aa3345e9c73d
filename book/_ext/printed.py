"""The book in print: what TeX is given where a page has HTML."""


def configure(app, config) -> None:
    # Jupyter Book's own class needs packages that few have, and renames symbols.
    config.latex_theme = "manual"
    config.latex_elements["preamble"] = r"\usepackage{print}"


def setup(app) -> dict:
    app.connect("config-inited", configure, priority=900)  # after Jupyter Book's
    return {"version": "1", "parallel_read_safe": True}
