"""The kinds of input of the fuzzer: valid examples, where the bytes are written, what reads them, and its checks.

A target's `read` raises `StudyError` if the input is refused with a message, and any other exception if the input does
harm: a traceback, a result that differs from the input, or a refusal that leaves files behind.
"""

from __future__ import annotations

import contextlib
import csv
import functools
import hashlib
import io
import json
import shutil
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import yaml
from PIL import Image

from wbcstudy.cli import main
from wbcstudy.config import RunConfig, StudyConfig
from wbcstudy.config_io import read_study, write_yaml
from wbcstudy.data.arrays import read_cases
from wbcstudy.data.datasets import load_dataset
from wbcstudy.data.fetch import fetch_segmentation_wbc
from wbcstudy.data.images import read_image
from wbcstudy.data.masks import read_mask
from wbcstudy.data.spec import read_spec
from wbcstudy.data.splits import load_or_make_splits
from wbcstudy.errors import StudyError
from wbcstudy.files import POLICY, project_root
from wbcstudy.runs.folders import RunFolder, StudyFolder
from wbcstudy.runs.results import read_predictions, read_score_file, write_predictions
from wbcstudy.scoring.evaluation import score_masks, write_scores
from wbcstudy.study import cost

GREYS = {"background": 0, "cytoplasm": 128, "nucleus": 255}
SPEC = {"name": "small", "images": "images/{case}.bmp", "masks": "masks/{case}.png"}
SPEC |= {"labels": GREYS, "cases": "cases.csv"}
CASES = ("001", "002", "003", "004")


@dataclass(frozen=True)
class Target:
    """One kind of input.

    Args:
        examples: returns valid inputs, as the bytes of a file.
        write: (folder for inputs, bytes) -> None.
        read: (folder for inputs, folder for results) -> the output.
        limit_s: processor time allowed per input, in s. It does not depend on other load on the machine.
    """

    examples: Callable[[], list[bytes]]
    write: Callable[[Path, bytes], object]
    read: Callable[[Path, Path], str]
    limit_s: int = 20


def command(*words: object) -> str:
    """Call `wbcstudy` in this process, with UTF-8 output.

    Raises:
        StudyError: it exited with 1 or 2; the message is its output.
        AssertionError: it reported an unexpected error or printed a traceback.
    """
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="strict") for _ in range(2))
    before, sys.argv = sys.argv, ["wbcstudy", *map(str, words)]
    code: object = 0
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), _kept_command():
            main()
    except SystemExit as end:
        code = end.code or 0
    finally:
        sys.argv = before
    output, errors = (stream.buffer.getvalue().decode() if not stream.flush() else "" for stream in (out, err))
    check("Traceback" not in output + errors and "Unexpected " not in errors, errors[-600:])
    check(code in (0, 1, 2), f"exit code {code}")
    check(len(output) + len(errors) < 200_000, "too much output")
    if code:
        raise StudyError(errors or output, expected="see above", fix="see above")
    return output


@contextlib.contextmanager
def _kept_command() -> Iterator[None]:
    """Build the command line's parsers once: this takes longer than many commands."""
    import typer.main

    build = typer.main.get_command
    typer.main.get_command = lambda app: _build_kept(build, app)
    try:
        yield
    finally:
        typer.main.get_command = build


@functools.cache
def _build_kept(build: Callable, app: object):
    return build(app)


def check(condition: object, message: str) -> None:
    """Raise AssertionError unless a condition holds, also with `python -O`."""
    if not condition:
        raise AssertionError(message)


def write_folder(folder: Path, **replaced: bytes) -> None:
    """Write a dataset of four small images; `spec`, `cases`, `image` and `mask` replace the bytes of a file."""
    (folder / "images").mkdir()
    (folder / "masks").mkdir()
    for k, case in enumerate(CASES):
        (folder / "images" / f"{case}.bmp").write_bytes(_image_file("BMP", k))
        (folder / "masks" / f"{case}.png").write_bytes(_mask_file("L"))
    for name, path in {"image": "images/002.bmp", "mask": "masks/002.png"}.items():
        if name in replaced:
            (folder / path).write_bytes(replaced[name])
    (folder / "cases.csv").write_bytes(replaced.get("cases", _table()))
    (folder / "dataset.yaml").write_bytes(replaced.get("spec", yaml.safe_dump(SPEC).encode()))


