"""Pages of the documentation that are made from the code, as a hook of MkDocs.

MkDocs calls `on_files` before it builds the site; nothing is written into docs/. The pages: study settings and
dataset.yaml (from the pydantic models), synthetic smears (from their ranges), the command line (from the Typer
application), the Python API (one page per folder of the package), the contributing page and the changelog (from the
repository's root).
"""

from __future__ import annotations

import ast
import csv
import re
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer
from annotated_types import Ge, Gt, Le, Lt
from mkdocs.structure.files import File
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from wbcstudy.cli import app
from wbcstudy.config import BaselineConfig, DataSettings, RunConfig, StudyConfig
from wbcstudy.data.spec import DatasetSpec
from wbcstudy.data.synthetic.domains import DOMAINS, RANGES
from wbcstudy.nets.levers import LEVERS
from wbcstudy.registry import ENCODERS

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "wbcstudy"
BOUNDS = {Ge: ("ge", "at least"), Gt: ("gt", "above"), Le: ("le", "at most"), Lt: ("lt", "below")}

# Kind of processor -> folder of its tables in benchmarks/results/.
PROCESSORS = {"AMX": ".", "AVX512_BF16, no AMX": "avx512_bf16", "AVX2": "avx2"}

API_INTRODUCTION = """# Python API

Most users need one function, which segments an image with a finished network:

::: wbcstudy.segment
    options:
      heading_level: 3

The rest of the package is what the notebooks and the commands call. Names that start with an underscore are internal.
[Architecture](../../architecture.md) shows how the modules work together.
"""
ENVIRONMENT = """## Environment variables

| variable | meaning | default |
|---|---|---|
| `WBCSTUDY_OUTPUTS` | folder of all studies | `outputs/` in the checkout |
| `WBCSTUDY_DATA` | folder of fetched and synthetic datasets | `data/` in the checkout |
| `WBCSTUDY_WEIGHTS` | cache of ImageNet weights | `~/.cache/wbcstudy/weights` |
| `WBCSTUDY_STARTER` | file of the starter | `starter.zip` in this cache |
| `WBCSTUDY_ROOT` | the checkout | nearest parent folder with the notebooks |
| `WBCSTUDY_THREADS` | threads of TensorFlow | all cores |
| `WBCSTUDY_CACHE_MB` | MB of resized images kept in memory per part of the split | 1000 |
| `WBCSTUDY_CHECKPOINT_SECONDS` | least time between two saved states of a training in s; 0 saves each epoch | 30 |
| `TMPDIR` | folder of the temporary file for images beyond this | the system's |
| `WBCSTUDY_DEBUG` | show tracebacks, like `--debug` | not set |
| `WBCSTUDY_WITHOUT` | [levers of a training step](../performance.md#levers-of-a-training-step) to leave out | none |
| `TF_ENABLE_ONEDNN_OPTS` | 0 turns the oneDNN kernels of trainings off | 1 for trainings, else TensorFlow's choice |
"""


def on_files(files, config):
    """Add the generated pages to the site."""
    for source, content in pages().items():
        files.append(File.generated(config, source, content=content))
    return files


def on_page_markdown(markdown, **_):
    """Replace each `<!-- csv: path -->` by a table of that file, and keep intervals in tables on one line."""
    markdown = re.sub(r"<!-- csv: (\S+) -->", lambda match: csv_table(ROOT / match[1]), markdown)
    markdown = markdown.replace("<!-- levers -->", markdown_table(("name", "what it does"), LEVERS.items()))
    markdown = re.sub(r"<!-- steps: (\S+) -->", lambda match: compare_processors(match[1]), markdown)
    return re.sub(r"(\d) \[([-+.\d]+), ([-+.\d]+)\]", "\\1\u00a0[\\2,\u00a0\\3]", markdown)


def csv_table(path: Path) -> str:
    """Return a CSV file as a Markdown table."""
    with path.open(newline="", encoding="utf-8") as file:
        heads, *rows = csv.reader(file)
    return markdown_table(heads, rows)


def compare_processors(name: str) -> str:
    """Return a table of the factors of a training step on each kind of processor, from benchmarks/results/.

    Args:
        name: stem of the table, "train_step" or "train_step_128".
    """
    tables = {}
    for kind, folder in PROCESSORS.items():
        path = ROOT / "benchmarks" / "results" / folder / f"{name}.csv"
        if path.is_file():
            with path.open(newline="", encoding="utf-8") as file:
                tables[kind] = {row["encoder"]: row for row in csv.DictReader(file)}

    def factors(kind: str, encoder: str) -> str:
        row = tables.get(kind, {}).get(encoder)
        values = [row[column] for column in ("over_torch", "over_paper")] if row else []
        return " / ".join(f"{float(value):.2f}" if value else "-" for value in values) or "not measured"

    rows = [
        [encoder.title, *(factors(kind, name) for kind in PROCESSORS), "not measured"]
        for name, encoder in ENCODERS.items()
    ]
    return markdown_table(("encoder", *PROCESSORS, "GPU"), rows)


