"""The report's page."""

import shutil

import numpy as np
import pytest

from tests.helpers.fake_study import DATASET, disc_mask, fake_image, make_results, with_runs
from tests.helpers.html_page import Elements, assert_loads_nothing
from wbcstudy.config import StudyConfig
from wbcstudy.reporting import page as page_module
from wbcstudy.reporting.figures.canvas import write_figure
from wbcstudy.reporting.figures.images import fig_predictions
from wbcstudy.reporting.page import write_report
from wbcstudy.reporting.tables.study_tables import write_tables
from wbcstudy.reporting.text import cautions

SECTIONS = ["answer", "data", "tables", "runs", "methods", "settings", "repeat", "words", "credits"]
CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)


def report(results):
    write_tables(results)
    page = write_report(results).read_text(encoding="utf-8")
    assert_loads_nothing(page)
    ids = [attributes["id"] for _, attributes in Elements(page).tags if "id" in attributes]
    assert [name for name in ids if name in SECTIONS] == SECTIONS
    assert len(ids) == len(set(ids))
    return page, Elements(page)


@pytest.fixture
def config():
    return StudyConfig(name="demo", encoders=("resnet18", "unet"))


def test_the_report_of_a_finished_study(tmp_path, config):
    results = make_results(tmp_path, config, cases=4)
    generator = np.random.default_rng(0)
    mask = disc_mask(generator)
    figure = fig_predictions([fake_image(mask, generator)], [mask], [mask], ["a"])
    write_figure(figure, results.study.figures, "figure2")
    page, elements = report(results)
    assert "the highest Dice on the validation images" in elements.text
    assert "How certain is this?" in elements.text and "Are the differences significant?" in elements.text
    assert "Trained from scratch, without ImageNet weights." in elements.text
    assert elements.text.count("complete") >= 4 and "failed" not in elements.text
    for text in (*DATASET.values(), "Table 1.", "Table 2.", "Table 3.", "10 training, 4 validation and 4 test images"):
        assert str(text) in elements.text
    images = [attributes for tag, attributes in elements.tags if tag == "img"]
    assert len(images) == 1 and images[0]["alt"].startswith("Figure 2")
    links = [attributes["href"] for tag, attributes in elements.tags if tag == "a"]
    assert "../runs/unet__dice__fold0__seed0/train.html" in links and "../tables/table1.csv" in links
    inside = [link[1:] for link in links if link.startswith("#")]
    assert set(inside) <= {attributes.get("id") for _, attributes in elements.tags}
    for link in links:
        assert link.startswith("#") or (results.study.report.parent / link).resolve().exists(), link
    assert page == write_report(with_runs(results)).read_text(encoding="utf-8")


def test_tables_are_numbered_in_the_order_of_the_page(tmp_path, config):
    results = make_results(tmp_path, config)
    page, _ = report(results)
    positions = [page.index(f'id="block-{layout.stem}"') for _, layout in results.tables.values()]
    assert positions == sorted(positions)
    assert [layout.number for _, layout in results.tables.values()] == sorted(
        layout.number for _, layout in results.tables.values()
    )


def test_failed_and_missing_runs_are_cautions_with_their_error(tmp_path, config):
    most = config.model_copy(update={"encoders": ("unet",)})
    results = make_results(tmp_path, most, failed=["unet__dice__fold0__seed0"])
    page, elements = report(with_runs(results, config=results.config.model_copy(update={"encoders": config.encoders})))
    assert "1 of 4 runs failed: unet__dice__fold0__seed0." in elements.text
    assert "2 of 4 runs not started: resnet18__cross_entropy__fold0__seed0" in elements.text
    assert "Out of memory in <script>alert(1)</script> & elsewhere" in elements.text
    assert "To fix: Lower batch_size to 4." in elements.text
    assert 'href="../runs/unet__dice__fold0__seed0/train.ipynb"' in page


def test_a_study_of_one_run(tmp_path):
    config = StudyConfig(name="one", encoders=("vgg16",), losses=("binary_cross_entropy",))
    _, elements = report(make_results(tmp_path, config))
    assert "VGG-16 with binary cross-entropy is the only pair of encoder and loss that was measured." in elements.text
    assert "How certain is this?" not in elements.text
    assert "Are the differences significant?" not in elements.text
    assert "nothing to compare it with" in elements.text


