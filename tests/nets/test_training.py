import json
import re
import subprocess
import sys
import textwrap

import numpy as np
import pandas as pd
import pytest

from wbcstudy.config import RunConfig
from wbcstudy.errors import StudyError
from wbcstudy.nets import training
from wbcstudy.nets.cost import count_multiply_adds
from wbcstudy.nets.losses import build_loss
from wbcstudy.nets.model_file import load_model
from wbcstudy.nets.prediction import predict_probabilities
from wbcstudy.nets.training import TrainingResult, train, training_facts, validate
from wbcstudy.nets.unet import build_unet
from wbcstudy.runs.folders import RunFolder

CONFIG = RunConfig(
    encoder="unet",
    loss="dice",
    image_size=32,
    batch_size=4,
    augmented_copies=1,
    epochs=4,
    dropout=0.5,
    weight_average=0.9,
)
PLAIN = CONFIG.model_copy(update={"weight_average": 0.0})


class Interrupted(Exception):
    """Stands in for a power cut."""


@pytest.fixture(scope="module")
def parts(cells):
    return cells(6), cells(3, seed=1)


@pytest.fixture(scope="module", autouse=True)
def narrow():
    """A plain U-Net of a few thousand weights: these tests do not depend on the width."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("wbcstudy.nets.unet._WIDTHS", (4, 8))
        yield


@pytest.fixture(scope="module")
def finished(parts, tmp_path_factory):
    """(folder, result, weights, lines) of a training that was never interrupted."""
    folder, lines = RunFolder(tmp_path_factory.mktemp("finished") / "run"), []
    model = build_unet(CONFIG)
    result = train(model, *parts, CONFIG, folder, lines.append)
    return folder, result, model.get_weights(), lines


def assert_same(history, weights, finished):
    _, result, expected, _ = finished
    pd.testing.assert_frame_equal(
        history.drop(columns="seconds"), result.history.drop(columns="seconds"), check_exact=True
    )
    for mine, theirs in zip(weights, expected, strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_one_seed_gives_one_training_to_the_last_bit(finished, parts, tmp_path):
    model = build_unet(CONFIG)
    result = train(model, *parts, CONFIG, RunFolder(tmp_path), print)
    assert_same(result.history, model.get_weights(), finished)


def test_another_seed_gives_another_training(finished, parts, tmp_path):
    config = CONFIG.model_copy(update={"seed": 1, "epochs": 1})
    result = train(build_unet(config), *parts, config, RunFolder(tmp_path), print)
    assert result.history["loss"][0] != finished[1].history["loss"][0]


@pytest.mark.parametrize("last", [[1, 3], [4]], ids=str)
def test_an_interrupted_training_ends_like_an_uninterrupted_one(finished, parts, tmp_path, last):
    folder = RunFolder(tmp_path)
    for epoch in last:

        def cut(line, epoch=epoch):
            if line.startswith(f"epoch {epoch}/"):
                raise Interrupted

        with pytest.raises(Interrupted):
            train(build_unet(CONFIG), *parts, CONFIG, folder, cut)
        assert not folder.model.exists()
        assert folder.read_status() == "unfinished"
        assert list(pd.read_csv(folder.history)["epoch"]) == list(range(1, epoch + 1))

    lines = []
    model = build_unet(CONFIG)
    result = train(model, *parts, CONFIG, folder, lines.append)
    assert lines[0].startswith(f"resuming after epoch {last[-1]}")
    assert_same(result.history, model.get_weights(), finished)
    assert_same(pd.read_csv(folder.history), load_model(folder.model).get_weights(), finished)
    assert (result.best_epoch, result.epochs) == (finished[1].best_epoch, finished[1].epochs)
    assert result.earlier_seconds == pytest.approx(result.history["seconds"][: last[-1]].sum())
    assert result.earlier_seconds <= result.fit_seconds
    # pytest is no notebook.
    assert result.earlier_notebooks == []


def test_epochs_after_the_last_saved_one_are_repeated(finished, parts, tmp_path, monkeypatch):
    """With 30 s between states: saved after 40 s and not after 50 s, when a power cut comes."""
    clock = {"s": 0.0}
    monkeypatch.delenv("WBCSTUDY_CHECKPOINT_SECONDS")
    monkeypatch.setattr("wbcstudy.nets.checkpoint.time.monotonic", lambda: clock["s"])
    lines = []

    def next_epoch(model, *args):
        clock["s"] += {1: 20, 2: 20, 3: 10}[len(lines) + 1]
        return validate(model, *args)

    def cut(line):
        lines.append(line)
        if line.startswith("epoch 3/"):
            raise Interrupted

    with monkeypatch.context() as patch:
        patch.setattr(training, "validate", next_epoch)
        with pytest.raises(Interrupted):
            train(build_unet(CONFIG), *parts, CONFIG, RunFolder(tmp_path), cut)
    assert len(list(tmp_path.rglob("best-*.npz"))) == 1
    model, lines = build_unet(CONFIG), []
    result = train(model, *parts, CONFIG, RunFolder(tmp_path), lines.append)
    assert lines[0].startswith("resuming after epoch 2")
    assert_same(result.history, model.get_weights(), finished)
    # The last state is saved, however short the training: its evaluation may be interrupted.
    assert (tmp_path / "checkpoint" / f"best-{result.best_epoch}.npz").is_file()
    np.testing.assert_array_equal(load_model(RunFolder(tmp_path).model).get_weights()[0], model.get_weights()[0])


@pytest.mark.parametrize("text", ["-1", "often", "nan"])
def test_a_wrong_time_between_states_is_refused(parts, tmp_path, monkeypatch, text):
    monkeypatch.setenv("WBCSTUDY_CHECKPOINT_SECONDS", text)
    with pytest.raises(StudyError, match=f"WBCSTUDY_CHECKPOINT_SECONDS='{text}' is not valid"):
        train(build_unet(CONFIG), *parts, CONFIG, RunFolder(tmp_path), print)


def test_a_learning_rate_schedule_resumes_at_its_step(parts, tmp_path):
    config = PLAIN.model_copy(update={"learning_rate_schedule": "cosine", "learning_rate": 0.01, "epochs": 3})
    whole = train(build_unet(config), *parts, config, RunFolder(tmp_path / "whole"), print).history

    def cut(line):
        raise Interrupted

    with pytest.raises(Interrupted):
        train(build_unet(config), *parts, config, RunFolder(tmp_path / "cut"), cut)
    again = train(build_unet(config), *parts, config, RunFolder(tmp_path / "cut"), print).history
    # The rate of the step after each epoch: the maximum after the first, half of it, and 0.
    np.testing.assert_allclose(whole["learning_rate"], [0.01, 0.005, 0], atol=1e-7)
    pd.testing.assert_frame_equal(again.drop(columns="seconds"), whole.drop(columns="seconds"), check_exact=True)


def test_the_average_is_validated_and_kept_and_does_not_change_the_training(finished, parts, tmp_path):
    folder, result, weights, _ = finished
    model = build_unet(PLAIN)
    plain = train(model, *parts, PLAIN, RunFolder(tmp_path), print)
    pd.testing.assert_series_equal(plain.history["loss"], result.history["loss"], check_exact=True)
    assert not np.isclose(plain.history["val_loss"], result.history["val_loss"]).any()
    model.set_weights(weights)
    kept = validate(model, parts[1], CONFIG)["val_loss"]
    assert kept == pytest.approx(result.history["val_loss"].min(), rel=1e-6)
    assert kept == pytest.approx(validate(load_model(folder.model), parts[1], CONFIG)["val_loss"], rel=1e-6)


def test_a_single_epoch_only_descends():
    config = CONFIG.model_copy(update={"learning_rate_schedule": "cosine", "learning_rate": 0.01, "epochs": 1})
    rate = training._build_learning_rate(config, steps_per_epoch=10)
    np.testing.assert_allclose([float(rate(0)), float(rate(5)), float(rate(10))], [0.01, 0.005, 0], atol=1e-7)


def test_an_interruption_within_an_epoch_repeats_that_epoch(finished, parts, tmp_path, monkeypatch):
    def cut(model, *args):
        if len(pd.read_csv(tmp_path / "history.csv")) == 2:
            raise Interrupted
        return validate(model, *args)

    model = build_unet(CONFIG)
    with monkeypatch.context() as patch:
        (tmp_path / "history.csv").write_text("epoch\n")
        patch.setattr(training, "validate", cut)
        with pytest.raises(Interrupted):
            train(model, *parts, CONFIG, RunFolder(tmp_path), print)
    model = build_unet(CONFIG)
    assert_same(train(model, *parts, CONFIG, RunFolder(tmp_path), print).history, model.get_weights(), finished)


def test_another_process_resumes_a_killed_one(finished, parts, tmp_path):
    fields = ("images", "shares", "aspects")
    np.savez(tmp_path / "parts.npz", **{f"{i}{k}": getattr(p, k) for i, p in enumerate(parts) for k in fields})
    program = f"""
        import os, types, numpy as np
        from pathlib import Path
        from wbcstudy.config import RunConfig
        from wbcstudy.runs.folders import RunFolder
        from wbcstudy.nets import unet
        from wbcstudy.nets.training import train
        unet._WIDTHS = (4, 8)
        a = np.load({str(tmp_path / "parts.npz")!r})
        parts = [types.SimpleNamespace(**{{k: a[f"{{i}}{{k}}"] for k in {fields!r}}}) for i in range(2)]
        config = RunConfig(**{CONFIG.model_dump()!r})
        def cut(line):
            if line.startswith("epoch 2/"):
                os._exit(9)
        train(unet.build_unet(config), *parts, config, RunFolder(Path({str(tmp_path / "run")!r})), cut)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=False)
    assert done.returncode == 9, done.stderr
    assert done.stderr == ""
    model = build_unet(CONFIG)
    result = train(model, *parts, CONFIG, RunFolder(tmp_path / "run"), print)
    assert_same(result.history, model.get_weights(), finished)


