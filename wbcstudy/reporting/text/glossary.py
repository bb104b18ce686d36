"""Words of the report, explained."""

GLOSSARY = (
    ("Dice", "overlap of the predicted and the expert's region, from 0 (none) to 1 (identical); also called F-score."),
    (
        "Dice and mean Dice",
        "Dice: from the pixels of all test images together, as in the paper. Mean Dice: mean of the images' own Dice.",
    ),
    ("95 % interval", "range in which the mean is expected for other test images of this kind (bootstrap)."),
    ("Precision", "share of the pixels predicted as a region that are in it."),
    ("Sensitivity", "share of the expert's pixels of a region that were predicted; also called recall."),
    ("Specificity", "share of the pixels outside a region that were not predicted."),
    ("Accuracy", "share of all pixels that are correct; always high for small regions."),
    ("IoU", "pixels in both regions divided by pixels in either; never higher than Dice."),
    ("Encoder", "the part of the network that reads the image, taken from a known classification network."),
    ("Loss", "the number that training minimises."),
    ("Epoch, best epoch", "one pass of training; the one with the lowest validation loss, whose weights are kept."),
    ("Seed", "number that fixes the random start and order of a training."),
    (
        "Training, validation, test",
        "images to train on; to stop training and choose by; to report on, used for nothing else.",
    ),
    ("Significant", "unlikely to be chance alone: Holm-adjusted p below 0.05."),
    ("No significant difference", "the difference could be chance; it does not mean that there is none."),
    ("p (Holm)", "probability of a difference this large by chance alone, adjusted for the number of pairs compared."),
    ("Detectable difference", "a difference this large would be significant in four of five studies like this one."),
    ("Rank", "position of a method on one image, 1 is the best; the mean rank is over the images."),
    ("Multiply-adds", "multiplications, each with an addition, that the network performs for one image."),
    (
        "float32, bfloat16",
        "precision of a network's arithmetic: about seven and two to three decimal digits. bfloat16 is "
        "several times as fast on processors with bfloat16 instructions. Weights are float32 in both.",
    ),
    (
        "Calibration",
        "agreement of probabilities with reality: of the pixels with a probability of 70 %, 70 % should be "
        "correct. The expected calibration error is the mean difference.",
    ),
    (
        "Loss on other datasets",
        "mean Dice on the study's test images minus mean Dice on a dataset that no network was trained on.",
    ),
    ("Measured, quoted", "computed in this study; printed in the paper, for other images."),
)
