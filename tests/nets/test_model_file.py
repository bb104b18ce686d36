"""Model files: those of this layout and of the earlier one are read, others are refused."""

import subprocess
import sys
import textwrap
import zipfile
from pathlib import Path

import numpy as np
import pytest

from wbcstudy.config import RunConfig
from wbcstudy.errors import StudyError
from wbcstudy.nets.backend import load_keras
from wbcstudy.nets.losses import build_loss
from wbcstudy.nets.model_file import copy_weights, load_model
from wbcstudy.nets.prediction import predict_probabilities
from wbcstudy.nets.unet import build_unet

# Written by `train` at commit 4efc311, where the layers were in the modules `unet` and `layers`; compressed since.
# A plain U-Net (_WIDTHS of 8, four levels, Reinhard, Dice, float32), and a network of every layer that is allowed
# (three preprocessings, Macenko, binary cross-entropy, bfloat16). The predictions are those of that commit.
FILES = Path(__file__).parent / "files"
MOVED_MODULES = {"fast_layers": "layers", "preprocessing": "unet"}


@pytest.mark.parametrize(("name", "tolerance"), [("unet", 1e-4), ("all_layers", 0.05)])
def test_a_model_of_the_earlier_layout_predicts_as_before(name, tolerance):
    path = FILES / f"earlier_{name}.keras"
    with zipfile.ZipFile(path) as archive:
        description = archive.read("config.json").decode()
    assert all(f'"wbcstudy.nets.{module}"' in description for module in MOVED_MODULES.values())
    expected = np.load(FILES / "earlier_predictions.npz")
    predicted = predict_probabilities(load_model(path), expected["images"])
    np.testing.assert_allclose(predicted, expected[name], atol=tolerance)


def test_a_network_with_an_encoder_is_read_under_the_earlier_module_names(tmp_path, cells):
    config = RunConfig(encoder="mobilenet", loss="dice", stain_normalisation="reinhard")
    model = build_unet(config)
    model.compile("adam", build_loss(config.loss))
    model.save(tmp_path / "model.keras")
    with (
        zipfile.ZipFile(tmp_path / "model.keras") as archive,
        zipfile.ZipFile(tmp_path / "earlier.keras", "w") as earlier,
    ):
        for name in archive.namelist():
            content = archive.read(name)
            if name == "config.json":
                for now, before in MOVED_MODULES.items():
                    now, before = (f'"wbcstudy.nets.{module}"'.encode() for module in (now, before))
                    assert now in content
                    content = content.replace(now, before)
            earlier.writestr(name, content)
    images = cells(2).images
    expected = predict_probabilities(model, images)
    np.testing.assert_array_equal(predict_probabilities(load_model(tmp_path / "earlier.keras"), images), expected)


def test_a_saved_model_loads_in_another_process_with_and_without_its_loss(tmp_path, cells, narrow_unet):
    model, images = build_unet(RunConfig(encoder="unet")), cells(2).images
    model.compile("adam", build_loss("dice"))
    model.save(tmp_path / "model.keras")
    np.save(tmp_path / "images.npy", images)
    program = f"""
        import sys
        import wbcstudy.nets.unet, wbcstudy.nets.training, wbcstudy.nets.weights
        assert "tensorflow" not in sys.modules
        from pathlib import Path
        import numpy as np
        from wbcstudy.nets.model_file import copy_weights, load_model
        from wbcstudy.nets.prediction import predict_probabilities
        folder = Path({str(tmp_path)!r})
        model = load_model(folder / "model.keras")
        np.save(folder / "predicted.npy", predict_probabilities(model, np.load(folder / "images.npy")))
        import keras
        assert keras.saving.load_model(folder / "model.keras").loss.name == "dice"
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(program)], check=True)
    np.testing.assert_array_equal(np.load(tmp_path / "predicted.npy"), predict_probabilities(model, images))


def test_a_file_that_is_not_a_model_is_refused(tmp_path):
    keras = load_keras()
    text, archive, other = (tmp_path / name for name in ("text.keras", "archive.keras", "other.keras"))
    text.write_text("no model")
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("readme.txt", "no model")
    keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)]).save(other)
    for path in (tmp_path / "absent.keras", text, archive, other):
        with pytest.raises(StudyError, match=path.name):
            load_model(path)


def test_code_in_a_model_file_is_not_run(tmp_path):
    keras = load_keras()
    image = keras.Input((None, None, 3))
    output = keras.layers.Lambda(lambda x: x / 0, output_shape=(None, None, 3))(image)
    keras.Model(image, output).save(tmp_path / "code.keras")
    with pytest.raises(StudyError, match=r"code\.keras is not a model of this project"):
        load_model(tmp_path / "code.keras")


def test_a_network_takes_all_weights_of_another_with_its_encoder(tmp_path):
    source = build_unet(RunConfig(encoder="mobilenet", seed=1))
    for layer in source.layers:
        if layer.name.endswith("bn"):
            layer.moving_mean.assign(layer.moving_mean + 0.5)
    source.save(tmp_path / "model.keras")
    config = RunConfig(encoder="mobilenet", start_from="x", freeze_encoder=True, stain_normalisation="reinhard", seed=2)
    model = build_unet(config)
    assert copy_weights(model, tmp_path / "model.keras") == len([layer for layer in source.layers if layer.weights])
    own = [weight for layer in model.layers if layer.name != "stain_normalisation" for weight in layer.weights]
    for mine, theirs in zip(own, source.weights, strict=True):
        np.testing.assert_array_equal(mine.value.numpy(), theirs.value.numpy())
    # The encoder stays frozen.
    assert len(model.trainable_weights) < len(source.trainable_weights)


def test_weights_of_another_network_or_that_are_no_numbers_change_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("wbcstudy.nets.unet._WIDTHS", (4, 8))
    path, source = tmp_path / "model.keras", build_unet(RunConfig(encoder="unet", seed=1))
    source.get_layer("head").bias.assign([np.nan, 0, 0])
    source.save(path)
    model = build_unet(RunConfig(encoder="unet", seed=2))
    before = [weight.value.numpy() for weight in model.weights]
    with pytest.raises(StudyError, match="'head' has a value that is not a finite number"):
        copy_weights(model, path)
    for weight, value in zip(model.weights, before, strict=True):
        np.testing.assert_array_equal(weight.value.numpy(), value)
    monkeypatch.setattr("wbcstudy.nets.unet._WIDTHS", (4, 8, 16))
    with pytest.raises(StudyError, match="holds another network"):
        copy_weights(build_unet(RunConfig(encoder="unet")), path)
