"""One Keras network in a separate process; it takes one training step for each line it reads.

`ours` is compiled as in `wbcstudy.nets.training.train`. `paper` follows the tutorials of `segmentation_models`:
`Unet(backbone)`, Keras' own layers, float32, Adam, categorical cross-entropy, and TensorFlow's default kernels.
`paper-onednn` is the same with oneDNN kernels everywhere.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import time

import numpy as np
from machine import onednn_by_default

KINDS = ("ours", "paper", "paper-onednn")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("encoder")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--width", type=int, help="default: --size")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall")
    parser.add_argument("--segment", action="store_true", help="predict instead of training")
    args = parser.parse_args()
    if args.kind != "ours":
        os.environ["TF_ENABLE_ONEDNN_OPTS"] = str(int(args.kind == "paper-onednn" or onednn_by_default()))
    model, facts = (build_ours if args.kind == "ours" else build_paper)(args)
    rng = np.random.default_rng(0)
    shape = (args.batch, args.size, args.width or args.size)
    images = rng.uniform(0, 255, (*shape, 3)).astype(np.float32)
    masks = rng.integers(0, 3, shape, dtype=np.uint8)
    if args.kind != "ours":
        masks = np.eye(3, dtype=np.float32)[masks]
    step = segmenter(model, images) if args.segment else trainer(model, images, masks, args.kind)
    print(json.dumps(facts), flush=True)
    clock = time.perf_counter if args.clock == "wall" else time.process_time
    for _ in sys.stdin:
        start = clock()
        step()
        seconds = clock() - start
        print(json.dumps({"seconds": seconds, "peak_mb": peak_mb()}), flush=True)


def trainer(model, images, masks, kind: str):
    """Return a function that takes one step, ours as in `wbcstudy.nets.training.train`."""
    from wbcstudy.nets.fast_convolutions import fast_convolutions

    def step() -> None:
        with fast_convolutions(model) if kind == "ours" else contextlib.nullcontext():
            model.train_on_batch(images, masks)

    return step


def segmenter(model, images):
    """Return a function that predicts as `wbcstudy.inference.network.Network` does."""
    import tensorflow as tf

    compiled = tf.function(lambda batch: model(batch, training=False))
    return lambda: compiled(images).numpy()


def build_ours(args):
    from wbcstudy.config import RunConfig
    from wbcstudy.nets.backend import resolve_precision, start_training
    from wbcstudy.nets.cost import count_multiply_adds
    from wbcstudy.nets.fast_layers import fast_adam
    from wbcstudy.nets.losses import build_loss
    from wbcstudy.nets.unet import build_unet

    config = RunConfig(encoder=args.encoder, image_size=args.size, batch_size=args.batch, precision=args.precision)
    if not args.segment:
        start_training(config.seed)
    model = build_unet(config)
    model.compile(fast_adam(config.learning_rate), build_loss("cross_entropy"), jit_compile=False)
    return model, {
        "precision": resolve_precision(args.precision),
        "multiply_adds": count_multiply_adds(model, args.size),
        "parameters": model.count_params(),
    }


def build_paper(args):
    from wbcstudy.nets.backend import load_keras
    from wbcstudy.nets.keras_compat import load_segmentation_models
    from wbcstudy.registry import ENCODERS

    keras = load_keras()
    keras.utils.set_random_seed(0)
    backbone = ENCODERS[args.encoder].backbone
    if backbone is None:
        model = build_plain_unet(keras, args)
    else:
        segmentation_models = load_segmentation_models()
        model = segmentation_models.Unet(
            backbone, classes=3, activation="softmax", encoder_weights=None, input_shape=(None, None, 3)
        )
    # By default Keras 3 compiles with XLA, which TensorFlow 2.2 did not and which is slower on CPUs.
    model.compile(keras.optimizers.Adam(1e-3), keras.losses.CategoricalCrossentropy(), jit_compile=False)
    return model, {"precision": "float32", "parameters": model.count_params()}


def build_plain_unet(keras, args):
    """Return our plain U-Net with Keras' own layers. The paper does not describe its own."""
    from wbcstudy.config import RunConfig
    from wbcstudy.nets.unet import build_unet

    def stock(layer):
        # The fast layers have the names of the Keras layers that they replace.
        layer_class = getattr(keras.layers, type(layer).__name__, type(layer))
        return layer_class.from_config(layer.get_config())

    model = build_unet(RunConfig(encoder="unet", image_size=args.size, precision="float32"))
    return keras.models.clone_model(model, clone_function=stock)


def peak_mb() -> float:
    from wbcstudy.nets.cost import peak_memory_mb

    return round(peak_memory_mb(), 1)


if __name__ == "__main__":
    main()
