"""Compare encoders and losses of a U-Net on images of white blood cells, and segment new images."""

__version__ = "0.2.0"


def segment(image, model, *, way="auto", scale=None, pixel_um=None, stain="auto"):
    """Segment one image, separate touching cells and measure each cell.

    Args:
        image: an image file, or uint8 (H, W, 3) RGB or (H, W) grey.
        model: a run's folder, `<study>/<run>`, a study's name for the network that its report recommends, or "starter".
        way: "whole" to resize the image to the network's input, "tiles" to keep the scale of the training images, or
            "auto" to choose by the image's size.
        scale: size of a cell in px, relative to the training images. By default it is found in the image, unless the
            pixel sizes are known or the image is about as large as the training images.
        pixel_um: side of a pixel in micrometres. Adds sizes in µm to the cells, and sets the scale if the pixel size of
            the training images is known.
        stain: "none", "reinhard" or "macenko" to bring the colours to those of the training images first, or "auto" to
            decide by the image.

    Returns:
        `wbcstudy.inference.image.Segmentation`: `mask`, `instances` and `probabilities` as arrays, `cells` as a data
        frame with one row per cell, `doubts` with reasons to check the result, and `overlay()`, which a notebook shows.

    Raises:
        wbcstudy.errors.StudyError: an image or model that cannot be used.
    """
    # Imported here, since TensorFlow takes seconds to load.
    from wbcstudy.inference.image import segment_image

    return segment_image(image, model, way=way, scale=scale, pixel_um=pixel_um, stain=stain)
