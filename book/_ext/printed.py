"""The book in print: what TeX is given where a page has HTML.

print.sty beside this file has the fonts, the headings and the environments.
"""

import re

from bs4 import BeautifulSoup, Tag
from docutils import nodes
from sphinx import addnodes
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx_exercise.nodes import (
    exercise_enumerable_node,
    exercise_node,
    solution_node,
)
from sphinx_jupyterbook_latex.nodes import RootHeader
from sphinx_proof.nodes import NODE_TYPES, proof_node, unenumerable_node

APPENDIX = "Appendix"  # the part's caption in _toc.yml
BIBLIOGRAPHY = "book/appendix/bibliography"
NUMBER = re.compile(r"([\d.,e+−\- ]|inf|nan)*")
LINE = 88  # letters, about as many as a line of a table has ...
SMALL_LINE = 118  # ... and one in the smallest type
EMPTY = BeautifulSoup("<td></td>", "html.parser").td
LONG = 15  # rows; a longer table may go on on the next page


class Blocks(SphinxPostTransform):
    """Tables and the map of results, which are HTML, and the proofs."""

    default_priority = 3  # before myst_nb chooses what to show of an output
    builders = ("latex",)

    def run(self, **kwargs) -> None:
        for file in list(self.document.findall(addnodes.start_of_file)):
            self.translate(file, file["docname"].rpartition("/")[0])
        for proof in self.document.findall(proof_node):
            unbox(proof)

    def translate(self, file: nodes.Element, folder: str) -> None:
        for bundle in list(file.findall(nodes.container)):
            if bundle.get("nb_element") == "mime_bundle":
                kinds = {kind["mime_type"]: kind for kind in bundle.children}
                if "text/html" in kinds and "image/png" not in kinds:
                    html = BeautifulSoup(kinds["text/html"].astext(), "html.parser")
                    if html.table:
                        bundle.replace_self(table(html.table, folder))
        for raw in list(file.findall(nodes.raw)):
            html = BeautifulSoup(raw.astext(), "html.parser")
            if found := html.find("div", class_="map"):
                raw.replace_self(rows_of_boxes(found, folder))


class Parts(SphinxPostTransform):
    """The appendix has letters, the list of references one heading; tables fit."""

    default_priority = 750  # after sphinx_jupyterbook_latex has made the parts
    builders = ("latex",)

    def run(self, **kwargs) -> None:
        # TeX counts figures itself. To Sphinx, parts are a level for it.
        self.config.numfig_secnum_depth = 2
        for part in list(self.document.findall(nodes.section)):
            if part.get("docname") == APPENDIX:
                here = part.parent.index(part)
                part.parent.insert(here, tex(r"\appendix"))
        for file in list(self.document.findall(addnodes.start_of_file)):
            if file["docname"] == BIBLIOGRAPHY:
                file.parent.remove(file)  # the list itself is at the end
        for one in self.document.findall(nodes.table):
            fit(one)


def tex(text: str) -> nodes.raw:
    return nodes.raw("", text, format="latex")


def inline(html: Tag, folder: str) -> list[nodes.Node]:
    """Text, bold, line breaks and links to pages."""
    found = []
    for child in html.children:
        if not isinstance(child, Tag):
            found.append(nodes.Text(str(child)))
        elif child.name == "br":
            found.append(tex(r"\newline "))
        elif child.name == "a":
            page = f"%{folder}/{child['href'].replace('.html', '')}"
            inner = inline(child, folder)
            found.append(
                nodes.reference("", "", *inner, internal=True, refuri=page)
            )
        elif child.name == "b":
            found.append(nodes.strong("", "", *inline(child, folder)))
        else:
            found += inline(child, folder)
    return found


def rows_of_boxes(html: Tag, folder: str) -> list[nodes.Node]:
    """The map: each row a line of boxes, with arrows between."""
    lines = []
    for row in html.find_all("div", recursive=False):
        line = nodes.paragraph()
        if links := row.find_all("a"):
            line += tex(r"\maprow{")
            for link in links:
                box = BeautifulSoup(str(link), "html.parser")
                line += [tex(r"\mapbox{"), *inline(box, folder), tex("}")]
            line += tex("}")
        else:
            line += tex(r"\maprow{$\downarrow$}")
        lines.append(line)
    return lines


def table(html: Tag, folder: str) -> list[nodes.Node]:
    """A table in small type, its numbers to the right."""
    head = [spread(row) for row in html.thead.find_all("tr")]
    body = [spread(row) for row in html.tbody.find_all("tr")]
    columns = len(head[0])
    if len(head) > 1:
        pairs = list(zip(head[-2], head[-1], strict=True))
        if not any(a.text.strip() and b.text.strip() for a, b in pairs):
            head[-2:] = [[a if a.text.strip() else b for a, b in pairs]]
    # Cells of several rows, all in the first columns, stand in the first of them.
    body = [[EMPTY] * (columns - len(row)) + row for row in body]
    texts = [[cell.text for cell in column] for column in zip(*body, strict=True)]
    sides = ["r" if all(map(NUMBER.fullmatch, text)) else "l" for text in texts]
    group = nodes.tgroup(cols=columns)
    group += [nodes.colspec(colwidth=1) for _ in range(columns)]
    for part, rows in ((nodes.thead(), head), (nodes.tbody(), body)):
        group += part
        for cells in rows:
            part += nodes.row("", *(entry(cell, folder) for cell in cells))
    made = nodes.table("", group, classes=["colwidths-auto"], letters=SMALL_LINE)
    spec = addnodes.tabular_col_spec(spec="".join(sides))
    size = r"\scriptsize" if sum(widest(made)) > LINE else r"\footnotesize"
    start = rf"\begingroup{size}\setlength{{\tabcolsep}}{{4pt}}"
    return [tex(start), spec, made, tex(r"\endgroup")]


