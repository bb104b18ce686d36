"""The browser of test images in the report."""

import base64
import io
import json
import shutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image
from PIL.ImageColor import getrgb

from tests.helpers.checkout import find_chromium
from tests.helpers.fake_study import disc_mask, fake_image, make_results, with_runs
from wbcstudy.config import StudyConfig
from wbcstudy.data.arrays import read_scored_case
from wbcstudy.data.overlays import draw_difference, draw_overlay
from wbcstudy.labels import DIFFERENCE_COLOURS, IGNORED, REGION_COLOURS
from wbcstudy.reporting.figures.canvas import write_figure
from wbcstudy.reporting.figures.scores import fig_scores
from wbcstudy.reporting.image_browser import MOST_BYTES, _Case, _choose_side, _fit, make_browser, pack_mask, unpack_mask
from wbcstudy.reporting.page import write_report
from wbcstudy.runs.results import read_predictions

CONFIG = StudyConfig(name="demo", encoders=("resnet18", "unet"), losses=("dice",))


@settings(max_examples=30, deadline=None)
@given(
    arrays(np.uint8, array_shapes(min_dims=2, max_dims=2, max_side=40), elements=st.sampled_from([0, 1, 2, IGNORED]))
)
def test_packed_masks_keep_every_pixel(mask):
    np.testing.assert_array_equal(unpack_mask(pack_mask(mask), mask.shape), mask)


def test_long_runs_are_packed_too():
    mask = np.zeros((700, 900), np.uint8)
    mask[300:310, 5:800] = 2
    text = pack_mask(mask)
    assert len(text) < 60
    np.testing.assert_array_equal(unpack_mask(text, mask.shape), mask)


def test_the_page_has_every_test_image_with_the_masks_and_scores_of_each_network(tmp_path):
    results = make_results(tmp_path, CONFIG, cases=4)
    data = json.loads(make_browser(results)["data"])
    assert [entry["id"] for entry in data["cases"]] == [f"test_0_{k}" for k in range(4)]
    assert data["types"] == ["lymphocyte", "monocyte", None, "lymphocyte"]
    assert data["best"] == results.best.method
    for run in results.complete:
        which = [row["name"] for row in data["networks"]].index(run.config.method)
        masks = read_predictions(run.folder)
        scores = run.scores.set_index(["case_id", "region"])["dice"]
        for k, entry in enumerate(data["cases"]):
            shape = entry["size"][::-1]
            np.testing.assert_array_equal(unpack_mask(entry["masks"][which], shape), masks[entry["id"]])
            np.testing.assert_array_equal(
                unpack_mask(entry["expert"], shape), read_scored_case(results.dataset, entry["id"], None)[1]
            )
            expected = [scores[entry["id"], region] for region in data["regions"]]
            assert data["networks"][which]["dice"][k] == pytest.approx(expected, abs=1e-4)
            assert Image.open(io.BytesIO(base64.b64decode(entry["photo"]))).size == tuple(entry["size"])


def test_masks_of_several_trainings_have_their_own_dice(tmp_path):
    results = make_results(tmp_path, CONFIG.model_copy(update={"seeds": (3, 1)}), cases=3)
    browser = make_browser(results)
    data, first = json.loads(browser["data"]), results.study.run("unet__dice__fold0__seed1")
    row = next(row for row in data["networks"] if row["name"] == "unet__dice")
    scores = results.scores[results.scores["run"] == first.name].set_index(["case_id", "region"])["dice"]
    assert row["trainings"] == 2 and row["own"][0][0] == pytest.approx(scores["test_0_0", "nucleus"], abs=1e-4)
    assert row["own"] != row["dice"]
    mask = unpack_mask(data["cases"][0]["masks"][data["networks"].index(row)], data["cases"][0]["size"][::-1])
    np.testing.assert_array_equal(mask, read_predictions(first)["test_0_0"])
    assert any("first training" in sentence for sentence in browser["notes"])


def test_networks_whose_masks_were_not_kept_are_named(tmp_path):
    results = make_results(tmp_path, CONFIG, cases=3, older=["unet__dice__fold0__seed0"])
    browser = make_browser(results)
    masks = [entry["masks"] for entry in json.loads(browser["data"])["cases"]]
    named = [row["name"] for row in json.loads(browser["data"])["networks"]]
    assert all(row[named.index("unet__dice")] == "" and row[named.index("resnet18__dice")] for row in masks)
    assert [sentence for sentence in browser["notes"] if "No predicted masks were kept of U-Net" in sentence]


def test_without_images_one_sentence_says_why_there_is_no_browser(tmp_path):
    results = make_results(tmp_path, CONFIG, cases=3)
    shutil.rmtree(tmp_path / "data_of_demo")
    page = write_report(with_runs(results)).read_text(encoding="utf-8")
    assert "The browser of all test images is left out" in page
    assert 'id="browser-data"' not in page and 'id="image-browser"' not in page


def many_cases(cases, networks, size=300):
    """Make cases with the noise of photographs, and predictions with ragged borders."""
    generator = np.random.default_rng(0)
    made, masks = {}, [{} for _ in range(networks)]
    for k in range(cases):
        reference = disc_mask(generator, size)
        made[f"c{k}"] = _Case(fake_image(reference, generator), reference, (size, size))
        for stored in masks:
            shift = generator.integers(-2, 3, (size, 1))
            stored[f"c{k}"] = pack_mask(np.take_along_axis(reference, (np.arange(size) + shift) % size, axis=1))
    dice = {name: [0.9, 0.8, 0.9] for name in made}
    rows = [
        {"name": f"n{k}", "title": f"n{k}", "trainings": 1, "masks": stored, "dice": dice, "own_dice": dice}
        for k, stored in enumerate(masks)
    ]
    return made, rows


