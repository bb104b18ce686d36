"""The report's page."""

import shutil
from pathlib import Path

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
    assert len(images) == 2 and all("Dice of an image is 0." in image["alt"] for image in images)
    links = [attributes["href"] for tag, attributes in elements.tags if tag == "a"]
    assert "../runs/unet__dice__fold0__seed0/train.html" in links
    assert "Figure 1." in elements.text and "Figure 2." not in elements.text
    inside = [link[1:] for link in links if link.startswith("#")]
    assert set(inside) <= {attributes.get("id") for _, attributes in elements.tags}
    for link in links:
        assert link.startswith(("#", "data:")) or (results.study.report.parent / link).resolve().exists(), link
    assert page == write_report(with_runs(results)).read_text(encoding="utf-8")


def test_tables_are_numbered_in_the_order_of_the_page(tmp_path, config):
    results = make_results(tmp_path, config)
    page, _ = report(results)
    positions = [page.index(f'id="{layout.stem}"') for _, layout in results.tables.values()]
    assert positions == sorted(positions)
    assert [layout.number for _, layout in results.tables.values()] == sorted(
        layout.number for _, layout in results.tables.values()
    )


def test_a_table_that_a_study_does_not_have_is_named(tmp_path, config):
    results = make_results(tmp_path, config)
    _, elements = report(results)
    shown = {layout.number for _, layout in results.tables.values()}
    for number in range(1, 13):
        assert (f"Table {number}, " in elements.text) == (number not in shown), number


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
    assert "Trained from scratch" not in page.split('id="data"')[0]


@pytest.fixture(scope="module")
def mailed(tmp_path_factory):
    """The page of a study with a failed run, alone in another folder, as received by mail."""
    folder = tmp_path_factory.mktemp("mailed")
    config = StudyConfig(name="demo", encoders=("resnet18", "unet"), seeds=(0, 1))
    results = make_results(folder / "study", config, failed=["unet__dice__fold0__seed1"], cases=5)
    generator = np.random.default_rng(0)
    mask = disc_mask(generator)
    write_figure(
        fig_predictions([fake_image(mask, generator)], [mask], [mask], ["a"]), results.study.figures, "figure2"
    )
    report(results)
    return results, Path(shutil.copy(results.study.report, folder / "report (1).html"))


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine: the report is not opened in a browser")
def test_a_page_that_was_mailed_alone_works_in_a_browser(mailed):
    from playwright.sync_api import sync_playwright

    results, page = mailed
    requests, errors = [], []
    with sync_playwright() as player:
        browser = player.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        tab = browser.new_page(viewport={"width": 1300, "height": 800}, color_scheme="light")
        tab.on("request", lambda request: requests.append(request.url))
        tab.on("console", lambda message: errors.append(message.text))
        tab.on("pageerror", lambda error: errors.append(str(error)))
        tab.goto(page.as_uri())
        check_sorting(tab)
        check_folds(tab)
        check_files(tab, results)
        check_colours(tab)
        for width in (1300, 390):
            tab.set_viewport_size({"width": width, "height": 800})
            assert tab.evaluate("document.documentElement.scrollWidth") == width
            check_access(tab)
        # The contents are closed on a small screen, and stay in view.
        assert not tab.locator(".contents a").first.is_visible()
        tab.locator("#words").scroll_into_view_if_needed()
        assert tab.get_by_text("Contents", exact=True).is_visible()
        browser.close()
    # The two pages themselves, and nothing else.
    assert {url for url in requests if not url.startswith("data:")} == {page.as_uri(), results.study.report.as_uri()}
    assert errors == []


def test_runs_of_own_notebooks_and_losses_are_marked_in_the_table(tmp_path, config):
    results = make_results(tmp_path, config)
    run, other = results.runs[:2]
    run.record["notebook"] = {"name": "my_notebooks/2_train.ipynb", "sha256": "0", "shipped": False}
    run.record["own_parts"] = {"loss": [{"name": "Tversky", "sha256": "0", "settings": {}}]}
    marks = {row["name"]: row["own"] for row in page_module._list_runs(results)}
    assert marks[run.name] == "own notebook and own loss"
    assert marks[other.name] == ""


def check_sorting(tab):
    head = tab.locator("#table1 .heads th").nth(3)
    column = tab.locator("#table1 tbody tr td:nth-child(4)")

    def values():
        return [float(text.split()[0]) for text in column.all_inner_texts() if text[:1].isdigit()]

    before = column.all_inner_texts()
    assert head.get_attribute("aria-sort") is None
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") == "descending"
    assert values() == sorted(values(), reverse=True) and len(set(values())) > 1
    head.get_by_role("button").press("Enter")
    assert head.get_attribute("aria-sort") == "ascending" and values() == sorted(values())
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") is None and column.all_inner_texts() == before
    # The error of a run moves with it.
    tab.locator("#runs thead th").first.get_by_role("button").click()
    rows = tab.locator("#runs tbody tr").all_inner_texts()
    failed = next(index for index, text in enumerate(rows) if text.startswith("unet__dice__fold0__seed1"))
    assert "Out of memory" in rows[failed + 1]


def check_folds(tab):
    words = tab.locator("#words dl")
    assert not words.is_visible()
    tab.locator("#words summary").click()
    assert words.is_visible()
    tab.locator("#words summary").click()
    assert not words.is_visible()
    # A link into a folded part opens it.
    tab.locator("main a[href='#words']").first.click()
    tab.locator("#words[open]").wait_for()


def check_files(tab, results):
    with tab.expect_download() as download:
        tab.locator("#table1 .files a", has_text="CSV").click()
    assert download.value.suggested_filename == "demo_table1.csv"
    assert Path(download.value.path()).read_bytes() == (results.study.tables / "table1.csv").read_bytes()
    # The files of the study are not here.
    dead = "[...document.querySelectorAll('a')].filter(a => !/^(#|data:|https:)/.test(a.getAttribute('href'))).length"
    assert tab.evaluate(dead) == 0
    assert tab.locator("#runs td.name", has_text="unet__dice__fold0__seed0").is_visible()
    tab.goto(results.study.report.as_uri())
    assert tab.locator("#runs td.name a").count() == len(results.runs)
    tab.go_back()


def check_colours(tab):
    background = "getComputedStyle(document.body).backgroundColor"
    light = tab.evaluate(background)
    tab.get_by_role("button", name="Dark colours").click()
    assert tab.evaluate(background) != light
    check_access(tab)
    tab.get_by_role("button", name="Light colours").click()
    assert tab.evaluate(background) == light


def check_access(tab):
    """No rule of axe-core is broken, in folded parts either."""
    from axe_playwright_python.sync_playwright import Axe

    tab.evaluate("document.querySelectorAll('main details').forEach(part => part.open = true)")
    assert Axe().run(tab).response["violations"] == []
