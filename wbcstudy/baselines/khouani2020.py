"""[14] Mask R-CNN, an optional extra: it needs torchvision and, for a useful result, a GPU."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from skimage import measure

from wbcstudy.baselines.base import Method
from wbcstudy.errors import StudyError
from wbcstudy.labels import BACKGROUND, CYTOPLASM, IGNORED, NUCLEUS, region_mask

# Classes of the network; 0 is its background. A cell is nucleus and cytoplasm together, so that it is one piece.
_CELL, _NUCLEUS = 1, 2
# Groups of a normalisation; steps in which the learning rate rises to its value, and the largest norm of a gradient.
_GROUPS = 32
_WARM_UP = 100
_MAX_GRADIENT = 5.0
# Sampled regions of an image in a training step.
_REGIONS = 64


@dataclass(eq=False, repr=False)
class MaskRcnn(Method):
    """Mask R-CNN with a ResNet-50 and a feature pyramid, trained from scratch.

    Khouani, El Habib Daho, Mahmoudi, Chikh, Benzineb: Automated recognition of white blood cells using deep learning.
    Biomedical Engineering Letters 10, 2020, pp. 359-367.

    1. Each connected cell (nucleus and cytoplasm together) and each connected nucleus is an instance with a box.
    2. Train Mask R-CNN.
    3. Predict: draw the instances with at least `min_score`, cells first and nuclei over them. Cell pixels without a
       nucleus are cytoplasm.

    The authors' changes to the architecture and their pre- and post-processing are not known; this is torchvision's
    network, without their pre-trained weights. From scratch, on some hundred images and in the default number of steps
    (44 minutes of one core of an AMD EPYC with AVX512_BF16), it is undertrained. A study fits it with its first seed
    only. On a machine with a GPU, raise `image_size_px` and `steps`.

    torchvision normalises over the batch, which needs pre-trained weights or large batches: from scratch, in batches of
    two, the loss was not a number within 20 steps. Here the ResNet-50 has group normalisation (He, Girshick, Dollar:
    Rethinking ImageNet pre-training, ICCV 2019), and the optimiser is Adam. torchvision samples 512 regions of an image
    in each step. Here it is 64: an image of one cell has two objects, and the branch for masks takes most of the time.

    Masks with ignored pixels are refused.

    Args:
        image_size_px: side to which the network resizes an image.
        steps: number of training steps.
        batch_size: images per step.
        learning_rate: learning rate of Adam.
        min_score: minimum score of an instance, 0-1.
        device: "cpu", "cuda", or None for a GPU if there is one.

    Attributes:
        network_: the trained network.
    """

    image_size_px: int = 128
    steps: int = 2000
    batch_size: int = 2
    learning_rate: float = 0.0001
    min_score: float = 0.5
    device: str | None = None

    def _fit(self, images: Sequence[np.ndarray], masks: Sequence[np.ndarray], rng: np.random.Generator) -> None:
        _check_labelled(masks)
        torch, detection = _torch()
        device = self._device(torch)
        torch.manual_seed(int(rng.integers(2**31)))
        backbone = detection.backbone_utils.resnet_fpn_backbone(
            backbone_name="resnet50",
            weights=None,
            norm_layer=lambda channels: torch.nn.GroupNorm(_GROUPS, channels),
            trainable_layers=5,
        )
        self.network_ = detection.MaskRCNN(
            backbone,
            num_classes=3,
            min_size=self.image_size_px,
            max_size=self.image_size_px,
            box_batch_size_per_image=_REGIONS,
        ).to(device)
        parameters = [parameter for parameter in self.network_.parameters() if parameter.requires_grad]
        optimiser = torch.optim.Adam(parameters, lr=self.learning_rate)
        self.network_.train()
        batches = _batches(len(images), self.batch_size, rng)
        for step, batch in enumerate(itertools.islice(batches, self.steps), start=1):
            inputs = [_image_tensor(torch, images[k]).to(device) for k in batch]
            targets = [
                {name: torch.from_numpy(value).to(device) for name, value in _instance_targets(masks[k]).items()}
                for k in batch
            ]
            loss = sum(self.network_(inputs, targets).values())
            if not torch.isfinite(loss):
                raise StudyError(
                    f"The training of Mask R-CNN diverged in step {step}: its loss is {loss.item()}.",
                    expected="a finite loss in every step",
                    fix="Remove khouani2020 from `baselines`, or lower `learning_rate` of `MaskRcnn`.",
                )
            for group in optimiser.param_groups:
                group["lr"] = self.learning_rate * min(1, step / _WARM_UP)
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, _MAX_GRADIENT)
            optimiser.step()
        self.network_.eval()

    def _predict(self, image: np.ndarray) -> np.ndarray:
        torch, _ = _torch()
        with torch.no_grad():
            instances = self.network_([_image_tensor(torch, image).to(self._device(torch))])[0]
        confident = (instances["scores"] >= self.min_score).cpu().numpy()
        pieces = instances["masks"][:, 0].cpu().numpy() >= 0.5
        classes = instances["labels"].cpu().numpy()
        mask = np.full(image.shape[:2], BACKGROUND, np.uint8)
        for instance_class, label in ((_CELL, CYTOPLASM), (_NUCLEUS, NUCLEUS)):
            mask[pieces[confident & (classes == instance_class)].any(0)] = label
        return mask

    def _device(self, torch):
        return self.device or ("cuda" if torch.cuda.is_available() else "cpu")


def _batches(images: int, size: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Yield the indices of batches without end; each pass over the images has another order."""
    while True:
        order = rng.permutation(images)
        yield from (order[start : start + size] for start in range(0, images, size))