def pages() -> dict[str, str]:
    """Return the Markdown of every generated page by its path below docs/."""
    return {
        "reference/settings.md": settings_page(),
        "reference/dataset_yaml.md": dataset_page(),
        "reference/synthetic_smears.md": smears_page(),
        "reference/command_line.md": command_page(),
        **api_pages(),
        "contributing.md": root_page("CONTRIBUTING.md"),
        "changelog.md": root_page("CHANGELOG.md"),
    }


def settings_page() -> str:
    """Return the page of study settings."""
    own = [name for name in StudyConfig.__annotations__ if not StudyConfig.model_fields[name].exclude]
    data = list(DataSettings.__annotations__)
    training = [name for name in StudyConfig.model_fields if name not in {*own, *data, "name"}]
    run_only = {name: RunConfig.model_fields[name] for name in RunConfig.__annotations__}
    baseline_only = {name: BaselineConfig.model_fields[name] for name in BaselineConfig.__annotations__}
    return f"""# Study settings

A study is one file, `params/<study>.yaml`, with one setting per line. The stem of the file is the study's name. A
setting that is left out takes its default. An unknown setting is an error, and the message suggests the nearest name.

## What to train and measure

{table_of(StudyConfig, own)}

## Images and their split

{table_of(StudyConfig, data)}

## Training

{table_of(StudyConfig, training)}

## Parameters of one training

`notebooks/2_train.ipynb` takes the settings of the two sections above (images and split, training) and these:

{markdown_table(("parameter", "values", "default", "description"), map_rows(run_only))}

## Parameters of one earlier method

`notebooks/3_baseline.ipynb` takes the settings of the section on images and these:

{markdown_table(("parameter", "values", "default", "description"), map_rows(baseline_only))}
"""


def dataset_page() -> str:
    """Return the page of the fields of dataset.yaml."""
    return f"""# dataset.yaml

A dataset is a folder with a `dataset.yaml`. [Your own data](../guides/own_data.md) shows how to write and check one.
An unknown field is an error, and the message suggests the nearest name.

{table_of(DatasetSpec, list(DatasetSpec.model_fields))}
"""


def smears_page() -> str:
    """Return the page of the stains and ranges of synthetic smears, version 2."""
    stains = [(f"`{row.name}`", row.title, row.source) for row in DOMAINS.values()]
    ranges = []
    for name, row in RANGES.items():
        span = f"{row.low:g}" if row.low == row.high else f"{row.low:g} to {row.high:g}"
        ranges.append((f"`{name}`", span, row.meaning, row.source))
    return f"""# Synthetic smears of many laboratories

`wbcstudy data draw` writes drawn smears with exact masks. Each stain is a domain, so that a network can be judged on a
stain that it was not trained on: [Results](../results.md#which-encoder-and-size-for-the-starter) compares encoders in
this way. The dataset `synthetic` of the demo is the first version, which stays as it is.

![Ten smears of each stain](../images/domains.jpg)

Rows: {", ".join(row.title for row in DOMAINS.values())}. Version 2 also draws blasts and dense lymphocytes, and cells
cut by the border. Basket cells have no label, so they neither train nor score. Nucleated red cells, platelets and
debris are background.

## Stains

{markdown_table(("name", "stain", "colours and source"), stains)}

## Ranges

Every image draws each value uniformly from its range, in every stain. The ranges come from the sources, not from the
images of a public dataset. Those of eosinophils, of dye in nuclei and cytoplasm, of borders and of lateral colour were
added after errors in training images of Dataset 1: their sources name the property, and the limits are ours.

{markdown_table(("name", "range", "meaning", "source"), ranges)}
"""


def command_page() -> str:
    """Return the page of all commands with their arguments and options."""
    parts = [
        "# Command line",
        "`make env` puts the command into `.venv/bin/`. Write `.venv/bin/wbcstudy`, or run `source .venv/bin/activate` "
        "first. Every command has `--help`. Exit codes: 0 for success, 1 where the description says so and for a bug "
        "in wbcstudy, 2 for an error that you can fix, 130 after Ctrl-C.",
    ]
    root = typer.main.get_command(app)
    parts += ["## Options of every command", parameter_table(root)]
    for name, command in commands(root):
        parts += [f"## {name}", plain_text(command.help), f"```\n{name} [OPTIONS]{arguments(command)}\n```"]
        parts.append(parameter_table(command))
        if command.epilog:
            heading, *lines = command.epilog.split("\n  ")
            parts += [heading, "\n".join(["```", *lines, "```"])]
    return "\n\n".join(part for part in [*parts, ENVIRONMENT] if part) + "\n"


