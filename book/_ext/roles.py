"""Roles that a screen reader understands, where the writers of the pages err."""


def mend(app, pagename, templatename, context, doctree) -> None:
    """The entries of a list of references are its items."""
    body = context.get("body", "")
    context["body"] = body.replace('role="doc-biblioentry"', 'role="listitem"')


def setup(app) -> dict:
    app.connect("html-page-context", mend)
    return {"version": "1", "parallel_read_safe": True}
