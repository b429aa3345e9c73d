"""What a figure carries: its words describe it to a reader, its files are offered.

See `llrnb.pictures`. A page shows a figure as vector graphics; it offers that, the
picture and the data, and every state of an interactive one. Print has the picture.
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
    ".svg": "SVG",
    ".png": "PNG",
    ".json": "numbers and code (JSON)",
    ".states.json": "all its states (JSON)",
}


def is_bundle(node: nodes.Node) -> bool:
    """Whether the node holds one output of a cell in all its forms."""
    is_container = isinstance(node, nodes.container)
    return is_container and node.get("nb_element") == "mime_bundle"


class Downloads(SphinxTransform):
    """For each figure of a notebook: a description, and below it the files."""

    default_priority = 500

    def apply(self, **kwargs) -> None:
        page = self.env.docname
        self.folder = Path(self.env.doctreedir).parent / "carried" / page
        for number, bundle in enumerate(list(self.document.findall(is_bundle)), 1):
            inside = isinstance(bundle.parent, nodes.figure)
            block = bundle.parent if inside else bundle
            name = (block.get("names") or [f"{Path(page).name}-{number}"])[0]
            if files := self.files(bundle, name):
                below = block.parent.index(block) + 1
                block.parent.insert(below, self.row(files))

    def files(self, bundle: nodes.container, name: str) -> list[Path]:
        """Write what is carried; describe the picture, and show its best form."""
        found: dict[str, bytes] = {}
        for image in bundle.findall(nodes.image):
            _, path = self.env.relfn2path(image["uri"], self.env.docname)
            picture = Path(path).read_bytes() if path.endswith(".png") else b""
            carried = pictures.carried(picture) if picture else None
            if carried is None:
                continue
            words = image.get("alt", "").strip()
            image["alt"] = f"{words} {carried.description}".strip()
            found |= {".png": picture, ".json": carried.text.encode()}
            if carried.svg:
                found[".svg"] = carried.svg.encode()
            image["uri"] = self.source(name + ".*")  # each builder takes its best
        for raw in bundle.findall(nodes.raw):
            if states := STATES.search(raw.astext()):
                found[".states.json"] = states[1].encode()
        self.folder.mkdir(parents=True, exist_ok=True)
        for end, content in found.items():
            (self.folder / (name + end)).write_bytes(content)
        return [self.folder / (name + end) for end in WORDS if end in found]

    def source(self, file: str) -> str:
        """A file of this page's folder as Sphinx writes paths."""
        return "/" + os.path.relpath(self.folder / file, self.env.srcdir)

    def row(self, files: list[Path]) -> nodes.Node:
        """A line of links, for pages only."""
        line = nodes.paragraph("", "Download: ", classes=["downloads"])
        for number, file in enumerate(files):
            link = addnodes.download_reference(
                "", "", reftarget=self.source(file.name)
            )
            link += nodes.inline("", WORDS["".join(file.suffixes)])
            line += [nodes.Text(", ")] * (number > 0) + [link]
        only = addnodes.only(expr="html")
        only += line
        return only


def setup(app) -> dict:
    app.add_transform(Downloads)
    return {"version": "1", "parallel_read_safe": True}
