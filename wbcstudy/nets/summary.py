"""Summarise a network by its stages: Keras' own summary has a row for each of its hundreds of layers."""

from __future__ import annotations

import math

import pandas as pd

from wbcstudy.nets.backend import load_keras


def summarise_model(model, image_size: int) -> pd.DataFrame:
    """Summarise a network from `build_unet`.

    Args:
        model: the network; its encoder is frozen or not.
        image_size: side of the images in px, a multiple of 32.

    Returns:
        One row per stage, in which images keep their size, and a row "total": part (input, encoder, decoder, head),
        output (height x width x channels of its last layer), layers, and the numbers of parameters: trained, frozen,
        and statistics (of batch norm, which follow the training images if the layer is not frozen).
    """
    keras = load_keras()
    layers = keras.layers
    outputs = [layer.output for layer in model.layers]
    shapes = keras.Model(model.inputs, outputs).compute_output_spec(keras.KerasTensor((1, image_size, image_size, 3)))
    rows, part, side = [], "input", None
    for layer, tensor in zip(model.layers, keras.tree.flatten(shapes), strict=True):
        before = part
        if part == "input" and layer.weights:
            part = "encoder"
        elif isinstance(layer, (layers.UpSampling2D, layers.Conv2DTranspose)):
            part = "decoder"
        elif layer.name == "head_dropout":
            part = "head"
        _, height, width, channels = tensor.shape
        if rows and isinstance(layer, layers.ZeroPadding2D):
            # A border for the next convolution is no stage.
            rows[-1]["layers"] += 1
            continue
        if not rows or part != before or height != side:
            side = height
            rows.append({"part": part, "output": "", "layers": 0, "trained": 0, "frozen": 0, "statistics": 0})
        row = rows[-1]
        row["output"], row["layers"] = f"{height} x {width} x {channels}", row["layers"] + 1
        row["trained"] += _count(layer.trainable_weights)
        row["statistics" if layer.trainable else "frozen"] += _count(layer.non_trainable_weights)
    table = pd.DataFrame(rows)
    numbers = ["layers", "trained", "frozen", "statistics"]
    total = {"part": "total", "output": table["output"].iloc[-1], **table[numbers].sum().to_dict()}
    return pd.concat([table, pd.DataFrame([total])], ignore_index=True)


def _count(weights) -> int:
    # The state of a dropout's random generator is no parameter.
    return sum(math.prod(weight.shape) for weight in weights if "seed_generator" not in weight.path)