def _check_labelled(masks: Sequence[np.ndarray]) -> None:
    """Refuse ignored pixels: the losses are per box, in which they would be background."""
    number = sum(bool((mask == IGNORED).any()) for mask in masks)
    if number:
        raise StudyError(
            f"Mask R-CNN cannot leave out ignored pixels, and {number} of {len(masks)} training masks have some.",
            expected="masks in which every pixel has a label, since its losses are per box, not per pixel",
            fix="Remove khouani2020 from `baselines`, or list the values of `ignore` under a label in dataset.yaml.",
        )


def _instance_targets(mask: np.ndarray) -> dict[str, np.ndarray]:
    """Convert a mask, uint8 (H, W) of labels, to instances in the format of torchvision's detection networks.

    Returns:
        "boxes": float32 (n, 4), x0, y0, x1, y1 in px, x1 and y1 exclusive; "labels": int64 (n,), 1 for a cell and
        2 for a nucleus; "masks": uint8 (n, H, W). n is 0 for a mask without cells.
    """
    boxes, labels, masks = [], [], []
    for instance_class, region in ((_CELL, region_mask(mask, "cell")), (_NUCLEUS, mask == NUCLEUS)):
        pieces = measure.label(region, connectivity=2)
        for piece in measure.regionprops(pieces):
            top, left, bottom, right = piece.bbox
            boxes.append((left, top, right, bottom))
            labels.append(instance_class)
            masks.append(pieces == piece.label)
    return {
        "boxes": np.array(boxes, np.float32).reshape(-1, 4),
        "labels": np.array(labels, np.int64),
        "masks": np.array(masks, np.uint8).reshape(-1, *mask.shape),
    }


def _image_tensor(torch, image):
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))).float() / 255


def _torch():
    try:
        import torch
        from torchvision.models import detection
    except ImportError as error:
        raise StudyError(
            "Mask R-CNN needs the packages 'torch' and 'torchvision', which are not installed.",
            expected="an environment with torchvision 0.20 or newer",
            fix="Run `.venv/bin/pip install torchvision`, or remove khouani2020 from `baselines`.",
        ) from error
    return torch, detection
