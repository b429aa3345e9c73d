"""Docstrings are plain text; the API pages show them so, with a few marks added."""

import re


def marked(lines: list[str]) -> list[str]:
    r"""The lines with what reStructuredText needs to leave them as they are.

    An indented block after a blank line is a formula, shown letter by letter.
    Elsewhere a | is a magnitude and no substitution, and a description that is one
    letter is not a list's number.
    """
    found, literal = [], False
    for number, line in enumerate(lines):
        indented, blank = line.startswith("    "), not line.strip()
        if (
            not literal
            and indented
            and number > 1
            and not lines[number - 1].strip()
        ):
            before = next((text for text in reversed(found) if text.strip()), "")
            literal = not before.startswith(" ") and not before.endswith(":")
            if literal:
                found += ["::", ""]
        literal = literal and (indented or blank)
        if not literal and not line.lstrip().startswith((">>>", "...")):
            line = re.sub(r"(: )(\w)\.$", r"\1\2", line).replace("|", r"\|")
        found.append(line)
    return found


def mark(app, what, name, subject, options, lines: list[str]) -> None:
    lines[:] = marked(lines)


def setup(app) -> dict:
    app.setup_extension("sphinx.ext.autodoc")  # which has the event
    app.connect("autodoc-process-docstring", mark, priority=100)  # before napoleon
    return {"version": "1", "parallel_read_safe": True}
