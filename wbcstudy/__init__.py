"""Which encoder and which loss should our U-Net use, on our cells, and is the difference real?"""

__version__ = "0.2.0"


def segment(image, model, *, way="auto", scale=None, pixel_um=None):
    """Segment one image, tell its cells apart and measure them; see `wbcstudy.inference.image.segment_image`.

    Args:
        image: a file, or uint8 (H, W, 3) RGB.
        model: a run's folder, `<study>/<run>`, or a study's name, of which the best run by validation is taken.
        way: "auto", "whole" or "tiles".
        scale: how many times larger a cell is here, in px, than in the training images.
        pixel_um: side of a pixel in micrometres.

    Returns:
        Segmentation: image, mask, instances, probabilities, cells (one row each) and way; shows itself in a notebook.
    """
    # The network's libraries take seconds to load: only those who segment wait for them.
    from wbcstudy.inference.image import segment_image

    return segment_image(image, model, way=way, scale=scale, pixel_um=pixel_um)
