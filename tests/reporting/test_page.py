import re
import shutil
from html.parser import HTMLParser

import nbformat
import numpy as np
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from tests.helpers.fake_study import DATASET, disc_mask, fake_image, make_study
from wbcstudy.config import StudyConfig
from wbcstudy.errors import StudyError
from wbcstudy.reporting.figures.canvas import write_figure
from wbcstudy.reporting.figures.images import fig_predictions
from wbcstudy.reporting.page import write_notebook_page, write_report
from wbcstudy.reporting.tables.render import write_tables
from wbcstudy.reporting.text import facts
from wbcstudy.reporting.text.methods_paragraph import tell_methods
from wbcstudy.runs.folders import StudyFolder

SECTIONS = ["answer", "data", "tables", "figures", "runs", "methods", "settings", "repeat", "words", "credits"]
CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
)


class Elements(HTMLParser):
    """All start tags of a page, and its text."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.words, self.inside = [], [], None
        self.feed(page)
        self.text = re.sub(r"\s+", " ", " ".join(self.words))

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.inside = tag

    def handle_data(self, data):
        if self.inside != "style":
            self.words.append(data)

    def handle_endtag(self, tag):
        self.inside = None


def assert_loads_nothing(page):
    for tag, attributes in Elements(page).tags:
        assert tag not in ("script", "link", "iframe", "object", "embed"), tag
        for name in ("src", "srcset"):
            assert (attributes.get(name) or "data:").startswith("data:"), attributes
        assert not any(name.startswith("on") for name in attributes), attributes
    assert not re.search(r"@import|url\(\s*['\"]?(?!data:|#)", page)
    assert "Content-Security-Policy" in page


def report(tmp_path, runs, config, **options):
    study = StudyFolder(tmp_path / config.name)
    write_tables(study, runs)
    page = write_report(study, config, runs, **options).read_text(encoding="utf-8")
    assert_loads_nothing(page)
    ids = [attributes["id"] for _, attributes in Elements(page).tags if "id" in attributes]
    assert [name for name in ids if name in SECTIONS] == SECTIONS
    assert len(ids) == len(set(ids))
    return page, Elements(page)


@pytest.fixture
def config():
    return StudyConfig(name="demo", encoders=("resnet18", "unet"))


def test_the_report_of_a_finished_study(tmp_path, config):
    runs = make_study(tmp_path, config, cases=4)
    generator = np.random.default_rng(0)
    mask = disc_mask(generator)
    figure = fig_predictions([fake_image(mask, generator)], [mask], [mask], ["a"])
    write_figure(figure, tmp_path / "demo" / "figures", "figure2")
    page, elements = report(tmp_path, runs, config)
    assert "the best on the validation images" in elements.text
    assert "How sure is that?" in elements.text and "Is the difference real?" in elements.text
    assert "Trained from scratch, no ImageNet weights." in elements.text
    assert elements.text.count("complete") >= 4 and "failed" not in elements.text
    for words in (*DATASET.values(), "Table 1.", "Table 2.", "Table 3.", "10 training, 4 validation, 4 test"):
        assert str(words) in elements.text
    pictures = [attributes for tag, attributes in elements.tags if tag == "img"]
    assert len(pictures) == 1 and pictures[0]["alt"].startswith("Figure 2")
    links = [attributes["href"] for tag, attributes in elements.tags if tag == "a"]
    assert "../runs/unet__dice__fold0__seed0/train.html" in links and "../tables/table1.csv" in links
    inside = [link[1:] for link in links if link.startswith("#")]
    assert set(inside) <= {attributes.get("id") for _, attributes in elements.tags}
    for link in links:
        assert link.startswith("#") or (tmp_path / "demo" / "report" / link).resolve().exists(), link
    assert page == write_report(StudyFolder(tmp_path / "demo"), config, runs).read_text(encoding="utf-8")


def test_trainings_that_the_limit_of_epochs_ended_are_told(tmp_path, config):
    runs = make_study(tmp_path, config, cases=4)
    words = "ended at the limit of epochs"
    assert not any(words in said for said in facts.tell_cautions(StudyFolder(tmp_path / "demo"), config, runs))
    for run in runs[:2]:
        run.record["epochs"] = run.config.epochs
        run.record["best_epoch"] = run.config.epochs
    runs[1].record["best_epoch"] -= 1
    (told,) = (said for said in facts.tell_cautions(StudyFolder(tmp_path / "demo"), config, runs) if words in said)
    assert told.startswith("2 of 4 trainings") and "1 with the best epoch last: ResNet-18" in told


def test_hardware_of_all_runs_is_named(tmp_path, config):
    runs = make_study(tmp_path, config, cases=4)
    for run, device in zip(
        runs, ("CPU of one kind", "CPU of another", "CPU of one kind", "CPU of one kind"), strict=True
    ):
        run.record.update(device=device, platform="Linux", packages={"tensorflow": "2"})
    _, elements = report(tmp_path, runs, config)
    assert "Hardware: CPU of one kind or CPU of another, Linux." in elements.text


def test_failed_and_missing_runs_are_stated_first_and_with_their_error(tmp_path, config):
    most = config.model_copy(update={"encoders": ("unet",)})
    runs = make_study(tmp_path, most, failed=["unet__dice__fold0__seed0"])
    page, elements = report(tmp_path, runs, config)
    assert "1 of 4 runs failed: unet__dice__fold0__seed0." in elements.text
    assert "2 of 4 runs not started: resnet18__cross_entropy__fold0__seed0" in elements.text
    assert "Out of memory in <script>alert(1)</script> & elsewhere" in elements.text
    assert "To fix: Lower batch_size to 4." in elements.text
    assert 'href="../runs/unet__dice__fold0__seed0/train.ipynb"' in page


def test_a_study_of_one_run(tmp_path):
    config = StudyConfig(name="one", encoders=("vgg16",), losses=("binary_cross_entropy",))
    _, elements = report(tmp_path, make_study(tmp_path, config), config)
    assert "VGG-16 with binary cross-entropy, the only one measured." in elements.text
    assert "How sure is that?" not in elements.text and "Is the difference real?" not in elements.text
    assert "nothing to compare it with" in elements.text


@pytest.mark.parametrize("all_runs", ["none", "failed", "empty"])
def test_a_study_without_any_score(tmp_path, config, all_runs):
    names = [run.name for run in config.runs()]
    options = {all_runs: names} if all_runs != "none" else {}
    runs = make_study(tmp_path, config, **options) if options else []
    _, elements = report(tmp_path, runs, config)
    assert "There is no answer yet" in elements.text
    assert "nan" not in elements.text.lower().split()


def test_names_from_data_are_text(tmp_path, config):
    evil = "<script>alert(1)</script>"
    dataset = {name: f"{evil} {name}" for name in DATASET} | {"label_shares": {"nucleus": 0.1}}
    _, elements = report(tmp_path, make_study(tmp_path, config, dataset=dataset), config, dataset=dataset)
    assert f"{evil} citation" in elements.text and "nucleus 10.0 %" in elements.text


def test_of_thousands_of_runs_the_page_shows_those_that_failed_and_one_of_each_kind():
    names = [f"{method}__dice__fold0__seed{seed}" for method in ("unet", "resnet18") for seed in range(5000)]
    failed = set(names[7:10_000:2000])
    rows = [{"name": name, "status": "failed" if name in failed else "complete"} for name in names]
    shown = [row["name"] for row in facts.pick_rows(rows)]
    assert set(shown) == failed | {"unet__dice__fold0__seed0", "resnet18__dice__fold0__seed0"}
    assert len(facts.pick_rows([row | {"status": "waiting"} for row in rows])) <= facts.MOST_ROWS
    assert facts.pick_rows(rows[:200]) == rows[:200]


def test_the_report_says_how_many_runs_it_leaves_out(tmp_path, config, monkeypatch):
    monkeypatch.setattr(facts, "MOST_ROWS", 4)
    monkeypatch.setattr(facts, "MOST_NAMES", 2)
    many = config.model_copy(update={"seeds": (0, 1)})
    runs = make_study(tmp_path, many, failed=[run.name for run in many.runs() if run.encoder == "unet"], cases=2)
    _, elements = report(tmp_path, runs, many)
    assert "And 4 more: wbcstudy status params/demo.yaml" in elements.text
    assert "4 of 8 runs failed: unet__cross_entropy__fold0__seed0, unet__cross_entropy__fold0__seed1 and 2 more." in (
        elements.text
    )


def test_runs_on_different_data_are_not_compared_silently(tmp_path, config):
    runs = make_study(tmp_path, config)
    runs[0].record["dataset"] = DATASET | {"fingerprint": "other"}
    runs[1].record["split_hash"] = "other"
    said = " ".join(facts.tell_cautions(StudyFolder(tmp_path / "demo"), config, runs))
    assert "2 different versions of the data" in said and "2 different splits" in said


def test_the_methods_paragraph_states_what_a_reviewer_asks(tmp_path):
    config = StudyConfig(
        name="demo",
        encoders=("resnet50", "unet"),
        encoder_weights="imagenet",
        freeze_encoder=True,
        folds=3,
        seeds=(0, 4),
    )
    text = tell_methods(config, DATASET, make_study(tmp_path, config))
    for words in (
        *("2 encoders (ResNet-50 and U-Net)", "2 losses (cross-entropy and Dice loss)", "256 x 256", "3 folds"),
        *("ImageNet weights (frozen; the plain U-Net started from random weights)", "learning rate 0.001"),
        *("tensorflow 2.21.0", "seeds 0 and 4", "wbcstudy 0.1.0 (commit abcdef0123456789)", "at most 100 epochs"),
        *("10 training, 4 validation and 8 test images", DATASET["citation"], "validation images"),
    ):
        assert words in text


def test_the_methods_paragraph_speaks_of_what_was_trained(tmp_path):
    config = StudyConfig(name="demo", encoders=("resnet50", "unet", "vgg16"), losses=("dice", "cross_entropy"))
    runs = make_study(tmp_path, config.model_copy(update={"encoders": ("resnet50", "unet")}))[1:]
    runs[0].record["commit"] = "fedcba"
    text = tell_methods(config, DATASET, runs)
    assert "2 encoders (ResNet-50 and U-Net) were trained with 2 losses" in text and "3 of the 4 pairs" in text
    assert "(commit abcdef0123456789) and 0.1.0 (commit fedcba)" in text
    assert tell_methods(config, DATASET, []).startswith("No network of this study is trained yet")
    said = " ".join(facts.tell_cautions(StudyFolder(tmp_path / "demo"), config, runs))
    assert "2 different versions of this program" in said


def test_pictures_of_an_earlier_report_are_not_shown(tmp_path, config):
    runs = make_study(tmp_path, config, cases=4)
    images, masks = np.zeros((1, 8, 8, 3), np.uint8), np.zeros((1, 8, 8), np.uint8)
    for stem in ("transfer", "figure3", "learning_curves"):
        figure = fig_predictions(images, masks, masks, ["a"])
        write_figure(figure, tmp_path / "demo" / "figures", stem)
    page, _ = report(tmp_path, runs, config)
    assert "another laboratory" not in page and "one column per method" not in page and "Learning curves" in page
    assert "params.yaml -p study again" in page


def test_the_methods_paragraph_tells_a_changing_learning_rate_and_a_fixed_length(tmp_path):
    config = StudyConfig(name="demo", learning_rate_schedule="cosine", epochs=20, patience=20)
    text = tell_methods(config, DATASET, make_study(tmp_path, config))
    assert "learning rate rising to 0.001 in the first epoch and falling to 0 along a cosine" in text
    assert "for 20 epochs; the weights of the best epoch were kept" in text


@pytest.mark.parametrize(
    ("seconds", "words"), [(None, ""), (0.4, "0 s"), (59.6, "1 min 00 s"), (200, "3 min 20 s"), (3720, "1 h 02 min")]
)
def test_durations_are_told(seconds, words):
    assert facts.tell_seconds(seconds) == words


def test_a_notebook_becomes_one_page_that_loads_nothing(tmp_path):
    rich = {"text/html": "<b>kept</b><img src='https://a.example/x.png'><script src='https://a.example/x.js'></script>"}
    png = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
    outputs = [
        new_output("stream", text="epoch 1 of 3 <script>said</script>\n"),
        new_output("display_data", data={"image/png": png}),
        new_output("display_data", data=rich),
        new_output("display_data", data={"application/javascript": "alert(1)"}),
        new_output("error", ename="ValueError", evalue="bad", traceback=["\x1b[31mValueError: bad\x1b[0m"]),
    ]
    cells = [new_markdown_cell("# Train\n\nSee [there](https://b.example) ![x](https://b.example/y.png)")]
    notebook = new_notebook(cells=[*cells, new_code_cell("print('</script>')", outputs=outputs)])
    notebook.metadata["widgets"] = {"application/vnd.jupyter.widget-state+json": {"state": {}}}
    (tmp_path / "run").mkdir()
    nbformat.write(notebook, tmp_path / "run" / "train.ipynb")
    write_notebook_page(tmp_path / "run" / "train.ipynb", tmp_path / "run" / "train.html")
    page = (tmp_path / "run" / "train.html").read_text(encoding="utf-8")
    assert_loads_nothing(page)
    text = Elements(page).text
    assert all(words in text for words in ("Train", "epoch 1 of 3 <script>said</script>", "kept", "ValueError: bad"))
    assert "</script>" in text and f"data:image/png;base64,{png}" in page
    assert "<title>run</title>" in page and 'href="https://b.example"' in page


def test_a_report_that_finds_no_room_leaves_the_one_before(small_disk, config):
    small_disk.resize("20m")
    runs = make_study(small_disk.path, config, cases=3)
    study = StudyFolder(small_disk.path / "demo")
    write_tables(study, runs)
    before = write_report(study, config, runs).read_bytes()
    kept = {path: path.read_bytes() for path in study.runs.rglob("*") if path.is_file()}
    small_disk.fill()
    for write in (lambda: write_tables(study, runs), lambda: write_report(study, config, runs)):
        with pytest.raises(OSError, match="No space left"):
            write()
    assert study.report.read_bytes() == before
    assert {path: path.read_bytes() for path in study.runs.rglob("*") if path.is_file()} == kept
    assert not list(small_disk.path.rglob(".part-*"))


def test_what_is_no_notebook_is_refused_and_nothing_is_written(tmp_path):
    (tmp_path / "half.ipynb").write_text('{"cells": [', encoding="utf-8")
    for name in ("half.ipynb", "absent.ipynb"):
        with pytest.raises(StudyError, match=name):
            write_notebook_page(tmp_path / name, tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine: the report is not opened in a browser")
def test_a_browser_opens_the_report_without_request_error_or_sideways_scroll(tmp_path, config):
    from playwright.sync_api import sync_playwright

    runs = make_study(tmp_path, config, failed=["unet__dice__fold0__seed0"])
    report(tmp_path, runs, config)
    address = (tmp_path / "demo" / "report" / "index.html").as_uri()
    requests, errors, widths = [], [], {}
    with sync_playwright() as player:
        browser = player.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        tab = browser.new_page()
        tab.on("request", lambda request: requests.append(request.url))
        tab.on("console", lambda message: errors.append(message.text))
        tab.on("pageerror", lambda error: errors.append(str(error)))
        tab.goto(address)
        for width in (390, 1300):
            tab.set_viewport_size({"width": width, "height": 800})
            widths[width] = tab.evaluate("document.documentElement.scrollWidth")
        browser.close()
    assert [url for url in requests if not url.startswith("data:")] == [address]
    assert errors == []
    assert widths == {390: 390, 1300: 1300}


def test_a_study_of_earlier_methods_alone_asks_no_network_for_an_answer(tmp_path):
    config = StudyConfig(name="old", encoders=(), baselines=("otsu_levels",))
    page = write_report(StudyFolder(tmp_path / "old"), config, [], {"name": "synthetic"}).read_text(encoding="utf-8")
    assert "see Table 3" in page and "no run is complete with scores" not in page
    assert "U-Nets with 0 encoders" not in page and "No network of this study is trained yet" in page
    assert "Trained from scratch" not in page.split("<nav")[0]