@pytest.mark.parametrize("all_runs", ["none", "failed", "empty"])
def test_a_study_without_any_score(tmp_path, config, all_runs):
    names = [run.name for run in config.runs()]
    results = make_results(tmp_path, config, **({all_runs: names} if all_runs != "none" else {}))
    _, elements = report(with_runs(results, []) if all_runs == "none" else results)
    assert "No answer yet" in elements.text
    assert "nan" not in elements.text.lower().split()


def test_names_from_data_are_text(tmp_path, config):
    evil = "<script>alert(1)</script>"
    dataset = {name: f"{evil} {name}" for name in DATASET} | {"cases": 8, "label_shares": {"nucleus": 0.1}}
    _, elements = report(make_results(tmp_path, config, dataset=dataset))
    assert f"{evil} citation" in elements.text and "nucleus 10.0 %" in elements.text


def test_the_page_lists_not_more_runs_than_it_can_show(tmp_path, config, monkeypatch):
    monkeypatch.setattr(page_module, "_MOST_ROWS", 4)
    monkeypatch.setattr(cautions, "_MOST_NAMES", 2)
    many = config.model_copy(update={"seeds": (0, 1)})
    failed = [run.name for run in many.runs() if run.encoder == "unet"]
    _, elements = report(make_results(tmp_path, many, failed=failed, cases=2))
    assert "4 more runs are not listed." in elements.text
    first = "unet__cross_entropy__fold0__seed0, unet__cross_entropy__fold0__seed1"
    assert f"4 of 8 runs failed: {first} and 2 more." in elements.text
    # The failed ones that fit, and the first complete run of each encoder and loss.
    listed = [attributes["href"] for tag, attributes in elements.tags if "runs/" in attributes.get("href", "")]
    assert sum("train.html" in link for link in listed) == 4 and sum("train.ipynb" in link for link in listed) == 2


def test_figures_of_an_earlier_report_are_not_shown(tmp_path, config):
    results = make_results(tmp_path, config, cases=4)
    images, masks = np.zeros((1, 8, 8, 3), np.uint8), np.zeros((1, 8, 8), np.uint8)
    for stem in ("transfer", "figure3", "learning_curves"):
        write_figure(fig_predictions(images, masks, masks, ["a"]), results.study.figures, stem)
    page, _ = report(results)
    assert "Own test images and other" not in page and "one column per method" not in page
    assert "Learning curves" in page and "--study again" in page


def test_a_report_on_a_full_disk_leaves_the_earlier_one(small_disk, config):
    small_disk.resize("20m")
    results = make_results(small_disk.path, config, cases=3)
    write_tables(results)
    before = write_report(results).read_bytes()
    kept = {path: path.read_bytes() for path in results.study.runs.rglob("*") if path.is_file()}
    small_disk.fill()
    for write in (write_tables, write_report):
        with pytest.raises(OSError, match="No space left"):
            write(results)
    assert results.study.report.read_bytes() == before
    assert {path: path.read_bytes() for path in results.study.runs.rglob("*") if path.is_file()} == kept
    assert not list(small_disk.path.rglob(".part-*"))


def test_a_study_of_earlier_methods_alone(tmp_path, config):
    results = make_results(tmp_path, config)
    methods = results.config.model_copy(update={"encoders": (), "baselines": ("otsu_levels",)})
    page = write_report(with_runs(results, [], config=methods)).read_text(encoding="utf-8")
    assert "see Table 3" in page and "No answer yet" not in page
    assert "U-Nets with 0 encoders" not in page and "No network of this study is trained yet" in page
    assert "Trained from scratch" not in page.split("<nav")[0]


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine: the report is not opened in a browser")
def test_a_browser_opens_the_report_without_request_error_or_sideways_scroll(tmp_path, config):
    from playwright.sync_api import sync_playwright

    results = make_results(tmp_path, config, failed=["unet__dice__fold0__seed0"])
    report(results)
    address = results.study.report.as_uri()
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


def test_runs_of_own_notebooks_and_losses_are_marked_in_the_table(tmp_path, config):
    results = make_results(tmp_path, config)
    run, other = results.runs[:2]
    run.record["notebook"] = {"name": "my_notebooks/2_train.ipynb", "sha256": "0", "shipped": False}
    run.record["own_parts"] = {"loss": [{"name": "Tversky", "sha256": "0", "settings": {}}]}
    marks = {row["name"]: row["own"] for row in page_module._list_runs(results)}
    assert marks[run.name] == "own notebook and own loss"
    assert marks[other.name] == ""
