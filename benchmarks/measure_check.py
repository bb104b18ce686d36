"""Measure time and memory of `wbcstudy data check` on the largest image that is read, 9459x9459 px, with its mask.

python benchmarks/measure_check.py            # labels as numbers, in a grey PNG
python benchmarks/measure_check.py --colours  # labels as colours, in an RGB PNG
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

# Pillow's limit is 89,478,485 pixels.
SIDE_PX = 9459
SPEC = "name: large\nimages: images/{case}.png\nmasks: masks/{case}.png\nlabels: "
NUMBERS = "{background: 0, cytoplasm: 128, nucleus: 255}\n"
COLOURS = "{background: '#000000', cytoplasm: '#00ff00', nucleus: '#0000ff'}\n"


def write_pair(folder: Path, side_px: int, colours: bool) -> None:
    """Write a dataset of one image with 400 cells, and its mask."""
    generator = np.random.default_rng(0)
    image = np.full((side_px, side_px, 3), 220, np.uint8)
    mask = np.zeros((side_px, side_px), np.uint8)
    for row, column in generator.integers(0, max(1, side_px - 200), (400, 2)):
        mask[row : row + 200, column : column + 200] = 128
        mask[row + 50 : row + 150, column + 50 : column + 150] = 255
    image[mask > 0] = (180, 120, 190)
    for name, array in (("images", image), ("masks", mask)):
        (folder / name).mkdir()
        if name == "masks" and colours:
            array = np.stack([np.zeros_like(mask), (mask == 128) * np.uint8(255), (mask == 255) * np.uint8(255)], -1)
        Image.fromarray(array).save(folder / name / "a.png", compress_level=1)
    (folder / "dataset.yaml").write_text(SPEC + (COLOURS if colours else NUMBERS), encoding="utf-8")


def main() -> None:
    """Write the pair, check it in a new process, and print time and peak memory."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--colours", action="store_true", help="labels as colours")
    parser.add_argument("--side", type=int, default=SIDE_PX, help="side of the image in px")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # In another process: the peak of the children would include this one's arrays.
        if os.fork() == 0:
            write_pair(folder, args.side, args.colours)
            os._exit(0)
        os.wait()
        start = time.monotonic()
        code = "import sys; from wbcstudy.cli import main; sys.argv[0] = 'wbcstudy'; main()"
        child = subprocess.Popen([sys.executable, "-c", code, "data", "check", name])
        usage = os.wait4(child.pid, 0)[2]
        print(f"{args.side}x{args.side} px: {time.monotonic() - start:.0f} s, {usage.ru_maxrss / 1e3:.0f} MB at most")


if __name__ == "__main__":
    main()
