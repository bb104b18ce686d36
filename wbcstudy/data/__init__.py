"""From files to uint8 arrays: datasets, splits, augmentation and the input pipeline."""
