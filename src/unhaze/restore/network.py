"""Pictures through a network that restores them directly, without a haze field.

Nothing here knows torch. An engine runs the network; it is found by its name, so that the light core stays light.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import cv2
import numpy as np

from unhaze.catalog import Catalog
from unhaze.errors import ImageValueError, MissingDependencyError, UsageError, WeightsNotFoundError
from unhaze.physics.color import luminance
from unhaze.restore.engines.base import NetworkEngine, NetworkOptions, NetworkOutput
from unhaze.restore.engines.exports import is_exported
from unhaze.restore.haze_field import exposure_lift, fill_hidden
from unhaze.restore.strips import full_scale, store_where
from unhaze.types import DehazeResult

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from unhaze.images.color import ToneCurve

    Pixels = NDArray[Any]
    FloatArray = NDArray[np.float32]
    Mask = NDArray[np.bool_]

__all__ = [
    "NetworkRun",
    "open_network",
]

_ENGINES = Catalog(
    "network engine",
    {
        "torch": "unhaze.restore.engines.torch:open_engine",
        "exported": "unhaze.restore.engines.exported:open_engine",
    },
    group="unhaze.engines",
)
_THUMBNAIL = 256  # long side at which brightness is compared [px]
_ROWS = 256  # rows that are converted at a time
FLOAT_BYTES = 2 * 3 * 4  # per pixel: what goes into the network, and what comes out


def open_network(
    model: str | None, options: NetworkOptions | None, strength: float, keep_exposure: float = 0.0
) -> NetworkRun:
    """Read the weights of a network and make it ready.

    Args:
        model: Full name in the catalogue, or an exported file; recognised from the weights if ``None``.
        options: Weights and how to run; ``None`` if no weights were given.
        strength: 0 to 1.
        keep_exposure: 0 to 1.

    Raises:
        WeightsNotFoundError: No weights were given, or the file is not there.
        MissingDependencyError: torch is not installed.
        UsageError: The weights do not fit, or ``strength`` is below 0.
    """
    if not 0 <= strength <= 1:
        raise UsageError(f"strength is {strength:g}, but with a network it must lie between 0 and 1.")
    if options is None:
        raise WeightsNotFoundError(
            f"The network {model} needs trained weights; name their file with --weights FILE (weights=... in Python)."
        )
    if Path(options.weights).is_dir():
        raise UsageError(f"{options.weights} is a folder; name the file in it that holds the weights.")
    if not Path(options.weights).is_file():
        if Path(options.weights).exists():
            raise WeightsNotFoundError(f"{options.weights} is a device or a pipe, not a weights file; check the path.")
        raise WeightsNotFoundError(f"There is no weights file {options.weights}; check the path.")
    try:
        open_engine = _ENGINES.load("exported" if is_exported(options.weights) else "torch")
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise MissingDependencyError("torch", "torch", f"run the network {model or 'in a weights file'}") from error
    return NetworkRun(cast("NetworkEngine", open_engine(model, options)), options, strength, keep_exposure)


@dataclass(frozen=True, slots=True)
class NetworkRun:
    """A network, how to run it, and how strongly its result shows.

    Attributes:
        engine: Runs the network.
        options: Weights and how to run.
        strength: s in ``(1 - s) * hazy + s * restored``, 0 to 1, in the sRGB encoding. 0 is the picture bit for bit.
        keep_exposure: 0 to 1; how much of the brightness that the network took is given back by a smooth curve. With 0
            the result is that of the network, untouched.
    """

    engine: NetworkEngine
    options: NetworkOptions
    strength: float
    keep_exposure: float = 0.0

    def memory_needed(self, height: int, width: int, budget: int | None) -> int:
        """Estimate of the bytes that a picture takes beside its decoded pixels."""
        floats = FLOAT_BYTES * height * width
        return floats + self.engine.memory_needed(height, width, None if budget is None else max(0, budget - floats))

    @property
    def limits(self) -> str:
        """What a user should know who has too little memory, as a sentence with a space before; empty if nothing."""
        if self.engine.tileable:
            return ""
        return f" {self.engine.name} looks at the whole picture at once, so it cannot be run in tiles."

    def __call__(
        self,
        pixels: Pixels,
        curve: ToneCurve | None,
        *,
        out: Pixels | None,
        budget: int | None,
        white: float | None = None,
        hidden: Mask | None = None,
    ) -> DehazeResult[Pixels]:
        """Restore a picture (H, W) or (H, W, 3) uint8, uint16 or float32; ``out`` may be ``pixels`` itself.

        Args:
            pixels: The picture.
            curve: Tone curve of its colour profile, where it is not that of sRGB.
            out: Where to write the result; a new array if ``None``.
            budget: Most bytes to use beside ``pixels``.
            white: The value that stands for white; :func:`full_scale` if not given. Values above stay as they are.
            hidden: (H, W), pixels that show nothing. They stay as they are, and the network sees others in their place.
        """
        started = time.perf_counter()
        target = np.empty_like(pixels) if out is None else out
        height, width = pixels.shape[:2]
        if self.strength == 0:
            if target is not pixels:
                np.copyto(target, pixels)
            return self._result(target, None, started)
        white = full_scale(pixels) if white is None else white
        rgb = _to_working(pixels, curve, white, hidden)
        floats = FLOAT_BYTES * height * width
        output = self.engine.restore(rgb, None if budget is None else max(0, budget - floats))
        if not all(np.isfinite(output.rgb[rows]).all() for rows in _strips(height)):
            raise ImageValueError(f"{self.engine.name} gave values that are no numbers; check {self.options.weights}.")
        before = _thumbnail(rgb) if self.keep_exposure else None
        share = np.float32(self.strength)
        for rows in _strips(height):  # the convex combination of both, over the hazy one
            if share == 1:
                rgb[rows] = output.rgb[rows]
            else:
                rgb[rows] += share * (output.rgb[rows] - rgb[rows])
        if before is not None:
            lift = np.float32(self.keep_exposure * exposure_lift(before, _thumbnail(rgb)))
            for rows in _strips(height):  # x (1 + k) / (1 + k x)
                strip = np.clip(rgb[rows], 0, 1)
                rgb[rows] = strip * (1 + lift) / (1 + lift * strip)
        _store(rgb, pixels, target, white, curve, hidden)
        return self._result(target, output, started)

    def _result(self, pixels: Pixels, output: NetworkOutput | None, started: float) -> DehazeResult[Pixels]:
        info = {
            "model": self.engine.name,
            "weights": str(self.options.weights),
            "strength": self.strength,
            "keep_exposure": self.keep_exposure,
            "device": self.engine.device,
            "precision": output.precision if output else self.options.precision,
            "tiles": output.tiles if output else 0,
            "seconds": {"apply": time.perf_counter() - started},
            "notes": list(output.notes) if output else [],
        }
        return DehazeResult(pixels, None, output.depth if output else None, None, None, info)


def _strips(height: int) -> list[slice]:
    return [slice(start, min(height, start + _ROWS)) for start in range(0, height, _ROWS)]


def _to_working(pixels: Pixels, curve: ToneCurve | None, white: float, hidden: Mask | None) -> FloatArray:
    """(H, W, 3) float32 in [0, 1] with the tone curve of sRGB; grey is repeated, hidden pixels are filled."""
    working = np.empty((*pixels.shape[:2], 3), np.float32)
    for rows in _strips(len(pixels)):
        strip = pixels[rows].astype(np.float32)
        if hidden is not None:
            strip[hidden[rows]] = 0
        strip = np.clip(strip / np.float32(white), 0, 1)
        strip = strip if curve is None else curve.to_srgb(strip)
        working[rows] = strip if strip.ndim == 3 else strip[..., None]
    if hidden is not None:
        fill_hidden(working, hidden)
    return working


def _thumbnail(rgb: FloatArray) -> FloatArray:
    """Luminance of a picture, small."""
    scale = min(1.0, _THUMBNAIL / max(rgb.shape[:2]))
    size = (max(1, round(rgb.shape[1] * scale)), max(1, round(rgb.shape[0] * scale)))
    return luminance(np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), np.float32).clip(0, 1))


def _store(
    working: FloatArray,
    source: Pixels,
    target: Pixels,
    white: float,
    curve: ToneCurve | None,
    hidden: Mask | None,
) -> None:
    """Write working RGB in the values, the tone curve and the channels of ``target``, which may be ``source``."""
    for rows in _strips(len(working)):
        strip = np.clip(working[rows] if target.ndim == 3 else luminance(working[rows]), 0, 1)
        strip = (strip if curve is None else curve.from_srgb(strip)) * np.float32(white)
        if target.dtype != np.float32:
            strip += np.float32(0.5)  # the cast truncates
        kept = source[rows] > np.float32(white)
        if hidden is not None:
            kept |= hidden[rows] if target.ndim == 2 else hidden[rows][..., None]
        store_where(target[rows], strip, source[rows], kept)
