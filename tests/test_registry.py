"""Names of encoders, losses, methods and runs for readers."""

import pytest

from wbcstudy.registry import loss_title, method_title, network_title, run_title, varying_part

DICE, ENTROPY = "resnet18__dice", "resnet18__cross_entropy"


def test_method_titles():
    assert method_title(DICE) == "ResNet-18 with Dice loss"
    assert method_title(ENTROPY) == "ResNet-18 with cross-entropy"
    assert method_title(ENTROPY, "encoder") == "ResNet-18" and method_title(ENTROPY, "loss") == "cross-entropy"
    assert method_title("otsu_levels") == "Three-level Otsu" and method_title("my_own", "encoder") == "my_own"
    assert loss_title("cross_entropy") == "Cross-entropy"
    assert network_title("unet") == "U-Net" and network_title("vgg16") == "U-Net VGG-16"


def test_varying_part():
    assert varying_part([DICE, "unet__dice"]) == "encoder"
    assert varying_part([DICE, ENTROPY]) == "loss"
    assert varying_part([DICE, ENTROPY, "unet__dice"]) == varying_part([DICE, "otsu_levels"]) == "method"


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("resnet50__cross_entropy__fold0__seed0", "ResNet-50, cross-entropy"),
        ("unet__dice__fold2__seed10", "U-Net, Dice loss, fold 2, seed 10"),
        ("otsu_levels__fold1", "Three-level Otsu, fold 1"),
        ("by_hand", "by_hand"),
    ],
)
def test_run_titles(name, title):
    assert run_title(name) == title
