"""Do ONNX Runtime, OpenCV and OpenVINO compute the same with an exported network?

    uv venv other && uv pip install --python other/bin/python numpy onnxruntime openvino "opencv-python-headless<5"
    .venv/bin/python benchmarks/compare_runtimes.py RUN [RUN ...] --python other/bin/python

Exports each network for any size and for each of three sizes, and predicts a synthetic image of each size: in Keras
(extended to multiples of 32), and in the other environment with each runtime. OpenCV takes the files of one size, the
others also that of any size. The table has the largest difference from Keras.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

SIZES = ((96, 96), (100, 100), (333, 517))
ANY, FIXED = "any.onnx", "{0}x{1}.onnx"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+", help="folders of finished runs; or one folder with --evaluate")
    parser.add_argument("--python", default=sys.executable, help="Python of an environment with the three runtimes")
    parser.add_argument("--evaluate", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.evaluate:
        print(json.dumps(evaluate(args.runs[0])))
        return
    import pandas as pd
    from machine import describe_machine, write_table

    rows, versions = [], ""
    for run in args.runs:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            export(run, folder)
            call = [args.python, __file__, str(folder), "--evaluate"]
            result = json.loads(subprocess.run(call, capture_output=True, text=True, check=True).stdout)
            versions = result["versions"]
            rows += [{"network": run.name} | row for row in result["rows"]]
    notes = [f"{versions}. The target is 1e-4. '-': OpenCV 4 needs a file of one size.", *describe_machine()]
    write_table("runtimes", "Largest difference of a probability from Keras", pd.DataFrame(rows), notes)


def export(run: Path, folder: Path) -> None:
    """Write the ONNX files, the images and Keras' probabilities."""
    from wbcstudy.data.synthetic.dataset import make_smear
    from wbcstudy.inference.export import export_network
    from wbcstudy.inference.network import load_network

    network = load_network(run)
    export_network(network, "onnx", folder / ANY)
    for size in SIZES:
        export_network(network, "onnx", folder / FIXED.format(*size), size)
        image = make_smear(3, *size).image[None]
        height, width = size
        missing = [(0, -side % 32) for side in size]
        extended = np.pad(image, [(0, 0), *missing, (0, 0)], mode="edge")
        probabilities = network.predict_once(extended)[:, :height, :width]
        np.savez(folder / "{}x{}.npz".format(*size), image=image.astype(np.float32), probabilities=probabilities)


def evaluate(folder: Path) -> dict:
    """Predict with each runtime; this part runs in the other environment, without wbcstudy."""
    import cv2
    import onnxruntime
    import openvino

    def with_onnxruntime(file: Path, image: np.ndarray) -> np.ndarray:
        return onnxruntime.InferenceSession(str(file)).run(None, {"image": image})[0]

    def with_openvino(file: Path, image: np.ndarray) -> np.ndarray:
        core = openvino.Core()
        # The default on processors with bfloat16 rounds to it.
        return core.compile_model(str(file), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})([image])[0]

    def with_opencv(file: Path, image: np.ndarray) -> np.ndarray:
        network = cv2.dnn.readNetFromONNX(str(file))
        network.setInput(image)
        return network.forward()

    rows = []
    runtimes = {"ONNX Runtime": with_onnxruntime, "OpenVINO": with_openvino, "OpenCV": with_opencv}
    for size in SIZES:
        with np.load(folder / "{}x{}.npz".format(*size)) as file:
            image, expected = file["image"], file["probabilities"]
        for kind, name in (("any size", ANY), ("one size", FIXED.format(*size))):
            row = {"image_px": "{} x {}".format(*size), "file": kind}
            for title, predict in runtimes.items():
                if title == "OpenCV" and kind == "any size":
                    row[title] = "-"
                    continue
                predicted = predict(folder / name, image)
                row[title] = f"{np.abs(predicted.reshape(expected.shape) - expected).max():.1e}"
            rows.append(row)
    versions = f"ONNX Runtime {onnxruntime.__version__}, OpenVINO {openvino.__version__}, OpenCV {cv2.__version__}"
    return {"rows": rows, "versions": versions}


if __name__ == "__main__":
    main()