def read_folder(inputs: Path, outputs: Path) -> str:
    """Run `wbcstudy data check` and the steps of a study before its first training."""
    page = outputs / "check.html"
    output = command("data", "check", inputs, "--html", page)
    check_page(page.read_text(encoding="utf-8"))
    dataset = load_dataset(inputs)
    config = StudyConfig(dataset=str(inputs))
    (split,) = load_or_make_splits(outputs / "outputs" / "small" / "split.json", dataset, config)
    parts = [case for part in split.parts for case in part]
    check(sorted(parts) == sorted(case.case_id for case in dataset.cases), "the split has other cases")
    read = read_cases(dataset, parts, 32)
    check(read.masks.max() <= 2 and len(read.images) == len(parts), "arrays of other cases")
    return output


def check_page(text: str) -> None:
    """Raise if a page has an element or attribute that its template does not have: text that was not escaped."""
    expected = _page_elements((project_root() / "wbcstudy" / "templates" / "check.html").read_text(encoding="utf-8"))
    unexpected = _page_elements(text) - expected - _page_elements(POLICY)
    check(not unexpected, f"elements or attributes {sorted(unexpected)}")


def _page_elements(text: str) -> set[tuple[str, str]]:
    """Return (element, attribute) pairs of a page; the attribute is "" for the element itself."""
    pairs = set()

    class Parser(HTMLParser):
        def handle_starttag(self, tag, attributes):
            pairs.update({(tag, ""), *((tag, name) for name, _ in attributes)})

    Parser().feed(text)
    return pairs


def _read_study(inputs: Path, outputs: Path) -> str:
    # Would time steps of a training in another process.
    cost.measure, cost.is_busy = (lambda config, threads: {"error": "not while fuzzing"}), lambda: False
    path = inputs / "fuzzed.yaml"
    output = command("run", path, "--dry-run")
    command("status", path)
    study = read_study(path)
    names = [run.name for run in study.runs()]
    check(len(set(names)) == len(names), "two runs of one name")
    write_yaml(study, outputs / "fuzzed.yaml")
    check(read_study(outputs / "fuzzed.yaml") == study, "the settings changed when read back")
    return output


def _read_image_file(inputs: Path, outputs: Path) -> str:
    path = inputs / "images" / "002.bmp"
    image = read_image(path)
    check(image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3, "not RGB")
    with Image.open(path) as plain:
        if plain.mode in ("L", "RGB") and "transparency" not in plain.info and not plain.getexif():
            check(np.array_equal(np.asarray(plain.convert("RGB")), image), "pixels differ from the file")
    return read_folder(inputs, outputs)


def _read_mask(inputs: Path, outputs: Path) -> str:
    path = inputs / "masks" / "002.png"
    mask, strays = read_mask(path, read_spec(inputs / "dataset.yaml"))
    check(mask.dtype == np.uint8 and mask.ndim == 2 and mask.max() <= 2 and not strays, "not a label mask")
    with Image.open(path) as plain:
        if plain.mode == "L" and not plain.getexif():
            check(
                np.array_equal(np.array(list(GREYS.values()))[mask], np.asarray(plain)), "labels differ from the file"
            )
    return read_folder(inputs, outputs)


def _write_archive(inputs: Path, data: bytes) -> None:
    (inputs / "fuzzed.zip").write_bytes(data)
    rows = [f"{name},{len(body)},{hashlib.sha256(body).hexdigest()}\n" for name, body in _archive_files().items()]
    (inputs / "manifest.csv").write_text("file,bytes,sha256\n" + "".join(rows), encoding="utf-8")


def _read_archive(inputs: Path, outputs: Path) -> str:
    data_folder, manifest = outputs / "data", inputs / "manifest.csv"
    try:
        folder = fetch_segmentation_wbc(inputs / "fuzzed.zip", data_folder, progress=False, manifest=manifest)
    except StudyError:
        check(not data_folder.exists() or not list(data_folder.iterdir()), "a refused archive left files behind")
        raise
    unpacked = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    written = {f"Dataset {k}/{name}" for k in (1, 2) for name in ("cases.csv", "dataset.yaml")}
    check(unpacked == written | set(_archive_files()), "files differ from the manifest")
    check(
        all((folder / name).read_bytes() == body for name, body in _archive_files().items()),
        "bytes differ from the archive",
    )
    check(list(data_folder.iterdir()) == [folder], "files outside the dataset folder")
    return "unpacked"


