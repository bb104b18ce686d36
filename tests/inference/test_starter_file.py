"""A starter file is small, complete and checked, and `segment` uses it without `--model`."""

import io
import json
import zipfile

import numpy as np
import pytest
from PIL import Image

import wbcstudy
from tests.helpers.checkout import ROOT
from tests.helpers.colour_run import paint, round_cells, write_colour_run
from wbcstudy.baselines.base import region_dice
from wbcstudy.config import RunConfig
from wbcstudy.data.synthetic.domains import DOMAINS
from wbcstudy.data.synthetic.varied import make_varied_smear
from wbcstudy.errors import StudyError
from wbcstudy.inference import starter_file
from wbcstudy.inference.network import load_network
from wbcstudy.inference.starter_file import find_starter, own_starter, pack_starter, starter_path
from wbcstudy.labels import IGNORED

FIELD = paint(round_cells(32, 32, [(15, 15)]))


@pytest.fixture(scope="module")
def unet():
    from wbcstudy.nets.unet import build_unet

    model = build_unet(RunConfig(encoder="resnet18", loss="dice", image_size=32, precision="float32"))
    head = model.get_layer("head")
    # The logits of an untrained network are large: rounding to half precision would change its probabilities by far
    # more than those of a trained one.
    head.set_weights([weights / 50 for weights in head.get_weights()])
    return model


@pytest.fixture
def run(tmp_path, unet):
    return write_colour_run(tmp_path / "outputs", model=unet, cell_px=20.0)


@pytest.fixture
def packed_file(monkeypatch, tmp_path):
    path = tmp_path / "cache" / "starter.zip"
    monkeypatch.setenv("WBCSTUDY_STARTER", str(path))
    return path


def test_a_packed_network_predicts_as_before_with_a_temperature(run, packed_file, monkeypatch):
    monkeypatch.setattr(starter_file, "LARGEST_BYTES", 40_000_000)
    pack_starter(run, packed_file, 2.0, "# Card")
    network = load_network("starter")
    assert network.training.cell_px == 20 and "starter" in network.chosen
    before = load_network(run).predict(FIELD[None])
    after = network.predict(FIELD[None])
    expected = np.sqrt(before) / np.sqrt(before).sum(axis=-1, keepdims=True)
    np.testing.assert_allclose(after, expected, atol=0.05)
    assert np.abs(after - before).max() > 0.1
    # Unpacked once.
    assert find_starter() == find_starter() == network.run.folder.path
    assert wbcstudy.segment(FIELD, "starter").mask.shape == (32, 32)


def test_kernels_are_stored_in_eight_bits_where_half_precision_is_too_large(run, packed_file):
    facts = {}
    for most in (40_000_000, 20_000_000):
        pack_starter(run, packed_file, 1.0, "# Card", largest_bytes=most)
        facts[most] = (packed_file.stat().st_size, load_network("starter").predict(FIELD[None]))
    (large, half), (small, eight) = facts.values()
    assert small < 20_000_000 < large
    # An untrained network is less certain than a trained one.
    assert 0 < np.abs(half - eight).mean() < 0.02


def test_a_kernel_in_eight_bits_is_near_its_values():
    values = [
        np.random.default_rng(0).normal(size=shape).astype(np.float32) for shape in ((3, 3, 4, 5), (3, 3, 6, 1), (5,))
    ]
    values[0][..., 2] = 0
    values[1][:, :, 3] *= 1000
    with np.load(io.BytesIO(starter_file._store(values, eight_bits=True)), allow_pickle=False) as stored:
        kernel, depthwise, offset = starter_file._restore(stored)
    assert np.abs(kernel - values[0]).max() <= np.abs(values[0]).max() / 254 * 1.001 and not kernel[..., 2].any()
    error = np.abs(depthwise - values[1]).max(axis=(0, 1, 3))
    np.testing.assert_array_less(error, np.abs(values[1]).max(axis=(0, 1, 3)) / 250)
    np.testing.assert_allclose(offset, values[2], rtol=1e-3)


