"""An engine of papermill that runs a notebook's code in this process."""

import traceback
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO

from nbformat.v4 import new_output
from papermill.engines import Engine, papermill_engines

NAME = "llrnb-inside"


class Inside(Engine):
    """One code cell after the other; what it prints, and an error, which ends it, stand in it."""

    @classmethod
    def execute_managed_notebook(cls, nb_man, kernel_name, **options) -> None:
        """See `papermill.engines.Engine`."""
        names: dict = {"__name__": "__main__"}
        for index, cell in enumerate(nb_man.nb.cells):
            if cell.cell_type != "code":
                continue
            nb_man.cell_start(cell, index)
            said = StringIO()
            try:
                with redirect_stdout(said), redirect_stderr(said):
                    exec(compile(cell.source, f"cell {index}", "exec"), names)
            except Exception as error:
                kind, lines = type(error).__name__, traceback.format_exc().splitlines()
                failed = new_output("error", ename=kind, evalue=str(error), traceback=lines)
                cell.outputs = [*_stream(said), failed]
                nb_man.cell_exception(cell, index, exception=error)
                return
            cell.outputs = _stream(said)
            nb_man.cell_complete(cell, index)


def _stream(said: StringIO) -> list:
    return [new_output("stream", text=said.getvalue())] if said.getvalue() else []


papermill_engines.register(NAME, Inside)
