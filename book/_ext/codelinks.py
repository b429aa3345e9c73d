"""The names in code link to the reference, and the reference lists who uses them.

sphinx-codeautolink finds the links; this fits it to the book.
"""

from docutils import nodes
from sphinx_codeautolink import extension
from sphinx_codeautolink.extension.backref import CodeRefsVisitor
from sphinx_codeautolink.extension.block import CodeBlockAnalyser
from sphinx_codeautolink.extension.directive import DeferredExamples

REFERENCE = "book/appendix/api/"


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


def setup(app) -> dict:
    CodeBlockAnalyser.depart_section = leave_section
    extension.CodeRefsVisitor = UsedOn
    app.setup_extension("sphinx_codeautolink")
    return {"version": "1", "parallel_read_safe": True}
