"""Execute a notebook with papermill in this process, as the Snakefile does for every step of a study."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

from wbcstudy.runs.notebooks import import_nbformat

# A kernel may need more than the usual minute to start: a busy machine, a slow network disk.
_START_TIMEOUT_S = 600


def execute_notebook(notebook: Path, executed: Path, parameters: Path, folder: Path, save_cells: bool = True) -> None:
    """Execute a notebook. What it prints goes to standard error, so that the log of a step is complete.

    Args:
        notebook: .ipynb with a cell of parameters.
        executed: .ipynb to write.
        parameters: YAML file with values of the parameters.
        folder: working directory of the notebook.
        save_cells: write it before and after every cell, so that a killed notebook leaves what it has shown; otherwise
            only at the end and, in a long cell, every 30 s.

    Raises:
        papermill.exceptions.PapermillExecutionError: a cell raised an error; `executed` has it.
        nbclient.exceptions.DeadKernelError: the kernel was killed.
    """
    import_nbformat()
    import papermill
    from papermill.iorw import read_yaml_file

    logging.basicConfig(level="INFO", format="%(message)s", stream=sys.stderr)
    papermill.execute_notebook(
        str(notebook),
        str(executed),
        read_yaml_file(str(parameters)),
        kernel_name="python3",
        progress_bar=False,
        log_output=True,
        request_save_on_cell_execute=save_cells,
        start_timeout=_START_TIMEOUT_S,
        cwd=str(folder),
    )