def _write_names(inputs: Path, data: bytes) -> None:
    write_folder(inputs)
    names = [name.decode("utf-8", "surrogateescape") for name in dict.fromkeys(data.split(b"\0")) if name]
    for path in [*(inputs / "images").iterdir(), *(inputs / "masks").iterdir()]:
        path.unlink()
    for k, name in enumerate(names):
        with contextlib.suppress(OSError):
            # Skip names that the file system refuses.
            (inputs / "images" / f"{name}.bmp").write_bytes(_image_file("BMP", k))
            (inputs / "masks" / f"{name}.png").write_bytes(_mask_file("L"))
    with (inputs / "cases.csv").open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        writer = csv.writer(file)
        writer.writerow(("case_id", "cell_type", "group"))
        writer.writerows((path.stem, names[k % len(names)], k) for k, path in enumerate((inputs / "masks").iterdir()))
    title = names[0] if names and names[0].isprintable() else "odd"
    (inputs / "dataset.yaml").write_text(yaml.safe_dump(SPEC | {"title": title}), encoding="utf-8")


def _read_names(inputs: Path, outputs: Path) -> str:
    output = read_folder(inputs, outputs)
    cases = load_dataset(inputs).cases
    ids, types = [case.case_id for case in cases], [case.cell_type for case in cases]
    masks = np.zeros((len(ids), 4, 4), np.uint8)
    folder = RunFolder(outputs / "run")
    write_predictions(folder, ids, masks)
    check(list(read_predictions(folder)) == ids, "predictions of other cases")
    write_scores(score_masks("a__fold0__seed0", ids, types, masks, masks), folder.scores)
    read = read_score_file(folder.scores).drop_duplicates("case_id")
    check(read["case_id"].tolist() == ids, "scores of other cases")
    check([None if value != value else value for value in read["cell_type"]] == types, "scores of other cell types")
    return output


def _read_record(inputs: Path, outputs: Path) -> str:
    """Read a record with all commands that read records: status, report, segment, export and the app.

    It replaces the record of an unfinished run, and a file of a finished study.
    """
    data = (inputs / "fuzzed.json").read_bytes()
    study = outputs / "fuzzed.yaml"
    write_yaml(StudyConfig(encoders=("resnet18",), losses=("dice",)), study)
    folder = StudyFolder(outputs / "outputs" / "fuzzed")
    run = folder.run("resnet18__dice__fold0__seed0")
    run.path.mkdir(parents=True)
    for path in (run.record, run.history, run.params, folder.other_datasets):
        path.write_bytes(data)
    with contextlib.suppress(StudyError):
        command("status", study)
    run.params.unlink()
    output = command("status", study)
    _read_finished_study(data, outputs)
    return output


def _read_finished_study(data: bytes, outputs: Path) -> None:
    from tests import damage
    from wbcstudy.inference.image import segment_image
    from wbcstudy.reporting.results import load_results

    study = StudyFolder(outputs / "outputs" / damage.STUDY)
    file = _finished_study() / f"{damage.STUDY}.yaml"
    shutil.copytree(_finished_study() / "outputs" / damage.STUDY, study.path)
    name = _name_of(data)
    (study.path / name).write_bytes(data)
    image = np.full((48, 64, 3), 200, np.uint8)
    run = study.run(damage.RUN)
    readers = (
        lambda: command("status", file, "--verify"),
        lambda: _read_results(load_results(file), study, name),
        lambda: segment_image(image, study.path),
        lambda: segment_image(image, run.path),
        lambda: _describe_export(run),
        _open_app,
    )
    with _keep_network():
        for read in readers:
            with contextlib.suppress(StudyError):
                read()


def _name_of(data: bytes) -> str:
    """Return the file of a finished study that an input was made from; any file if that cannot be recognised."""
    from tests import damage

    names = [name for name in damage.FILES if name.endswith((".json", "scores.csv", "history.csv"))]
    run, chance = f"runs/{damage.RUN}", zlib.crc32(data)
    marks = {
        b"folds": "split.json",
        b"label_shares": "dataset.json",
        b"near": "duplicates.json",
        b"datasets": "other_datasets.json",
        b"method": f"baselines/{damage.METHOD}/run.json",
        b"network": f"{run}/transfer/away/run.json",
        b"status": f"{run}/run.json",
        b"case_id": (f"{run}/scores.csv", f"{run}/transfer/away/scores.csv", f"baselines/{damage.METHOD}/scores.csv"),
        b"epoch,": f"{run}/history.csv",
    }
    places = next((places for mark, places in marks.items() if mark in data), names)
    return places if isinstance(places, str) else places[chance % len(places)]


