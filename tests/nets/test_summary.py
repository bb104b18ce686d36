"""The summary of a network by its stages."""

import pytest

from wbcstudy.config import RunConfig
from wbcstudy.nets.summary import summarise_model
from wbcstudy.nets.unet import build_unet


@pytest.mark.parametrize("encoder", ["resnet18", "unet"])
def test_every_parameter_and_layer_is_in_one_stage(encoder):
    model = build_unet(RunConfig(encoder=encoder, image_size=64))
    trained = sum(weight.shape.num_elements() for weight in model.trainable_weights)
    for layer in model.layers[: len(model.layers) // 3]:
        layer.trainable = False
    table = summarise_model(model, 64)
    stages, total = table[:-1], table.iloc[-1]
    assert len(stages) <= 13
    assert list(stages["part"].drop_duplicates()) == ["input", "encoder", "decoder", "head"]
    assert (stages["output"].iloc[-1] == "64 x 64 x 3" and "2 x 2 x 512" in set(stages["output"])) or encoder == "unet"
    assert total["trained"] + total["frozen"] + total["statistics"] == model.count_params()
    assert 0 < total["trained"] < trained
    assert total["frozen"] > 0