def commands(group: Any, prefix: str = "wbcstudy") -> Iterator[tuple[str, Any]]:
    """Yield every visible command with its full name, in the order of the help."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, f"{prefix} {name}")
        elif not command.hidden:
            yield f"{prefix} {name}", command


def arguments(command: Any) -> str:
    """Return a command's arguments as a usage line has them."""
    texts = [
        f"{parameter.name.upper()}{'...' if parameter.nargs == -1 else ''}"
        for parameter in command.params
        if parameter.param_type_name == "argument"
    ]
    return "".join(f" {text}" for text in texts)


def plain_text(text: str | None) -> str:
    """Return a text on one line, with nothing outside of code that Markdown takes for a tag."""
    parts = " ".join((text or "").split()).split("`")
    return "`".join(part if number % 2 else part.replace("<", "&lt;") for number, part in enumerate(parts))


def parameter_table(command: Any) -> str:
    """Return a table of a command's arguments and options; '' without any."""
    rows = []
    for parameter in command.params:
        names = parameter.opts if parameter.param_type_name == "option" else [parameter.name.upper()]
        default = "required" if parameter.required else "-" if parameter.default is False else None
        default = default or show_default(parameter.default)
        rows.append((", ".join(f"`{name}`" for name in names), default, plain_text(parameter.help)))
    return markdown_table(("argument or option", "default", "description"), rows) if rows else ""


def api_pages() -> dict[str, str]:
    """Return the overview of the Python API and a page for each folder of the package."""
    overview = [API_INTRODUCTION]
    pages = {}
    for room in ("wbcstudy", *sorted(path.parent.name for path in PACKAGE.glob("*/__init__.py"))):
        paths = PACKAGE.glob("*.py") if room == "wbcstudy" else (PACKAGE / room).rglob("*.py")
        summaries = {dotted(path): first_line(path) for path in sorted(paths) if not path.name.startswith("__")}
        title = "Top-level modules" if room == "wbcstudy" else f"wbcstudy.{room}"
        pages[f"reference/api/{room}.md"] = "\n\n".join([f"# {title}", *(f"::: {name}" for name in summaries)])
        rows = [(f"[{name}][]", summary) for name, summary in summaries.items()]
        overview += [f"## {title}", markdown_table(("module", "content"), rows)]
    return {"reference/api/index.md": "\n\n".join(overview), **pages}


def dotted(path: Path) -> str:
    """Return a module's full name."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def first_line(path: Path) -> str:
    """Return the first sentence of a module's docstring."""
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return " ".join(docstring.split("\n\n")[0].split())


def root_page(name: str) -> str:
    """Return a page of the repository's root; its links into docs/ become links within the site."""
    return (ROOT / name).read_text(encoding="utf-8").replace("](docs/", "](")


def table_of(model: type[BaseModel], names: list[str]) -> str:
    """Return a table of some of a model's fields."""
    return markdown_table(
        ("setting", "values", "default", "description"), map_rows({name: model.model_fields[name] for name in names})
    )


def map_rows(fields: dict[str, FieldInfo]) -> list[tuple[str, ...]]:
    """Return name, allowed values, default and description of each field."""
    return [
        (
            f"`{name}`",
            show_type(field),
            "required" if field.is_required() else show_default(field.default),
            plain_text(field.description),
        )
        for name, field in fields.items()
    ]


def show_type(field: FieldInfo) -> str:
    """Return a field's type and bounds in words."""
    text = show_annotation(field.annotation)
    bounds = [
        f"{phrase} {getattr(bound, attribute):g}"
        for bound in field.metadata
        for bound_type, (attribute, phrase) in BOUNDS.items()
        if isinstance(bound, bound_type)
    ]
    return ", ".join([text, *bounds])


def show_annotation(annotation: Any) -> str:
    """Return a type in words that YAML users know."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Literal:
        return ", ".join(f"`{value}`" for value in arguments)
    if origin is tuple:
        return f"list of {show_annotation(arguments[0])}"
    if origin is dict:
        return f"mapping to {show_annotation(arguments[1])}"
    if origin in (typing.Union, types.UnionType):
        return " or ".join(show_annotation(item) for item in arguments if item is not type(None))
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return f"`{{{', '.join(annotation.model_fields)}}}`"
    return {str: "text", int: "integer", float: "number", bool: "`true`, `false`"}[annotation]


def show_default(value: Any) -> str:
    """Return a default as it is written in YAML."""
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, tuple):
        return f"`[{', '.join(map(str, value))}]`"
    return f"`{value}`"


def markdown_table(heads: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """Return a Markdown table."""
    lines = [heads, ("---",) * len(heads), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