def _read_results(results, study: StudyFolder, name: str) -> None:
    """Write the report. Tables and statistics are computed for each accepted file of a run, and else reused."""
    from wbcstudy.reporting.page import write_report

    used = [run.name for run in results.complete]
    folder = next((part for part in Path(name).parts if "__fold" in part), None)
    shown = tuple((run.name, run.complete) for run in results.runs)
    key = (shown, (study.path / name).read_bytes() if folder in used else b"")
    check(all(frame is not None for frame in (results.scores, results.costs)), "no tables")
    vars(results).update(_COMPUTED.get(key, {}))
    page = write_report(results).read_text(encoding="utf-8")
    check("Traceback" not in page, "a traceback in the report")
    _COMPUTED[key] = {value: getattr(results, value) for value in _REUSED}


# Values of `StudyResults` that follow from the scores.
_REUSED = ("tables", "table_html", "comparisons", "transfer", "ranks", "decision", "averages")
_COMPUTED: dict[tuple, dict[str, object]] = {}


def _describe_export(folder: RunFolder) -> None:
    """Make what an export makes of a run's record: the example image and the description."""
    from wbcstudy.inference.export import _describe, _example_image
    from wbcstudy.inference.network import load_network

    network = load_network(folder.path)
    side = network.training.image_size
    _example_image(side, side)
    json.dumps(_describe(network, "any size"), allow_nan=False)


def _open_app() -> None:
    from wbcstudy.inference.explore import Explorer

    explorer = Explorer()
    for index in range(len(explorer.run.options)):
        explorer.run.index = index


@contextlib.contextmanager
def _keep_network() -> Iterator[None]:
    """Load the network of the finished study, whose file is never changed, once for all inputs."""
    import tensorflow as tf

    from wbcstudy.nets import model_file

    # A network of this size answers faster than it is compiled.
    tf.config.run_functions_eagerly(True)
    load = model_file.load_model
    model_file.load_model = lambda path: _load_kept(load, Path(path).read_bytes())
    try:
        yield
    finally:
        model_file.load_model = load


@functools.cache
def _load_kept(load: Callable, data: bytes):
    import tempfile

    with tempfile.NamedTemporaryFile(suffix=".keras") as file:
        Path(file.name).write_bytes(data)
        return load(file.name)


