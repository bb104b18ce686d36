"""One PyTorch network (segmentation-models-pytorch): one step for each line it reads, or a complete training.

Runs in another Python (`--torch-python`), which needs torch and segmentation-models-pytorch but not wbcstudy.
Channels-last memory, Adam, cross-entropy; bfloat16 by autocast, or float32.
"""

from __future__ import annotations

import argparse
import itertools
import json
import resource
import sys
import time
import types
from pathlib import Path

# The compiled part of torchvision must match torch's build, but nothing here uses it. Without its operator
# registration, a torchvision wheel for GPUs also works with a torch for CPUs.
sys.modules["torchvision._meta_registrations"] = types.ModuleType("torchvision._meta_registrations")

import numpy as np  # noqa: E402
import segmentation_models_pytorch as smp  # noqa: E402
import torch  # noqa: E402

ENCODERS = {
    "mobilenet": "tu-mobilenetv1_100",
    "mobilenetv2": "mobilenet_v2",
    "resnet18": "resnet18",
    "resnet34": "resnet34",
    "resnet50": "resnet50",
    "resnet152": "resnet152",
    "vgg16": "vgg16",
    "vgg19": "vgg19",
}
MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)


class Network(torch.nn.Module):
    """A U-Net that takes RGB 0-255, like ours."""

    def __init__(self, encoder: str, dropout: float) -> None:
        super().__init__()
        self.unet = smp.Unet(ENCODERS[encoder], encoder_weights=None, classes=3)
        if dropout:
            self.unet.segmentation_head.insert(0, torch.nn.Dropout(dropout))
        for name, value in (("mean", MEAN), ("std", STD)):
            self.register_buffer(name, torch.tensor(value).view(1, 3, 1, 1))

    def forward(self, images):
        return self.unet((images - self.mean) / self.std)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("encoder", choices=sorted(ENCODERS))
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--width", type=int, help="default: --size")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--precision", choices=["float32", "bfloat16"], default="bfloat16")
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall")
    parser.add_argument("--segment", action="store_true", help="predict instead of training")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--dropout", type=float, default=0, help="rate before the last layer")
    parser.add_argument("--fit", type=Path, help="arrays and plan of benchmarks/fit.py, for a complete training")
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    network = Network(args.encoder, args.dropout).to(memory_format=torch.channels_last)
    trainer = Trainer(network, args.precision)
    facts = {
        "torch": torch.__version__.split("+")[0],
        "segmentation-models-pytorch": smp.__version__,
        "parameters": sum(weight.numel() for weight in network.parameters()),
    }
    print(json.dumps(facts), flush=True)
    if args.fit:
        fit(trainer, args.fit)
        return
    rng = np.random.default_rng(0)
    shape = (args.size, args.width or args.size)
    images = torch.from_numpy(rng.uniform(0, 255, (args.batch, 3, *shape)).astype(np.float32))
    images = images.to(memory_format=torch.channels_last)
    masks = torch.from_numpy(rng.integers(0, 3, (args.batch, *shape)))
    step = (lambda: trainer.predict(images)) if args.segment else (lambda: trainer.step(images, masks))
    clock = time.perf_counter if args.clock == "wall" else time.process_time
    for _ in sys.stdin:
        start = clock()
        step()
        report(seconds=clock() - start)


class Trainer:
    """Adam and cross-entropy on a network."""

    def __init__(self, network, precision: str) -> None:
        self.network = network
        self.low = precision == "bfloat16"
        self.optimiser = torch.optim.Adam(network.parameters(), 1e-3)
        self.loss = torch.nn.CrossEntropyLoss()

    def step(self, images, masks) -> float:
        self.network.train()
        self.optimiser.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=self.low):
            logits = self.network(images)
        loss = self.loss(logits.float(), masks)
        loss.backward()
        self.optimiser.step()
        return loss.item()

    @torch.inference_mode()
    def predict(self, images):
        self.network.eval()
        with torch.autocast("cpu", torch.bfloat16, enabled=self.low):
            logits = self.network(images)
        return logits.float().softmax(1)


def fit(trainer: Trainer, source: Path) -> None:
    """Train with the images, order and augmentation of benchmarks/fit.py, and test the best epoch."""
    data = np.load(source)
    images, masks = (torch.from_numpy(data[f"train_{of}"]) for of in ("images", "masks"))
    images = images.permute(0, 3, 1, 2)
    start, best, kept = time.perf_counter(), np.inf, None
    for epoch in range(len(data["orders"])):
        order, bounds = data["orders"][epoch], data["bounds"]
        plan = torch.from_numpy(data["transforms"][epoch]), torch.from_numpy(data["brightness"][epoch])
        for first, last in itertools.pairwise(bounds):
            chosen = torch.from_numpy(order[first:last])
            batch = augment(images[chosen], masks[chosen], plan[0][first:last], plan[1][first:last])
            loss = trainer.step(*batch)
        value = validate(trainer, data["validation_images"], data["validation_masks"])
        if value < best:
            best = value
            kept = {name: weight.clone() for name, weight in trainer.network.state_dict().items()}
        print(f"epoch {epoch + 1} loss {loss:.4f} val_loss {value:.4f}", file=sys.stderr, flush=True)
    seconds = time.perf_counter() - start
    trainer.network.load_state_dict(kept)
    masks = [probabilities.argmax(1).astype(np.uint8) for probabilities in predict(trainer, data["test_images"])]
    np.save(source.with_suffix(".torch.npy"), np.concatenate(masks))
    report(seconds=seconds)


def augment(images, masks, transforms, brightness):
    """Apply the transforms of `wbcstudy.nets.augment` with one sampling grid per image."""
    size = images.shape[-1]
    # From pixels to grid_sample's range: -1 to 1 between the outer edges, where TensorFlow's REFLECT also mirrors.
    a, b, c, d, e, f = transforms[:, :6].T
    row = torch.stack([a, b, ((a + b) * (size - 1) + 2 * c + 1) / size - 1], 1)
    column = torch.stack([d, e, ((d + e) * (size - 1) + 2 * f + 1) / size - 1], 1)
    theta = torch.stack([row, column], 1)
    grid = torch.nn.functional.affine_grid(theta, [len(images), 1, size, size], align_corners=False)
    sample = torch.nn.functional.grid_sample
    moved = sample(images.float(), grid, "bilinear", "reflection", align_corners=False)
    turned = sample(masks[:, None].float(), grid, "nearest", "reflection", align_corners=False)[:, 0].long()
    moved = (moved + brightness[:, None, None, None]).clamp(0, 255)
    return moved.contiguous(memory_format=torch.channels_last), turned


def predict(trainer, images):
    for start in range(0, len(images), 8):
        yield trainer.predict(torch.from_numpy(images[start : start + 8]).permute(0, 3, 1, 2).float()).numpy()


def validate(trainer, images, masks) -> float:
    probabilities = np.concatenate(list(predict(trainer, images)))
    chosen = np.take_along_axis(probabilities, masks[:, None].astype(np.int64), axis=1)
    return float(-np.log(np.maximum(chosen, 1e-7)).mean())


def report(**facts) -> None:
    facts["peak_mb"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6, 1)
    print(json.dumps(facts), flush=True)


if __name__ == "__main__":
    main()
