"""Ignored mask values neither train nor score, anywhere; without them nothing changes."""

import nbformat
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy.ndimage import maximum_filter

from tests.helpers.checkout import ROOT
from tests.helpers.colour_run import build_colour_network, paint, round_cells
from tests.helpers.drawn_cases import draw_case
from wbcstudy.baselines.base import draw_training_pixels
from wbcstudy.baselines.khouani2020 import MaskRcnn
from wbcstudy.baselines.methods import build_method
from wbcstudy.baselines.superpixels import superpixel_labels
from wbcstudy.config import RunConfig, StudyConfig
from wbcstudy.config_io import write_yaml
from wbcstudy.data.arrays import label_probabilities, majority, read_cases, read_training_cases, resize_shares
from wbcstudy.data.datasets import load_dataset
from wbcstudy.data.duplicates import compare_masks
from wbcstudy.data.overlays import colour_mask, draw_difference, draw_overlay
from wbcstudy.data.records import read_split
from wbcstudy.errors import StudyError
from wbcstudy.labels import IGNORED
from wbcstudy.nets.backend import load_keras
from wbcstudy.nets.batches import make_batches, show_augmented
from wbcstudy.nets.losses import build_loss
from wbcstudy.nets.model_file import load_model
from wbcstudy.registry import LOSSES
from wbcstudy.reporting.page import write_report
from wbcstudy.reporting.results import load_results
from wbcstudy.runs.results import read_predictions
from wbcstudy.scoring.boundary import score_boundaries, score_boundary
from wbcstudy.scoring.calibration import ConfidenceCounts
from wbcstudy.scoring.evaluation import score_masks
from wbcstudy.scoring.metrics import count_regions

DRAW = np.random.default_rng(0)


def probabilities(*shape):
    values = DRAW.random((*shape, 3)).astype(np.float32) + 0.1
    return values / values.sum(axis=-1, keepdims=True)


def targets(mask):
    """Shares as the loss gets them: three labels, and what has no label."""
    return np.eye(4, dtype=np.float32)[np.where(mask == IGNORED, 3, mask)]