@functools.cache
def _finished_study() -> Path:
    import atexit
    import tempfile

    from tests.damage import make_base

    folder = Path(tempfile.mkdtemp(prefix="fuzz-study-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    make_base(folder / "outputs")
    return folder


def _read_network(inputs: Path, outputs: Path) -> str:
    from wbcstudy.nets.model_file import load_model

    model = load_model(inputs / "fuzzed.keras")
    check(model.output_shape[-1] == 3, "not a network with three labels")
    return "loaded"


@functools.cache
def _networks() -> list[bytes]:
    """Return the file of a small network."""
    import tempfile

    from wbcstudy.nets.unet import build_unet

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.keras")
        build_unet(RunConfig(encoder="mobilenet", image_size=32)).save(path)
        return [path.read_bytes()]


@functools.cache
def _archive_files() -> dict[str, bytes]:
    files = {"LICENSE": b"licence", "README.rst": b"x" * 3000}
    for number, cases in (("1", ("001", "002")), ("2", ("001",))):
        rows = [f"{int(case)},{k + 4}\r\n" for k, case in enumerate(cases)]
        files[f"Class Labels of Dataset {number}.csv"] = ("image ID,class\r\n" + "".join(rows)).encode()
        for k, case in enumerate(cases):
            files[f"Dataset {number}/{case}.bmp"] = _image_file("BMP", k)
            files[f"Dataset {number}/{case}.png"] = _mask_file("L")
    return files


def _archives() -> list[bytes]:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in _archive_files().items():
            archive.writestr(f"segmentation_WBC-master/{name}", data)
    return [out.getvalue()]


@functools.cache
def _image_file(form: str, seed: int = 0, mode: str = "RGB", **more) -> bytes:
    pixels = np.random.default_rng(seed).integers(60, 250, (12, 16, 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    return _saved(image.convert("I").convert("I;16") if mode == "I;16" else image.convert(mode), form, **more)


@functools.cache
def _mask_file(mode: str, form: str = "PNG") -> bytes:
    mask = np.zeros((12, 16), np.uint8)
    mask[2:10, 2:12], mask[4:8, 5:9] = 128, 255
    return _saved(Image.fromarray(mask).convert(mode), form)


def _saved(image: Image.Image, form: str, **more) -> bytes:
    out = io.BytesIO()
    image.save(out, form, **more)
    return out.getvalue()


def _table() -> bytes:
    rows = [f"{case},{('lymphocyte', 'monocyte')[k % 2]},slide{k}\n" for k, case in enumerate(CASES)]
    return ("case_id,cell_type,group\n" + "".join(rows)).encode()


def _image_files() -> list[bytes]:
    modes = {
        "BMP": ("RGB", "P"),
        "PNG": ("RGB", "RGBA", "P", "LA", "1", "I;16"),
        "JPEG": ("RGB", "CMYK"),
        "TIFF": ("RGB",),
    }
    images = [_image_file(form, 0, mode) for form in modes for mode in modes[form]]
    compressions = ("tiff_lzw", "tiff_deflate", "jpeg", "packbits")
    return [*images, *(_image_file("TIFF", 0, "RGB", compression=name) for name in compressions)]


def _studies() -> list[bytes]:
    return [path.read_bytes() for path in sorted((project_root() / "params").glob("*.yaml"))]


def _specs() -> list[bytes]:
    colours = {"background": ["#000000", "#ff0000"], "cytoplasm": "#00ff00", "nucleus": "#0000ff"}
    more = {"title": "Smears", "tolerance": 16, "pixel_size_um": 0.1, "citation": "Somebody", "licence": "CC0"}
    specs = (SPEC, SPEC | more, SPEC | {"labels": colours})
    return [yaml.safe_dump(values, sort_keys=False).encode() for values in specs]


def _records() -> list[bytes]:
    scores = {region: {"dice": 0.9, "tp": 1} for region in ("nucleus", "cytoplasm")}
    run = {"status": "complete", "run": "resnet18__dice__fold0__seed0", "config": {}, "scores": scores, "epochs": 3}
    failed = {"status": "failed", "error": "Out of memory", "advice": "Lower batch_size."}
    dataset = {"source": "a", "name": "a", "title": "A", "fingerprint": "0", "cases": 3, "groups": {}, "shared": []}
    others = {"datasets": [dataset]}
    history = b"epoch,loss,val_loss,seconds\n1,0.5,0.6,1.0\n2,0.4,0.5,1.0\n"
    from tests import damage

    study = _finished_study() / "outputs" / damage.STUDY
    real = [study / name for name in damage.FILES if name.endswith((".json", "scores.csv"))]
    made_up = [json.dumps(values, indent=2).encode() for values in (run, failed, others)]
    return [*made_up, history, *(path.read_bytes() for path in real)]


def _in_folder(name: str) -> Callable[[Path, bytes], None]:
    return lambda inputs, data: write_folder(inputs, **{name: data})


def _as_file(name: str) -> Callable[[Path, bytes], object]:
    return lambda inputs, data: (inputs / name).write_bytes(data)


TARGETS = {
    "study": Target(_studies, _as_file("fuzzed.yaml"), _read_study),
    "dataset": Target(_specs, _in_folder("spec"), read_folder),
    "cases": Target(lambda: [_table()], _in_folder("cases"), read_folder),
    "image": Target(_image_files, _in_folder("image"), _read_image_file),
    "mask": Target(
        lambda: [_mask_file(mode, form) for mode, form in (("L", "PNG"), ("L", "BMP"), ("RGB", "PNG"), ("L", "TIFF"))],
        _in_folder("mask"),
        _read_mask,
    ),
    "archive": Target(_archives, _write_archive, _read_archive),
    "names": Target(lambda: [b"a"], _write_names, _read_names),
    "record": Target(_records, _as_file("fuzzed.json"), _read_record, limit_s=10),
    "network": Target(_networks, _as_file("fuzzed.keras"), _read_network),
}
