"""An engine of papermill that runs a notebook's code in this process."""

import traceback

from nbformat.v4 import new_output
from papermill.engines import Engine, papermill_engines

NAME = "llrnb-inside"


class Inside(Engine):
    """One code cell after the other; an error ends the notebook, and stands in it."""

    @classmethod
    def execute_managed_notebook(cls, nb_man, kernel_name, **options) -> None:
        """See `papermill.engines.Engine`."""
        names: dict = {"__name__": "__main__"}
        for index, cell in enumerate(nb_man.nb.cells):
            if cell.cell_type != "code":
                continue
            nb_man.cell_start(cell, index)
            try:
                exec(compile(cell.source, f"cell {index}", "exec"), names)
            except Exception as error:
                kind, lines = type(error).__name__, traceback.format_exc().splitlines()
                cell.outputs = [new_output("error", ename=kind, evalue=str(error), traceback=lines)]
                nb_man.cell_exception(cell, index, exception=error)
                return
            nb_man.cell_complete(cell, index)


papermill_engines.register(NAME, Inside)
