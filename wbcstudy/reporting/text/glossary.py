"""Words of the report, explained."""

GLOSSARY = (
    ("Dice", "overlap of the predicted and the expert's region, from 0 (none) to 1 (identical); also called F-score."),
    (
        "Dice and mean Dice",
        "Dice: from the pixels of all test images together, as in the paper. Mean Dice: mean of the Dice per image.",
    ),
    ("95 % interval", "range in which the mean is expected to be for other test images of this kind."),
    ("Precision", "share of the pixels predicted as a region that belong to it."),
    ("Sensitivity", "share of the pixels of the expert's region that were predicted; also called recall."),
    ("Specificity", "share of the pixels outside the expert's region that were not predicted as the region."),
    ("Accuracy", "share of all pixels that are correct; always high for small regions."),
    ("IoU", "number of pixels in both regions divided by the number in at least one; never higher than Dice."),
    (
        "Encoder",
        "the part of the network that extracts features of the image, taken from a classification network.",
    ),
    ("Loss", "the number that training minimises."),
    (
        "Epoch, best epoch",
        "one or more augmented passes over the training images; the epoch with the lowest validation loss, whose "
        "weights are kept.",
    ),
    (
        "Moving average of the weights",
        "mean of the weights after the last training steps, in which recent steps count most; it depends less on the "
        "last steps than the weights themselves.",
    ),
    ("Seed", "number that fixes the random choices of a training, such as initial weights and image order."),
    (
        "Training, validation, test",
        "images for training; for stopping it and choosing the network; for the final scores only.",
    ),
    ("Significant", "unlikely to be due to chance alone: adjusted p below 0.05."),
    ("No significant difference", "the difference could be due to chance; this does not mean that there is none."),
    (
        "Adjusted p",
        "probability of a difference this large if there were none, adjusted for the number of pairs and regions.",
    ),
    (
        "Equivalent",
        "shown to differ in mean Dice by less than a margin (`equivalence_margin`); more than not significantly "
        "different.",
    ),
    (
        "Recommended",
        "the cheapest network (by multiply-adds) that is equivalent to the best on the validation images, or the best.",
    ),
    (
        "Detectable difference",
        "a difference of this size would be significant in at least four of five studies like this one.",
    ),
    ("Rank", "position of a method on one image (1 is best); the mean rank is the mean over the images."),
    ("Multiply-adds", "multiplications, each with an addition, that the network performs for one image."),
    (
        "float32, bfloat16",
        "precision of a network's arithmetic: about seven and two to three decimal digits. bfloat16 is "
        "faster on processors and GPUs with units for it. Weights are float32 in both.",
    ),
    (
        "Calibration",
        "agreement of the predicted probabilities with the expert: of the pixels with a probability of 70 %, 70 % "
        "should be correct. The expected calibration error is the mean difference.",
    ),
    (
        "Drop on other datasets",
        "mean Dice on the study's test images minus mean Dice on a dataset that no network was trained on.",
    ),
    ("Measured, quoted", "computed in this study; printed in the paper, for other images."),
)