def test_a_file_of_more_than_20_mb_is_refused(run, packed_file, monkeypatch):
    monkeypatch.setattr(starter_file, "LARGEST_BYTES", 10_000_000)
    with pytest.raises(StudyError, match="would have"):
        pack_starter(run, packed_file, 1.0, "# Card")
    assert not packed_file.exists()


def test_without_a_starter_the_command_that_builds_it_is_named(packed_file, command, tmp_path):
    Image.fromarray(FIELD).save(tmp_path / "a.png")
    code, _, errors = command("segment", tmp_path / "a.png", "--out", tmp_path / "out")
    assert code == 2 and "There is no starter network" in errors and "wbcstudy starter build --seed 0" in errors


def test_the_shipped_starter_is_used_until_there_is_an_own_one(monkeypatch, tmp_path):
    monkeypatch.delenv("WBCSTUDY_STARTER", raising=False)
    monkeypatch.setenv("WBCSTUDY_WEIGHTS", str(tmp_path))
    assert starter_path() == starter_file.SHIPPED
    (tmp_path / "starter.zip").write_bytes(b"own")
    assert starter_path() == own_starter() == tmp_path / "starter.zip"


def test_the_shipped_starter_is_unpacked_to_a_folder_that_can_be_written(monkeypatch, tmp_path, run):
    shipped = tmp_path / "package" / "starter.zip"
    monkeypatch.setattr(starter_file, "LARGEST_BYTES", 40_000_000)
    pack_starter(run, shipped, 1.0, "# Card")
    monkeypatch.setattr(starter_file, "SHIPPED", shipped)
    monkeypatch.delenv("WBCSTUDY_STARTER", raising=False)
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("WBCSTUDY_WEIGHTS", str(tmp_path / "file"))
    with pytest.raises(StudyError, match="cannot be unpacked") as raised:
        find_starter()
    assert "WBCSTUDY_WEIGHTS" in raised.value.fix
    monkeypatch.setenv("WBCSTUDY_WEIGHTS", str(tmp_path / "cache"))
    assert find_starter().is_relative_to(tmp_path / "cache")
    assert sorted(path.name for path in shipped.parent.iterdir()) == ["starter.zip", "starter.zip.sha256"]


def test_the_shipped_starter_segments_smears_that_it_has_not_seen(monkeypatch, tmp_path):
    monkeypatch.delenv("WBCSTUDY_STARTER", raising=False)
    monkeypatch.setenv("WBCSTUDY_WEIGHTS", str(tmp_path))
    network = load_network("starter")
    assert network.run.record["status"] == "complete" and network.colours
    smears = [make_varied_smear(90_000 + number, domain) for number, domain in enumerate(DOMAINS)]
    expected, predicted = [], []
    for smear in smears:
        expected.append(smear.mask[smear.mask != IGNORED] > 0)
        predicted.append(wbcstudy.segment(smear.image, network, scale=1).mask[smear.mask != IGNORED] > 0)
    assert region_dice(np.concatenate(expected), np.concatenate(predicted)) > 0.85


def test_the_guide_has_the_numbers_of_the_shipped_starter():
    with zipfile.ZipFile(starter_file.SHIPPED) as archive:
        facts = json.loads(archive.read("starter.json"))
    text = (ROOT / "docs" / "guides" / "without_annotations.md").read_text(encoding="utf-8")
    record = facts["record"]
    numbers = [f"{region} {row['dice']:.3f}" for region, row in record["scores"].items()]
    numbers += [f"{record['split'][part]:,} to" for part in ("train", "validation", "test")]
    numbers += [f"temperature {facts['temperature']:.2f}", f"{record['config']['epochs']} epochs"]
    assert [number for number in numbers if number not in text] == []


@pytest.mark.parametrize("content", [b"no zip", b""])
def test_a_damaged_file_is_refused(packed_file, content):
    packed_file.parent.mkdir()
    packed_file.write_bytes(content)
    with pytest.raises(StudyError, match="not a usable starter"):
        find_starter()


def test_another_file_than_its_sum_says_is_refused(packed_file):
    packed_file.parent.mkdir()
    packed_file.write_bytes(b"changed")
    packed_file.with_name("starter.zip.sha256").write_text("0" * 64 + "  starter.zip\n")
    with pytest.raises(StudyError, match="SHA-256"):
        find_starter()