def test_a_run_interrupted_after_its_training_is_not_trained_again(finished, parts, monkeypatch):
    def no_training(*args):
        raise Interrupted

    monkeypatch.setattr(training, "make_batches", no_training)
    model = build_unet(CONFIG)
    result = train(model, *parts, CONFIG, finished[0], print)
    assert_same(result.history, model.get_weights(), finished)


def test_history_is_one_row_per_epoch_in_the_file_as_in_the_result(finished):
    folder, result, _, _ = finished
    history = pd.read_csv(folder.history)
    dice = ["val_dice_nucleus", "val_dice_cytoplasm"]
    assert list(history.columns) == ["epoch", "loss", "val_loss", *dice, "seconds", "learning_rate"]
    assert list(history["epoch"]) == [1, 2, 3, 4]
    pd.testing.assert_frame_equal(history, result.history, check_exact=True)
    assert result.best_epoch == history["epoch"][history["val_loss"].argmin()]
    assert result.fit_seconds == pytest.approx(history["seconds"].sum())
    assert result.steps_per_epoch == 2


def test_one_line_per_epoch_is_reported(finished):
    lines = finished[3]
    assert len(lines) == 4
    for epoch, line in enumerate(lines, 1):
        assert re.fullmatch(
            rf"epoch {epoch}/4  loss \d\.\d{{4}}  val_loss \d+\.\d{{4}}  nucleus \d\.\d{{3}}  cytoplasm \d\.\d{{3}}  "
            r"\d+\.\d s, about (\d+ min )?\d+ s left",
            line,
        ), line


