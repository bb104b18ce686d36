"""The `wbcstudy` command line: each command parses its arguments and calls the package."""

from __future__ import annotations

import os
from typing import Annotated

# Pydantic looks for plugins in the metadata of every installed package. Nothing here uses them.
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")

import typer

from wbcstudy.cli import datasets, networks, programs, studies
from wbcstudy.cli.output import call
from wbcstudy.study.environment import ignore_user_settings

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Compare encoders and losses of a U-Net on images of white blood cells, and segment new images.",
)
for group in (studies, networks, programs):
    app.add_typer(group.app)
app.add_typer(datasets.data, name="data")
app.add_typer(networks.weights, name="weights")


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the full traceback of an error.")] = False,
) -> None:
    if debug:
        os.environ["WBCSTUDY_DEBUG"] = "1"


def main() -> None:
    """Run the command."""
    ignore_user_settings()
    call(app)
