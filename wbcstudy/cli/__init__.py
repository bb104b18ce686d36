"""The `wbcstudy` command line: each command parses its arguments and calls the package."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from typing import Annotated

# Pydantic looks for plugins in the metadata of every installed package. Nothing here uses them.
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")

import typer

from wbcstudy import __version__
from wbcstudy.cli import datasets, networks, programs, studies
from wbcstudy.cli.arguments import examples
from wbcstudy.cli.output import call, show
from wbcstudy.study.environment import ignore_user_settings

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Compare encoders and losses of a U-Net on images of white blood cells, and segment new images.",
)
for group in (studies, networks, programs):
    app.add_typer(group.app)
app.add_typer(datasets.data, name="data")
app.add_typer(networks.starter, name="starter")
app.add_typer(networks.weights, name="weights")


def _show_version(wanted: bool) -> None:
    if wanted:
        show(f"wbcstudy {__version__}, Python {platform.python_version()}, TensorFlow {metadata.version('tensorflow')}")
        raise typer.Exit()


@app.callback(epilog=examples("wbcstudy run demo", "wbcstudy status demo", "wbcstudy run --help"))
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the full traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    if debug:
        os.environ["WBCSTUDY_DEBUG"] = "1"


def main() -> None:
    """Run the command."""
    ignore_user_settings()
    call(app)