def _edit_description(folder, edit):
    """Rewrite the description in a checkpoint."""
    state = folder.checkpoint / "state.npz"
    with np.load(state) as arrays:
        arrays = dict(arrays)
    np.savez(state, **arrays | {"about": np.array(json.dumps(edit(json.loads(str(arrays["about"])))))})


@pytest.mark.parametrize("change", ["settings", "images", "version", "arithmetic"])
def test_a_checkpoint_of_another_training_is_refused_and_kept(parts, tmp_path, change, cells):
    folder = RunFolder(tmp_path)

    def cut(line):
        raise Interrupted

    with pytest.raises(Interrupted):
        train(build_unet(CONFIG), *parts, CONFIG, folder, cut)
    if change == "version":
        _edit_description(folder, lambda values: {"fingerprint": "0123", "rows": values["rows"]})
    if change == "arithmetic":
        _edit_description(folder, lambda values: values | {"arithmetic": "float16"})
    before = {path: path.read_bytes() for path in folder.checkpoint.iterdir()}
    config = CONFIG.model_copy(update={"learning_rate": 1e-4}) if change == "settings" else CONFIG
    other = (cells(6, seed=7), parts[1]) if change == "images" else parts
    with pytest.raises(StudyError, match="another training") as caught:
        train(build_unet(config), *other, config, folder, print)
    assert f"Delete {folder.checkpoint}" in str(caught.value)
    reasons = {
        "settings": "learning_rate was 0.001, is now 0.0001",
        "images": "its images differ",
        "version": "another version of wbcstudy wrote it",
        "arithmetic": "it was computed in float16, but precision: ",
    }
    assert reasons[change] in str(caught.value)
    assert {path: path.read_bytes() for path in folder.checkpoint.iterdir()} == before


