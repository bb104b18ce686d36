"""The network that trainings started from, in methods paragraph and cautions."""

from tests.helpers.fake_study import make_results
from wbcstudy.config import StudyConfig
from wbcstudy.reporting.text.cautions import caution_sentences
from wbcstudy.reporting.text.methods_paragraph import methods_paragraph
from wbcstudy.reporting.text.network_starts import network_start_cautions

START = {
    "source": "outputs/First",
    "network": "First/mobilenet__dice__fold0__seed0",
    "folder": "/gone",
    "sha256": "0123456789abcdef" * 4,
    "model_sha256": "f" * 64,
    "encoder": "mobilenet",
    "image_size": 128,
    "stain_normalisation": "none",
    "pixel_size_um": 0.25,
    "cell_px": 50.0,
    "layers": 83,
    "trained_on": [
        {"network": "a", "folder": "b", "dataset": {"title": "Our smears"}, "split": {"train": 30, "validation": 6}},
        {"network": "c", "folder": "d", "dataset": {"name": "starter"}, "drawn": True},
    ],
    "validation_seen": [],
    "unknown": [],
}


def results_of(tmp_path, **changed):
    starts = {"random": {}, "ours": {"start_from": "outputs/First"}}
    config = StudyConfig(name="demo", encoders=("mobilenet",), losses=("dice",), starts=starts)
    results = make_results(tmp_path, config)
    for run in results.complete:
        run.record["trained_on"] = {"height_px": [64] * 3, "width_px": [64] * 3, "cell_px": 40.0}
        if run.config.start == "ours":
            run.record["network_start"] = START | changed
    return results


def test_the_network_and_its_training_images_are_stated(tmp_path):
    results = results_of(tmp_path)
    text = methods_paragraph(results)
    assert "started in 2 ways (random: random weights; ours: all weights of the network outputs/First)" in text
    assert "SHA-256 0123456789abcdef; all 83 layers with weights" in text
    assert (
        "It was trained on 30 training and 6 validation images of Our smears and, before that, on starter, drawn "
        "smears, at 128 x 128 pixels, 0.25 µm per pixel, cells of 50 pixels." in text
    )
    first = caution_sentences(results)[0]
    assert "Ours: networks started from all weights of the network outputs/First" in first


def test_cautions_about_images_that_were_seen_or_are_unknown(tmp_path):
    changed = {"unknown": ["First/x"], "validation_seen": ["c1", "c2"], "stain_normalisation": "macenko"}
    results = results_of(tmp_path, **changed)
    text = " ".join(network_start_cautions(results.complete))
    assert "training images of the network outputs/First (First/x) are not known" in text
    assert "The network outputs/First was trained on 2 validation images of this study (c1 and c2)" in text
    assert "stain_normalisation: macenko, these networks with none" in text
    # Here, cells of 40 px in images of 64 px that are resized to 32 px.
    assert "a cell had a diameter of 50 px; here it has 20 px" in text
