"""The commands of networks."""


def test_the_lists(command, places):
    assert "resnet152" in command("encoders")[1]
    assert "segmentation_wbc_2" in command("data", "list")[1]
    assert "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5" in command("weights", "list")[1]