def spread(row: Tag) -> list[Tag]:
    """The cells of a row; one of several columns stands in the first of them."""
    found = []
    for cell in row.find_all(["th", "td"]):
        found += [cell] + [EMPTY] * (int(cell.get("colspan", 1)) - 1)
    return found


def entry(cell: Tag, folder: str) -> nodes.entry:
    return nodes.entry("", nodes.paragraph("", "", *inline(cell, folder)))


def widest(made: nodes.table) -> list[int]:
    """The letters of the longest cell of each column."""
    columns = zip(*made.findall(nodes.row), strict=False)  # one with spans is cut
    return [max(len(words(cell)) for cell in column) for column in columns]


def words(cell: nodes.entry) -> str:
    texts = cell.findall(nodes.Text)
    return "".join(t for t in texts if not isinstance(t.parent, nodes.raw))


def fit(made: nodes.table) -> None:
    """A table wider than the text gets columns in which lines are broken."""
    if len(list(made.findall(nodes.row))) > LONG:
        made["classes"].append("longtable")
    letters = widest(made)
    if sum(letters) <= made.get("letters", LINE):
        return
    parts = [max(12, min(width, 12 + width // 3)) for width in letters]
    columns = (
        rf">{{\raggedright\arraybackslash}}\X{{{part}}}{{{sum(parts)}}}"
        for part in parts
    )
    spec = addnodes.tabular_col_spec(spec="".join(columns))
    here = made.parent.index(made)
    before = made.parent[here - 1] if here else None
    if isinstance(before, addnodes.tabular_col_spec):
        before["spec"] = spec["spec"]
    else:
        made.parent.insert(here, spec)


def unbox(proof: proof_node) -> None:
    """A proof is text that starts with one slanted word."""
    (box,) = proof.children
    proof.children = []
    proof += box.children
    first = proof[0][0]
    if first.astext().startswith("Proof."):
        proof[0][:1] = [
            nodes.emphasis("", "Proof."),
            nodes.Text(first.astext().removeprefix("Proof.")),
        ]


def visit_statement(self, node) -> None:
    kind = node.get("countertype", node.get("type", ""))
    page = self.curfilestack[-1]
    numbers = self.builder.env.toc_fignumbers.get(page, {}).get(kind, {})
    number = ".".join(map(str, numbers.get(node["ids"][0], ())))
    labels = [f"{page}:{node['label']}", f"exercise:{node['label']}"]
    if node.get("type") == "solution":
        labels = []
    self.body += [rf"\numbered{{{number}}}{{{label}}}" for label in labels]
    self.body.append(f"\n\\begin{{book{environment(node)}}}")
    if "realtype" in node:
        self.body.append(f"{{{node['realtype'].title()} {number}}}")
    if not isinstance(node[0], nodes.title):
        self.body.append("{}")


def depart_statement(self, node) -> None:
    self.body.append(f"\\end{{book{environment(node)}}}\n")


def environment(node: nodes.Element) -> str:
    return "statement" if "realtype" in node else node["type"]


def visit_heading(self, node: RootHeader) -> None:
    self.body.append("\n\\section*{" if node["level"] <= 2 else "\n\\subsection*{")


def depart_heading(self, node: RootHeader) -> None:
    self.body.append("}\n")


def configure(app, config) -> None:
    # Jupyter Book's own class needs packages that few have, and renames symbols.
    config.latex_theme = "manual"
    config.latex_elements["preamble"] = r"\usepackage{print}"


def number_as_pages(app) -> None:
    # Theorem 1.2 is the second of chapter 1, not one of section 1.2.
    if app.builder.name == "latex":
        app.config.numfig_secnum_depth = 1


def setup(app) -> dict:
    # Jupyter Book loads it last, but its way to write TeX is replaced, too.
    app.setup_extension("sphinx_jupyterbook_latex")
    boxes = (
        *NODE_TYPES.values(),
        unenumerable_node,
        exercise_node,
        exercise_enumerable_node,
        solution_node,
    )
    for kind in boxes:
        app.add_node(kind, override=True, latex=(visit_statement, depart_statement))
    app.add_node(RootHeader, override=True, latex=(visit_heading, depart_heading))
    app.add_post_transform(Blocks)
    app.add_post_transform(Parts)
    app.connect("config-inited", configure)
    app.connect("builder-inited", number_as_pages)
    return {"version": "1", "parallel_read_safe": True}
