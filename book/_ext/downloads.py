"""What a figure carries: its words describe it to a reader, its files are offered.

See `llrnb.pictures`. A page then offers each figure as vector graphics and as data,
and an interactive figure with every state.
"""

import os
import re
from pathlib import Path

from docutils import nodes
from sphinx import addnodes
from sphinx.transforms import SphinxTransform

from llrnb import pictures

STATES = re.compile(r'<script type="application/json">(.*?)</script>', re.DOTALL)
WORDS = {
    ".svg": "figure (SVG)",
    ".json": "numbers and code (JSON)",
    ".states.json": "all its states (JSON)",
}


class Downloads(SphinxTransform):
    """For each figure of a notebook: a description, and below it the files."""

    default_priority = 500

    def apply(self, **kwargs) -> None:
        bundles = self.document.findall(
            lambda node: (
                isinstance(node, nodes.container)
                and node.get("nb_element") == "mime_bundle"
            )
        )
        for number, bundle in enumerate(list(bundles), 1):
            files = self.files(bundle)
            if not files:
                continue
            block = bundle.parent
            if not isinstance(block, nodes.figure):
                block = bundle
            page = Path(self.env.docname).name
            names = block.get("names") or [f"{page}-{number}"]
            row = self.row(f"{names[0]}", files)
            block.parent.insert(block.parent.index(block) + 1, row)

    def files(self, bundle: nodes.container) -> dict[str, str]:
        """The texts to offer, by their file's end; describes the picture."""
        found = {}
        for kind in bundle.children:
            for image in kind.findall(nodes.image):
                _, path = self.env.relfn2path(image["uri"], self.env.docname)
                if not path.endswith(".png"):
                    continue
                carried = pictures.carried(Path(path).read_bytes())
                if carried is None:
                    continue
                first = image.get("alt", "").strip()
                image["alt"] = f"{first} {carried.description}".strip()
                found[".json"] = carried.text
                if carried.svg:
                    found[".svg"] = carried.svg
            for raw in kind.findall(nodes.raw):
                if states := STATES.search(raw.astext()):
                    found[".states.json"] = states[1]
        return {end: found[end] for end in WORDS if end in found}

    def row(self, name: str, files: dict[str, str]) -> nodes.Node:
        """A line of links, for pages only."""
        folder = Path(self.env.doctreedir).parent / "carried" / self.env.docname
        folder.mkdir(parents=True, exist_ok=True)
        line = nodes.paragraph("", "Download: ", classes=["downloads"])
        for number, (end, text) in enumerate(files.items()):
            path = folder / f"{name}{end}"
            path.write_text(text, encoding="utf-8")
            target = "/" + os.path.relpath(path, self.env.srcdir)
            link = addnodes.download_reference("", "", reftarget=target)
            link += nodes.inline("", WORDS[end])
            line += [nodes.Text(", ")] * (number > 0) + [link]
        only = addnodes.only(expr="html")
        only += line
        return only


def setup(app) -> dict:
    app.add_transform(Downloads)
    return {"version": "1", "parallel_read_safe": True}