def test_a_training_resumes_under_a_version_with_new_settings(finished, parts, tmp_path):
    folder = RunFolder(tmp_path)

    def cut(line):
        raise Interrupted

    with pytest.raises(Interrupted):
        train(build_unet(CONFIG), *parts, CONFIG, folder, cut)
    _edit_description(folder, lambda values: values["settings"].pop("learning_rate_schedule") and values)
    lines = []
    model = build_unet(CONFIG)
    result = train(model, *parts, CONFIG, folder, lines.append)
    assert "resuming after epoch 1" in lines[0]
    assert_same(result.history, model.get_weights(), finished)


@pytest.mark.parametrize("damage", ["cut off", "best epoch lost", "no description"])
def test_a_damaged_checkpoint_is_not_used(finished, parts, tmp_path, damage):
    folder = RunFolder(tmp_path)

    def cut(line):
        raise Interrupted

    with pytest.raises(Interrupted):
        train(build_unet(CONFIG), *parts, CONFIG, folder, cut)
    if damage == "cut off":
        state = folder.checkpoint / "state.npz"
        state.write_bytes(state.read_bytes()[:5000])
    elif damage == "best epoch lost":
        (folder.checkpoint / "best-1.npz").unlink()
    else:
        _edit_description(folder, lambda values: 5)
    lines = []
    model = build_unet(CONFIG)
    result = train(model, *parts, CONFIG, folder, lines.append)
    assert "damaged" in lines[0]
    assert_same(result.history, model.get_weights(), finished)


@pytest.fixture
def scripted(monkeypatch):
    """Make validation losses come from a list; gives (set the list, weights of each epoch)."""
    seen = []

    def script(losses):
        def fake(model, *_):
            seen.append(model.get_weights())
            return {"val_loss": losses[len(seen) - 1], "val_dice_nucleus": 0.5, "val_dice_cytoplasm": 0.5}

        monkeypatch.setattr(training, "validate", fake)
        return seen

    return script


def test_patience_ends_the_training_and_the_best_weights_stay(parts, tmp_path, scripted):
    seen = scripted([3.0, 2.0, 2.5, 2.6, 1.0])
    config = CONFIG.model_copy(update={"epochs": 5, "patience": 2})
    model = build_unet(config)
    result = train(model, *parts, config, RunFolder(tmp_path), lambda line: None)
    assert (result.best_epoch, result.epochs, result.stopped_early) == (2, 4, True)
    for now, then in zip(model.get_weights(), seen[1], strict=True):
        np.testing.assert_array_equal(now, then)


