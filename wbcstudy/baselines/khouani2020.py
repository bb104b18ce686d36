"""Mask R-CNN (reference 14), an optional extra: it needs torchvision and, to be worth its row, a GPU."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from wbcstudy.baselines.base import Method
from wbcstudy.errors import StudyError
from wbcstudy.labels import BACKGROUND, CYTOPLASM, NUCLEUS

# The network's own classes; 0 is its background. A cell is nucleus and cytoplasm together, so that it is one piece.
_CELL, _NUCLEUS = 1, 2


class MaskRcnn(Method):
    """Mask R-CNN with a ResNet-50 and a feature pyramid, trained from scratch.

    Khouani, El Habib Daho, Mahmoudi, Chikh, Benzineb: Automated recognition of white blood cells using deep learning.
    Biomedical Engineering Letters 10, 2020, pp. 359-367.

    1. Each connected cell (nucleus and cytoplasm together) and each connected nucleus is an instance with a box.
    2. Train Mask R-CNN by stochastic gradient descent.
    3. Predict: instances surer than `min_score` are painted, cells first and nuclei over them; what is cell and not
       nucleus is cytoplasm.

    The authors' changes to the architecture and their pre- and post-processing are not known; this is torchvision's
    network as it stands, without their pre-trained weights. From scratch on some seventy images it is undertrained. On
    a machine with a GPU: install torchvision, raise `epochs` to about 100, and pass the method's name in `baselines`.

    Args:
        image_size_px: side to which the network resizes an image.
        epochs: passes over the training images.
        batch_size: images in one step.
        learning_rate: of stochastic gradient descent with momentum 0.9.
        min_score: instances below it are not painted, 0-1.
        device: "cpu", "cuda", or None for a GPU where there is one.

    Attributes:
        network_: the trained network.
    """

    def __init__(self, image_size_px=256, epochs=20, batch_size=2, learning_rate=0.005, min_score=0.5, device=None):
        self.image_size_px = image_size_px
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.min_score = min_score
        self.device = device

    def _fit(self, images: Sequence[np.ndarray], masks: Sequence[np.ndarray], rng: np.random.Generator) -> None:
        torch, detection = _torch()
        device = self._device(torch)
        torch.manual_seed(int(rng.integers(2**31)))
        self.network_ = detection.maskrcnn_resnet50_fpn(
            weights=None,
            weights_backbone=None,
            num_classes=3,
            min_size=self.image_size_px,
            max_size=self.image_size_px,
        ).to(device)
        parameters = [one for one in self.network_.parameters() if one.requires_grad]
        optimiser = torch.optim.SGD(parameters, lr=self.learning_rate, momentum=0.9, weight_decay=5e-4)
        self.network_.train()
        for _ in range(self.epochs):
            order = rng.permutation(len(images))
            for start in range(0, len(order), self.batch_size):
                batch = order[start : start + self.batch_size]
                inputs = [_image_tensor(torch, images[k]).to(device) for k in batch]
                targets = [
                    {name: torch.from_numpy(value).to(device) for name, value in instance_targets(masks[k]).items()}
                    for k in batch
                ]
                loss = sum(self.network_(inputs, targets).values())
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
        self.network_.eval()

    def _predict(self, image: np.ndarray) -> np.ndarray:
        torch, _ = _torch()
        with torch.no_grad():
            found = self.network_([_image_tensor(torch, image).to(self._device(torch))])[0]
        sure = (found["scores"] >= self.min_score).cpu().numpy()
        painted = found["masks"][:, 0].cpu().numpy() >= 0.5
        classes = found["labels"].cpu().numpy()
        mask = np.full(image.shape[:2], BACKGROUND, np.uint8)
        for instance_class, label in ((_CELL, CYTOPLASM), (_NUCLEUS, NUCLEUS)):
            mask[painted[sure & (classes == instance_class)].any(0)] = label
        return mask

    def _device(self, torch):
        return self.device or ("cuda" if torch.cuda.is_available() else "cpu")


def instance_targets(mask: np.ndarray) -> dict[str, np.ndarray]:
    """A mask's instances in the form torchvision's detection networks learn from.

    Args:
        mask: uint8 (H, W) of labels.

    Returns:
        "boxes": float32 (n, 4), x0, y0, x1, y1 in px, the far edges exclusive; "labels": int64 (n,), 1 for a cell and
        2 for a nucleus; "masks": uint8 (n, H, W). n is 0 for a mask without cells.
    """
    from skimage.measure import label

    boxes, labels, masks = [], [], []
    for instance_class, region in ((_CELL, mask != BACKGROUND), (_NUCLEUS, mask == NUCLEUS)):
        pieces = label(region, connectivity=2)
        for number in range(1, pieces.max() + 1):
            piece = pieces == number
            rows, columns = np.flatnonzero(piece.any(1)), np.flatnonzero(piece.any(0))
            boxes.append((columns[0], rows[0], columns[-1] + 1, rows[-1] + 1))
            labels.append(instance_class)
            masks.append(piece)
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
            fix="Run `.venv/bin/pip install torchvision`, or take khouani2020 out of `baselines`.",
        ) from error
    return torch, detection