@pytest.fixture
def dataset(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    for number in range(4):
        image, mask = draw_case(number)
        mask[:, 12:] = 99
        Image.fromarray(image).save(tmp_path / f"images/{number}.png")
        Image.fromarray(mask).save(tmp_path / f"masks/{number}.png")
    text = (
        "name: a\nimages: images/{case}.png\nmasks: masks/{case}.png\nlabels: {background: 0, cytoplasm: 1, nucleus: 2}"
    )
    (tmp_path / "dataset.yaml").write_text(f"{text}\nignore: 99\n")
    return load_dataset(tmp_path)


@pytest.mark.parametrize("name", LOSSES)
class TestLosses:
    def test_what_is_ignored_has_no_loss(self, name):
        loss, mask, predicted = build_loss(name), DRAW.integers(0, 3, (2, 4, 6)), probabilities(2, 4, 6)
        mask[:, :, 4:] = IGNORED
        rest = loss(targets(mask)[:, :, :4, :3], predicted[:, :, :4])
        assert float(loss(targets(mask), predicted)) == pytest.approx(float(rest), rel=1e-5)

    def test_what_is_ignored_has_no_gradient(self, name):
        load_keras()
        import tensorflow as tf

        mask = DRAW.integers(0, 3, (2, 4, 6))
        mask[:, :, 4:] = IGNORED
        logits = tf.constant(DRAW.normal(size=(2, 4, 6, 3)).astype(np.float32))
        with tf.GradientTape() as tape:
            tape.watch(logits)
            value = build_loss(name)(targets(mask), load_keras().ops.softmax(logits))
        gradient = tape.gradient(value, logits).numpy()
        assert not gradient[:, :, 4:].any()
        assert np.abs(gradient[:, :, :4]).max() > 0

    def test_with_nothing_ignored_the_value_is_the_same(self, name):
        loss, mask, predicted = build_loss(name), DRAW.integers(0, 3, (2, 4, 6)), probabilities(2, 4, 6)
        without = float(loss(np.eye(3, dtype=np.float32)[mask], predicted))
        assert float(loss(targets(mask), predicted)) == pytest.approx(without, rel=1e-6)

    def test_a_batch_that_is_ignored_has_no_loss(self, name):
        value = float(build_loss(name)(targets(np.full((1, 4, 4), IGNORED)), probabilities(1, 4, 4)))
        assert value == pytest.approx(0, abs=1e-6)


class TestArrays:
    def test_the_share_without_label_is_kept_through_resizing_and_augmentation(self, dataset):
        config = RunConfig(encoder="mobilenet", image_size=32, dataset="a")
        part = read_training_cases(dataset, list("0123"), 32)
        assert part.shares.shape[-1] == 3
        assert (part.masks[:, :, -2:] == IGNORED).all()
        assert not (part.masks[:, :, :8] == IGNORED).any()
        _, shares = next(iter(make_batches(part.images, part.shares, config, 1, part.aspects)))
        assert shares.shape[1:] == (32, 32, 4)
        np.testing.assert_allclose(shares.numpy().sum(axis=-1), 1, atol=0.02)
        assert set(np.unique(show_augmented(part, config)[3])) <= {0, 1, 2, IGNORED}

    def test_masks_without_ignored_pixels_have_two_shares(self):
        mask = draw_case()[1]
        assert resize_shares(mask, 6, 8).shape == (6, 8, 2)
        mask[0, 0] = IGNORED
        shares = resize_shares(mask, 12, 16)
        np.testing.assert_array_equal(majority(shares), mask)
        assert label_probabilities(shares)[0, 0].tolist() == [0, 0, 0, 1]

    def test_references_keep_them(self, dataset):
        assert (read_cases(dataset, ["0"], 8).references[0][:, 12:] == IGNORED).all()


class TestScores:
    def test_counts_are_those_of_the_rest(self):
        reference, predicted = DRAW.integers(0, 3, (9, 9)), DRAW.integers(0, 3, (9, 9))
        expected = count_regions(reference[:, :6], predicted[:, :6])
        reference[:, 6:] = IGNORED
        assert count_regions(reference, predicted) == expected
        frame = score_masks("a", ["1"], [None], [reference], [predicted])
        assert (frame[["tp", "fp", "fn", "tn"]].sum(axis=1) == 54).all()

    def test_confidence_is_that_of_the_rest(self):
        reference, predicted = DRAW.integers(0, 3, (9, 9)), probabilities(9, 9)
        rest, counted = ConfidenceCounts(), ConfidenceCounts()
        rest.add(reference[:, :6], predicted[:, :6])
        reference[:, 6:] = IGNORED
        counted.add(reference, predicted)
        for curve in rest.counts:
            np.testing.assert_allclose(counted.counts[curve], rest.counts[curve])

    def test_a_boundary_inside_the_void_is_not_judged(self):
        reference = np.zeros((40, 40), np.uint8)
        reference[8:32, 8:32] = IGNORED
        reference[12:28, 12:28] = 2
        for margin in (8, 10, 12):  # anywhere in the void
            predicted = np.zeros((40, 40), np.uint8)
            predicted[margin : 40 - margin, margin : 40 - margin] = 2
            nucleus = score_boundaries("a", ["1"], [reference], [predicted]).set_index("region").loc["nucleus"]
            assert np.isnan(nucleus["nsd"])

    def test_a_boundary_that_misses_the_void_is_judged_by_its_distance(self):
        ignored = np.zeros((40, 40), bool)
        ignored[8:32, 8:32] = True
        reference, predicted = np.zeros((2, 40, 40), bool)
        reference[12:28, 12:28] = predicted[16:24, 16:24] = True
        ignored[12:28, 12:28] = False
        score = score_boundary(reference, predicted, ignored=ignored)
        assert score.nsd == 0
        assert score.assd_px == pytest.approx(4, abs=0.3)

    def test_without_ignored_pixels_boundaries_are_as_before(self):
        reference, predicted = DRAW.random((2, 30, 30)) < 0.5
        assert score_boundary(reference, predicted, ignored=np.zeros((30, 30), bool)) == score_boundary(
            reference, predicted
        )


class TestEarlierMethods:
    def test_pixels_without_label_are_not_drawn(self):
        image, mask = draw_case()
        mask[:, 8:] = IGNORED
        _, labels = draw_training_pixels([image], [mask], lambda image: image.astype(float), 100, DRAW)
        assert set(labels) == {0, 1, 2}
        assert len(labels) <= (mask != IGNORED).sum()

    def test_superpixels_without_label_have_none(self):
        mask = np.array([[0, 1, 1, IGNORED, IGNORED, IGNORED]], np.uint8)
        assert superpixel_labels(mask, np.array([[0, 0, 0, 0, 1, 1]])).tolist() == [1, IGNORED]

    @pytest.mark.parametrize("name", ["benazzouz2013", "otsu_levels"])
    def test_methods_accept_them(self, name):
        cases = [draw_case(seed, 40, 40) for seed in range(3)]
        for _, mask in cases:
            mask[:, 30:] = IGNORED
        method = build_method(name)
        method.fit([image for image, _ in cases], [mask for _, mask in cases], np.random.default_rng(0))
        assert set(np.unique(method.predict(cases[0][0]))) <= {0, 1, 2}

    def test_mask_rcnn_refuses_them(self):
        image, mask = draw_case()
        mask[:, 8:] = IGNORED
        with pytest.raises(StudyError, match="cannot leave out ignored pixels"):
            MaskRcnn().fit([image], [mask], np.random.default_rng(0))


class TestStudy:
    """The cells of the training notebook and the report, on masks with a void border around each cell."""

    VOID = 99

    @pytest.fixture(scope="class")
    @classmethod
    def study(cls, tmp_path_factory):
        """The dataset, the first and the trained network, the run's folder, and the study's file."""
        folder = tmp_path_factory.mktemp("void")
        draw = np.random.default_rng(1)
        for name in ("images", "masks"):
            (folder / "data" / name).mkdir(parents=True)
        for number in range(12):
            mask = round_cells(32, 32, [draw.integers(10, 22, 2)])
            image = paint(mask) + draw.integers(0, 12, (32, 32, 1), dtype=np.uint8)
            mask[(maximum_filter(mask > 0, 5) & (mask == 0))] = cls.VOID
            Image.fromarray(image).save(folder / f"data/images/{number}.png")
            Image.fromarray(mask).save(folder / f"data/masks/{number}.png")
        patterns = "images: images/{case}.png\nmasks: masks/{case}.png\n"
        labels = f"labels: {{background: 0, cytoplasm: 1, nucleus: 2}}\nignore: {cls.VOID}\n"
        (folder / "data/dataset.yaml").write_text(f"name: void\n{patterns}{labels}")
        # One step on all images at once. Flips change neither the loss nor the counts of a 1x1 convolution.
        settings = {"dataset": str(folder / "data"), "image_size": 32, "batch_size": 64, "augmented_copies": 1}
        settings |= {"epochs": 1, "rotation_degrees": 0.0, "zoom": 0.0, "brightness": 0.0, "precision": "float32"}
        settings |= {"loss": "cross_entropy", "near_duplicates": False, "learning_rate": 0.01, "dropout": 0.0}
        config = StudyConfig(name="void", encoders=["unet"], losses=["cross_entropy"], baselines=[])
        config = config.model_copy(update={name: settings[name] for name in settings if name != "loss"})
        write_yaml(config, folder / "void.yaml")
        first = build_colour_network()
        head = first.get_layer("head")
        head.set_weights([head.get_weights()[0] * 0.3, head.get_weights()[1] * 0.31])
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("WBCSTUDY_OUTPUTS", str(folder / "outputs"))
            patch.setattr("wbcstudy.nets.unet.build_unet", lambda config: load_keras().models.clone_model(first))
            run = cls._train(settings | {"study": "void", "encoder": "unet"}, first)
            yield load_dataset(folder / "data"), first, run, folder / "void.yaml"

    @staticmethod
    def _train(settings, first):
        namespace = {}
        for cell in nbformat.read(ROOT / "notebooks" / "2_train.ipynb", as_version=4).cells:
            if cell.cell_type != "code":
                continue
            exec(cell.source, namespace)
            if "parameters" in cell.metadata.get("tags", []):
                namespace |= settings
            if "model" in namespace and "result" not in namespace:
                namespace["model"].set_weights(first.get_weights())
        return namespace["folder"]

    def _cross_entropy(self, network, dataset, case_ids):
        """The mean of -log of the probability of the label, over all labelled pixels."""
        losses = []
        for case_id in case_ids:
            case = dataset.case(case_id)
            mask, image = np.array(Image.open(case.mask_path)), np.array(Image.open(case.image_path))
            predicted = network(image[None].astype(np.float32)).numpy()[0]
            labelled = mask != self.VOID
            losses.append(-np.log(predicted[labelled, mask[labelled]]))
        return np.concatenate(losses).mean()

    def test_the_loss_is_that_of_the_labelled_pixels(self, study):
        dataset, first, run, _ = study
        (split,), history = read_split(run.study.split)[0], pd.read_csv(run.history)
        trained = load_model(run.model)
        assert history["loss"][0] == pytest.approx(self._cross_entropy(first, dataset, split.train), rel=1e-3)
        assert history["val_loss"][0] == pytest.approx(
            self._cross_entropy(trained, dataset, split.validation), rel=1e-3
        )

    def test_the_counts_are_those_of_the_labelled_pixels(self, study):
        dataset, _, run, _ = study
        rows = pd.read_csv(run.scores, dtype={"case_id": str}).set_index(["case_id", "region"])
        regions = {"nucleus": [2], "cytoplasm": [1], "cell": [1, 2]}
        for case_id, predicted in read_predictions(run).items():
            mask = np.array(Image.open(dataset.case(case_id).mask_path))
            predicted, mask = predicted[mask != self.VOID], mask[mask != self.VOID]
            for region, labels in regions.items():
                is_there, was_found = np.isin(mask, labels), np.isin(predicted, labels)
                counts = [is_there & was_found, ~is_there & was_found, is_there & ~was_found, ~is_there & ~was_found]
                assert rows.loc[(case_id, region), ["tp", "fp", "fn", "tn"]].tolist() == [c.sum() for c in counts]

    def test_the_report_states_the_values_and_the_scores_of_the_labelled_pixels(self, study):
        _, _, run, file = study
        results = load_results(file)
        page = write_report(results).read_text(encoding="utf-8")
        assert str(self.VOID) in page and "neither train" in page
        sums = pd.read_csv(run.scores).groupby("region")[["tp", "fp", "fn"]].sum()
        dice = 2 * sums["tp"] / (2 * sums["tp"] + sums["fp"] + sums["fn"])
        for region, counts in results.runs[0].record["scores"].items():
            assert counts["dice"] == pytest.approx(dice[region])


def test_two_masks_of_one_image_agree_where_both_have_labels():
    first = np.zeros((6, 6), np.uint8)
    first[1:5, 1:5] = 2
    second = first.copy()
    second[1:3] = IGNORED
    assert compare_masks(first, second) == {"nucleus": 1.0, "cell": 1.0}


def test_drawings_show_them_as_neither_missed_nor_added():
    image, mask = draw_case()
    predicted = mask.copy()
    mask[:, 8:] = IGNORED
    drawn = draw_difference(image, mask, predicted)
    np.testing.assert_array_equal(drawn, draw_difference(image, mask, np.where(mask == IGNORED, 0, predicted)))
    np.testing.assert_array_equal(draw_overlay(image, mask)[:, 9:], image[:, 9:])
    assert colour_mask(mask, "#000000")[0, -1].tolist() == [128] * 3
