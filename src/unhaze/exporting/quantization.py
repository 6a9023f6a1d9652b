"""Weights and activations in 8 bits, by onnxruntime's static quantiser, and what that loses."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from unhaze.errors import ImageError, MissingDependencyError, UsageError
from unhaze.exporting.graph import set_metadata
from unhaze.images.atomic import atomic_output
from unhaze.images.files import READ_SUFFIXES, read_image
from unhaze.images.levels import nominal_white
from unhaze.restore.engines.exports import ExportFacts
from unhaze.restore.engines.onnx import OnnxEngine

if TYPE_CHECKING:
    from numpy.typing import NDArray

    FloatArray = NDArray[np.float32]

__all__ = ["Loss", "calibration_pictures", "measure_loss", "quantize"]

_LONGEST_SIDE = 384  # of a calibration picture [px]
_OPERATIONS = ["Conv", "MatMul", "Gemm", "ConvTranspose"]  # the others cost little and lose much


@dataclass(frozen=True, slots=True)
class Loss:
    """How far the int8 network is from the float32 one, on pictures that it was not calibrated with where possible.

    Attributes:
        pictures: How many were compared.
        held_out: Whether none of them took part in the calibration.
        mean: Mean PSNR of int8 against float32 [dB].
        worst: Least of them [dB].
    """

    pictures: int
    held_out: bool
    mean: float
    worst: float


def calibration_pictures(folder: Path, facts: ExportFacts, limit: int) -> list[FloatArray]:
    """Pictures (1, 3, H, W) in [0, 1] of a folder, evenly spread, shrunk, and cropped to sides that fit.

    Raises:
        UsageError: There are none.
    """
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in READ_SUFFIXES and path.is_file())
    count = min(limit, len(files))
    chosen = [files[i * len(files) // count] for i in range(count)]
    contract, found = facts.contract, []
    for path in chosen:
        try:
            picture = read_image(path)
        except ImageError as error:
            logging.getLogger(__name__).warning(f"{path} is left out of the calibration: {error}")
            continue
        white = nominal_white(picture.pixels.dtype) if picture.white is None else picture.white
        rgb = np.clip(picture.pixels.astype(np.float32) / np.float32(white), 0, 1)
        rgb = np.repeat(rgb[..., None], 3, axis=2) if rgb.ndim == 2 else rgb[..., :3]
        height, width = facts.size or rgb.shape[:2]
        scale = 1.0 if facts.size else min(1.0, _LONGEST_SIDE / max(height, width))
        least = max(contract.minimum, contract.multiple_of)
        height, width = (
            max(-(-least // contract.multiple_of), int(side * scale) // contract.multiple_of) * contract.multiple_of
            for side in (height, width)
        )
        small = cv2.resize(rgb, (width, height), interpolation=cv2.INTER_AREA)
        found.append(np.ascontiguousarray(small.transpose(2, 0, 1)[None], np.float32))
    if not found:
        raise UsageError(f"There are no pictures to calibrate with in {folder}; name another folder with --calibrate.")
    return found


def quantize(source: Path, path: Path, facts: ExportFacts, pictures: Sequence[FloatArray], *, overwrite: bool) -> None:
    """Write the int8 form of an ONNX file: QDQ, weights per channel, activations by their least and largest values.

    Raises:
        MissingDependencyError: onnx is not installed.
    """
    try:
        import onnx
        from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    except ImportError as error:
        raise MissingDependencyError("onnx", "export", "quantise a network") from error

    class Reader(CalibrationDataReader):  # type: ignore[misc]  # untyped
        def __init__(self) -> None:
            self._left: Iterator[FloatArray] = iter(pictures)

        def get_next(self) -> dict[str, Any] | None:
            picture = next(self._left, None)
            return None if picture is None else {"image": picture}

    with atomic_output(path, overwrite=overwrite) as temporary, _silence():
        quantize_static(
            str(source),
            str(temporary),
            Reader(),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=_OPERATIONS,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
        model = onnx.load(str(temporary))
        set_metadata(model, replace(facts, precision="int8"))
        temporary.write_bytes(model.SerializeToString())


def measure_loss(float_path: Path, int8_path: Path, pictures: Sequence[FloatArray], *, held_out: bool) -> Loss:
    """Run both networks on pictures and compare."""
    both = [OnnxEngine(path, engine="onnxruntime") for path in (float_path, int8_path)]
    scores = []
    for picture in pictures:
        exact, coarse = (engine.run(image=picture)["restored"].astype(np.float64) for engine in both)
        error = max(float(np.square(exact - coarse).mean()), 1e-10)
        scores.append(float(-10 * np.log10(error)))
    return Loss(len(scores), held_out, float(np.mean(scores)), min(scores))


class _silence:  # noqa: N801  a context, not a type
    """Keep to itself what the quantiser says to the root logger."""

    def __enter__(self) -> None:
        self._before = logging.root.manager.disable
        logging.disable(logging.WARNING)

    def __exit__(self, *_: object) -> None:
        logging.disable(self._before)
