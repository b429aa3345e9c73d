"""The claims ledger: `{claims}` shows those of its page, `{claims} all` every one.

The claims stand in book/claims.yml; tests/test_claims.py checks each.
"""

from pathlib import Path

import yaml
from docutils import nodes
from docutils.parsers.rst import Directive
from docutils.statemachine import StringList

CLAIMS = Path(__file__).resolve().parents[1] / "claims.yml"
SOURCES = {
    "LLR": "Zhang et al. (2025), local linear recovery",
    "ReLU": "Wang et al. (2022), the simplest model",
    "book": "beyond the papers",
}
# Words as well as marks: a mark alone says nothing to a screen reader.
VERDICTS = {"reproduced": "✓ reproduced", "differs": "≠ differs", "open": "? open"}


def load() -> list[dict]:
    """Every claim, in the order of the file."""
    return yaml.safe_load(CLAIMS.read_text("utf-8"))


class Claims(Directive):
    """A list of claims; those of other pages link to theirs."""

    optional_arguments = 1

    def run(self) -> list[nodes.Node]:
        environment = self.state.document.settings.env
        environment.note_dependency(str(CLAIMS))
        page = environment.docname.removeprefix("book/")
        everything = bool(self.arguments)
        lines = []
        for source, title in SOURCES.items():
            chosen = [c for c in load() if c["source"] == source]
            if not everything:
                chosen = [c for c in chosen if c["page"] == page]
            if chosen:
                counts = ", ".join(
                    f"{sum(c['verdict'] == verdict for c in chosen)} {verdict}"
                    for verdict in VERDICTS
                    if any(c["verdict"] == verdict for c in chosen)
                )
                lines += ["", f"**{title[0].upper()}{title[1:]}** ({counts})", ""]
                lines += [line(claim, link=everything) for claim in chosen]
        box = nodes.container(classes=["claims"])
        self.state.nested_parse(
            StringList(lines, source=str(CLAIMS)), self.content_offset, box
        )
        return [box]


def line(claim: dict, *, link: bool) -> str:
    """A claim as a list item of Markdown."""
    parts = [
        f"- {VERDICTS[claim['verdict']]}: **{claim['name']}**. {claim['says']}"
    ]
    if "value" in claim:
        parts.append(f"Computed: {claim['value']}.")
    if "note" in claim:
        parts.append(claim["note"])
    if link:
        parts.append(f"({{doc}}`/book/{claim['page']}`)")
    return " ".join(part.strip() for part in parts)


def setup(app) -> dict:
    app.add_directive("claims", Claims)
    return {"version": "1", "parallel_read_safe": True}
