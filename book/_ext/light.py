"""No source maps of the theme's scripts and styles: a reader of the book has no use for them."""

from pathlib import Path


def lighten(app, exception) -> None:
    if app.builder.format == "html":
        for path in Path(app.outdir, "_static").rglob("*.map"):
            path.unlink()


def setup(app) -> dict:
    app.connect("build-finished", lighten, priority=900)  # after the theme has copied its files
    return {"version": "1", "parallel_read_safe": True}
