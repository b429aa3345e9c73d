"""No source maps of the theme: no reader of the book has a use for them."""

from pathlib import Path


def lighten(app, exception) -> None:
    if app.builder.format == "html":
        for path in Path(app.outdir, "_static").rglob("*.map"):
            path.unlink()


def setup(app) -> dict:
    # After the theme has copied its files.
    app.connect("build-finished", lighten, priority=900)
    return {"version": "1", "parallel_read_safe": True}