def test_a_loss_that_is_not_finite_is_an_error(parts, tmp_path, scripted):
    scripted([1.0, float("nan")])
    with pytest.raises(StudyError, match="nan in epoch 2") as caught:
        train(build_unet(CONFIG), *parts, CONFIG, RunFolder(tmp_path), print)
    assert "Lower learning_rate (now 0.001)" in str(caught.value)


def test_out_of_memory_suggests_settings_to_lower(parts, tmp_path, monkeypatch):
    import tensorflow as tf

    for error in (tf.errors.ResourceExhaustedError(None, None, "OOM when allocating"), MemoryError()):

        def fail(*args, error=error):
            raise error

        monkeypatch.setattr(training, "make_batches", fail)
        with pytest.raises(StudyError, match="Out of memory") as caught:
            train(build_unet(CONFIG), *parts, CONFIG, RunFolder(tmp_path), print)
        assert "batch_size (now 4) or image_size (now 32)" in str(caught.value)


def test_a_training_resumes_after_a_full_disk(finished, parts, small_disk):
    small_disk.resize("20m")
    folder = RunFolder(small_disk.path / "run")

    def fill_up(line):
        if line.startswith("epoch 2/"):
            small_disk.fill()

    with pytest.raises(StudyError, match="No space left"):
        train(build_unet(CONFIG), *parts, CONFIG, folder, fill_up)
    assert len(pd.read_csv(folder.history)) == 2
    (small_disk.path / "filler").unlink()
    lines, model = [], build_unet(CONFIG)
    result = train(model, *parts, CONFIG, folder, lines.append)
    assert "resuming after epoch 2" in lines[0]
    assert_same(result.history, model.get_weights(), finished)


def test_no_images_are_refused(parts, cells, tmp_path):
    for chosen, part in (((cells(0), parts[1]), "training"), ((parts[0], cells(0)), "validation")):
        with pytest.raises(StudyError, match=f"no {part} image"):
            train(build_unet(CONFIG), *chosen, CONFIG, RunFolder(tmp_path), print)


def test_validation_does_not_depend_on_the_batch_size(parts):
    model = build_unet(CONFIG)
    scores = [validate(model, parts[0], CONFIG.model_copy(update={"batch_size": size})) for size in (1, 4, 6)]
    for other in scores[1:]:
        assert other == pytest.approx(scores[0], rel=1e-4)
    probabilities = predict_probabilities(model, parts[0].images)
    assert scores[0]["val_loss"] == pytest.approx(float(build_loss("dice")(parts[0].masks, probabilities)), rel=1e-4)
    predicted, reference = probabilities.argmax(-1) == 2, parts[0].masks == 2
    dice = 2 * (predicted & reference).sum() / (predicted.sum() + reference.sum())
    assert scores[0]["val_dice_nucleus"] == pytest.approx(dice, abs=1e-3)


def test_the_facts_about_a_training(parts):
    model = build_unet(CONFIG)
    history = pd.DataFrame({"seconds": [9.0, 1.0, 2.0]})
    result = TrainingResult(history, best_epoch=2, epochs=3, stopped_early=False, fit_seconds=12.0, steps_per_epoch=4)
    facts = training_facts(model, result, parts[1])
    assert facts["parameters"] == sum(weight.size for weight in model.get_weights())
    assert (facts["best_epoch"], facts["epochs"], facts["fit_seconds"], facts["seconds_per_epoch"]) == (2, 3, 12.0, 2.0)
    assert facts["arithmetic"] in ("float32", "bfloat16")
    assert facts["kernels"] in ("oneDNN", "TensorFlow", "cuDNN")
    assert facts["seconds_per_image"] > 0 and facts["wall_seconds"] > 0
    assert facts["multiply_adds"] == count_multiply_adds(model, CONFIG.image_size)
    assert 100 < facts["peak_memory_mb"] < 1e6
    assert facts["device"].startswith(("CPU ", "GPU "))