def test_eighteen_networks_and_sixty_images_fit_at_full_size():
    cases, networks = many_cases(60, 18)
    data, shown = _fit(cases, networks, list(cases), MOST_BYTES)
    assert len(shown) == 60 and all(entry["size"] == (300, 300) for entry in data["cases"])
    assert len(json.dumps(data)) < MOST_BYTES


def test_images_are_reduced_and_then_left_out_until_they_fit():
    cases, networks = many_cases(4, 2, 120)
    full = len(json.dumps(_fit(cases, networks, list(cases), 10**9)[0]["cases"]))
    data, shown = _fit(cases, networks, list(cases), full // 2)
    assert len(shown) == 4 and data["cases"][0]["size"][0] < 120
    entry = data["cases"][0]
    assert unpack_mask(entry["masks"][1], entry["size"][::-1]).max() == 2
    _, shown = _fit(cases, networks, ["c2", "c0", "c1", "c3"], full // 30)
    assert list(shown) == ["c2"], "the image with the lowest Dice stays"


def test_images_are_reduced_only_until_a_nucleus_is_seen():
    field = np.zeros((1500, 2000), np.uint8)
    assert _choose_side(field) == 320
    field[700:800, 900:1000] = 2
    assert 800 < _choose_side(field) < 900, "100 of 2000 px across"
    assert _choose_side(field[700:900, 900:1100]) == 200


@pytest.mark.slow
@pytest.mark.skipif(find_chromium() is None, reason="no Chromium on this machine")
def test_a_click_on_a_point_opens_its_image_with_layers_that_can_be_switched(tmp_path):
    from playwright.sync_api import sync_playwright

    results = make_results(tmp_path, CONFIG, cases=6)
    write_figure(fig_scores(results.scores), results.study.figures, "scores")
    page = write_report(results)
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=find_chromium(), args=["--no-sandbox"])
        window, errors, requests = chromium.new_page(viewport={"width": 1200, "height": 900}), [], []
        window.on("pageerror", lambda error: errors.append(str(error)))
        window.on("request", lambda request: requests.append(request.url[:60]))
        window.goto(page.as_uri())
        assert window.locator(".points circle").count() == 2 * 2 * 6

        point = window.locator('.points circle[data-network="1"][data-case="4"]').first
        point.click()
        title = point.get_attribute("aria-label")
        assert title.startswith("test_0_4, ResNet-18, nucleus: Dice ")
        assert window.locator("#browser-name").inner_text() == "test_0_4, monocyte"
        assert window.locator("#browser-scores").inner_text().startswith("ResNet-18. Dice: nucleus " + title[-5:])
        assert window.locator("#browser-network").input_value() == "1"

        def pixels():
            script = "c => Array.from(c.getContext('2d').getImageData(0, 0, c.width, c.height).data)"
            return np.array(window.locator("#browser-canvas").evaluate(script), np.uint8).reshape(32, 32, 4)

        # The same pixels as the figures have.
        image, expert = read_scored_case(results.dataset, "test_0_4", None)
        predicted = read_predictions(results.study.run("resnet18__dice__fold0__seed0"))["test_0_4"]
        window.keyboard.press("p")
        drawn, expected = pixels(), draw_overlay(image, expert, opacity=0)
        outlines = np.zeros(expert.shape, bool)
        for region in ("nucleus", "cytoplasm"):
            outlines |= (expected == getrgb(REGION_COLOURS[region])).all(axis=2)
        np.testing.assert_array_equal(drawn[..., 3] > 0, outlines)
        np.testing.assert_array_equal(drawn[outlines][:, :3], expected[outlines])
        window.keyboard.press("e")
        assert not pixels().any()
        window.keyboard.press("d")
        drawn, expected = pixels(), draw_difference(image, expert, predicted)
        wrong = np.zeros(expert.shape, bool)
        for colour in DIFFERENCE_COLOURS.values():
            wrong |= (expected == getrgb(colour)).all(axis=2)
        np.testing.assert_array_equal(drawn[..., 3] > 0, wrong)
        np.testing.assert_array_equal(drawn[wrong][:, :3], expected[wrong])

        window.locator("#browser-type").select_option("monocyte")
        thumbs = window.locator("#browser-wall button")
        assert thumbs.count() == 2 and all("monocyte" in text for text in thumbs.all_inner_texts())
        window.locator("#browser-sort").select_option("best")
        assert thumbs.all_inner_texts() == sorted(thumbs.all_inner_texts(), key=lambda text: text[-5:], reverse=True)
        thumbs.first.click()
        before = window.locator("#browser-name").inner_text()
        window.keyboard.press("ArrowRight")
        assert window.locator("#browser-name").inner_text() != before

        # An image that the filters hide is shown when its point is chosen, also by the keyboard.
        window.locator('.points circle[tabindex="0"]').focus()
        window.keyboard.press("Enter")
        assert window.locator("#browser-name").inner_text().startswith("test_0_") and thumbs.count() == 6
        chromium.close()
    assert errors == [] and all(url.startswith(("file:", "data:")) for url in requests)
