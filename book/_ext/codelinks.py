"""Names of functions link to the reference, and the reference lists who uses them.

In code, sphinx-codeautolink finds them; this fits it to the book. In a sentence a
name is a link if it can be nothing else.
"""

from docutils import nodes
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util.nodes import make_refnode
from sphinx_codeautolink import extension
from sphinx_codeautolink.extension.backref import CodeRefsVisitor
from sphinx_codeautolink.extension.block import CodeBlockAnalyser
from sphinx_codeautolink.extension.directive import DeferredExamples

import llrnb
import llrnb.relu

REFERENCE = "book/appendix/api/"
PLAIN = {*llrnb.__all__, *llrnb.relu.__all__}  # names that need no mark of a name


def leave_section(analyser, node) -> None:
    """As the original, but the sections of a solution have no title to forget."""
    if analyser.title_stack:
        analyser.title_stack.pop()


class UsedOn(CodeRefsVisitor):
    """The pages that use a function, in a line in place of a table of headings."""

    def unknown_visit(self, node) -> None:
        if not isinstance(node, DeferredExamples):
            return
        titles = self.builder.env.titles
        users = {example.document for example in self.code_refs.get(node.ref, ())}
        pages = [p for p in titles if p in users and not p.startswith(REFERENCE)]
        line = nodes.paragraph("", "Used on: ", classes=["used-on"])
        for number, page in enumerate(pages):
            link = self.builder.get_relative_uri(self.docname, page)
            line += [nodes.Text(", ")] * (number > 0)
            line += nodes.reference(
                "", titles[page].astext(), internal=True, refuri=link
            )
        paragraph = node.parent
        if pages:
            paragraph.replace_self(line)
        else:
            paragraph.parent.remove(paragraph)


class NamesInText(SphinxPostTransform):
    """Links from `exact_rank` or `llrnb.cnn` in a sentence to their entries."""

    default_priority = 700
    formats = ("html",)

    def run(self, **kwargs) -> None:
        page = self.env.docname
        if page.startswith(REFERENCE):
            return
        for literal in list(self.document.findall(nodes.literal)):
            if isinstance(literal.parent, (nodes.reference, nodes.title)):
                continue
            found = self.entries(literal.astext().partition("(")[0])
            if len(found) == 1:
                to, builder = found[0], self.app.builder
                link = make_refnode(
                    builder, page, to.docname, to.node_id, literal.deepcopy()
                )
                literal.replace_self(link)

    def entries(self, name: str) -> list:
        """The entries that a name may stand for."""
        last = name.rpartition(".")[2]
        is_marked = "." in name or "_" in name or name[:1].isupper()
        if not (is_marked or name in PLAIN):
            return []
        end = last if name == f"llrnb.{last}" else name.removeprefix("llrnb.")
        return [
            entry
            for full, entry in self.env.domaindata["py"]["objects"].items()
            if f".{full}".endswith(f".{end}")
            and entry.objtype in ("function", "class", "exception")
        ]


def setup(app) -> dict:
    CodeBlockAnalyser.depart_section = leave_section
    extension.CodeRefsVisitor = UsedOn
    app.setup_extension("sphinx_codeautolink")
    app.add_post_transform(NamesInText)
    return {"version": "1", "parallel_read_safe": True}
