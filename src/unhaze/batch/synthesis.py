"""Adding haze to picture files: what is drawn, where depth comes from, and what is written."""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import cv2
import numpy as np
import tifffile
from numpy.typing import NDArray

from unhaze.batch.planning import Job
from unhaze.batch.workers import Rendered, write_products
from unhaze.errors import ImageDecodeError, ImageValueError, UnknownNameError, UsageError
from unhaze.images.color import tone_curve
from unhaze.images.depth_maps import gray_depth
from unhaze.images.files import (
    READ_SUFFIXES,
    Picture,
    conversion_notes,
    encode_image,
    format_for_suffix,
    read_image,
)
from unhaze.physics.color import Space, luminance
from unhaze.physics.synthesis import DEPTH_KINDS, analytic_depth, haze_field, synthesize_haze
from unhaze.restore.strips import full_scale
from unhaze.types import DepthMap

__all__ = ["HazeRecipe", "read_depth", "synthesize_file"]

_FARTHEST = 1e6  # [m]; beyond it nothing is seen through any haze, and infinity times zero would be undefined
_ASPECT_TOLERANCE = 0.02  # how much a depth map may be stretched to fit
_STRIP_PIXELS = 1 << 20
_PATCH_STREAM = 1  # keeps the patches apart from the draw of beta


@dataclass(frozen=True, slots=True)
class HazeRecipe:
    """How haze is made.

    Attributes:
        beta: Lowest and highest scattering coefficient [1/m]; equal if it is not drawn.
        airlight: RGB in [0, 1], sRGB-encoded.
        patchy: Standard deviation of the logarithm of the density; 0 is even haze.
        space: Light in which the scattering model is applied.
        seed: Seed of everything that is drawn.
        depth_shape: Scene where there is no depth map.
        depth: A depth map, a folder of them, or ``None``.
        depth_scale: Metres per unit of the map.
        depth_kind: ``"depth"``, or ``"inverse"`` where white is ``depth_scale`` metres away.
    """

    beta: tuple[float, float]
    airlight: tuple[float, float, float]
    patchy: float
    space: Space
    seed: int
    depth_shape: str
    depth: Path | None = None
    depth_scale: float = 1.0
    depth_kind: str = "depth"

    @classmethod
    def parse(
        cls,
        *,
        beta: str,
        airlight: str,
        patchy: float,
        space: str,
        seed: int,
        depth_shape: str,
        depth: Path | None,
        depth_scale: float,
        depth_kind: str,
    ) -> HazeRecipe:
        """Make a recipe of the words of the command line.

        Raises:
            UsageError: A word means nothing, or a number is out of range.
        """
        _check_choice("depth shape", depth_shape, DEPTH_KINDS)
        _check_choice("depth kind", depth_kind, ("depth", "inverse"))
        _check_choice("light space", space, get_args(Space))
        if not 0 <= patchy <= 1:
            raise UsageError(f"patchy is {patchy:g}, but must lie between 0 and 1.")
        if not (depth_scale > 0 and math.isfinite(depth_scale)):
            raise UsageError(f"depth-scale is {depth_scale:g}, but must be a positive number of metres.")
        if seed < 0:
            raise UsageError(f"seed is {seed}, but must not be negative.")
        betas, lights = _parse_numbers("beta", beta), _parse_numbers("airlight", airlight)
        if len(betas) > 2 or min(betas) < 0 or betas[0] > betas[-1]:
            raise UsageError(
                f"beta is {beta!r}, but must be one number of at least 0, or LOW,HIGH; such as 0.005,0.02."
            )
        if len(lights) not in (1, 3) or min(lights) < 0 or max(lights) > 1:
            raise UsageError(
                f"airlight is {airlight!r}, but must be one number or three in [0, 1]; such as 0.85,0.87,0.9."
            )
        return cls(
            beta=(betas[0], betas[-1]),
            airlight=(lights[0], lights[len(lights) // 2], lights[-1]),
            patchy=patchy,
            space=space,  # type: ignore[arg-type]  # checked above
            seed=seed,
            depth_shape=depth_shape,
            depth=depth,
            depth_scale=depth_scale,
            depth_kind=depth_kind,
        )

    def draw_beta(self, name: str) -> float:
        """The scattering coefficient [1/m] for the picture of this file name."""
        low, high = self.beta
        return low if low == high else float(self._random(name).uniform(low, high))

    def draw_density(self, name: str, height: int, width: int) -> NDArray[np.float32] | None:
        """(height, width) relative density of the haze; ``None`` where it is even."""
        if self.patchy == 0:
            return None
        patch_seed = int(self._random(name, _PATCH_STREAM).integers(1 << 31))
        return haze_field(height, width, seed=patch_seed, contrast=self.patchy)

    def depth_of(self, name: str, height: int, width: int) -> tuple[NDArray[np.float32], str]:
        """(height, width) depth [m] of the picture of this file name, and where it comes from."""
        if self.depth is None:
            return analytic_depth(self.depth_shape, height, width), self.depth_shape
        path = self.depth
        if path.is_dir():
            stem = Path(name).stem
            beside = sorted(each for each in path.glob("*") if each.stem == stem)
            found = [each for each in beside if each.suffix.lower() in READ_SUFFIXES]
            if not found:
                raise ImageDecodeError(f"{path} holds no depth map for {name}; name it {stem}.png or {stem}.tif.")
            path = found[0]
        depth = read_depth(path, self.depth_scale, self.depth_kind)
        rows, columns = depth.shape
        if abs(columns * height / (rows * width) - 1) > _ASPECT_TOLERANCE:
            raise ImageValueError(
                f"The depth map {path} is {columns} x {rows} and the picture {width} x {height}: "
                "their shapes differ; crop one to fit the other."
            )
        if (rows, columns) != (height, width):
            depth = np.asarray(cv2.resize(depth, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)
        return depth, str(path)

    def _random(self, name: str, stream: int = 0) -> np.random.Generator:
        return np.random.default_rng([self.seed, zlib.crc32(name.encode("utf-8", "surrogateescape")), stream])


def synthesize_file(job: Job, recipe: HazeRecipe) -> dict[str, Any]:
    """Add haze to one picture and write it with its maps; returns the parameters for the user.

    Raises:
        UnhazeError: It cannot be read, hazed or written.
    """
    assert job.output is not None
    name = job.source.name
    picture = read_image(job.source, finite=True)
    height, width = picture.pixels.shape[:2]
    beta = recipe.draw_beta(name)
    depth, depth_source = recipe.depth_of(name, height, width)
    transmission = _add_haze(picture, depth, beta, recipe.draw_density(name, height, width), recipe)
    format = format_for_suffix(job.output.suffix.lower())
    depth_picture = gray_depth(DepthMap(depth, "metric")) if "depth" in job.sides else None
    sides: dict[str, bytes] = {}
    if depth_picture is not None:
        sides["depth"] = depth_picture.data
    if "transmission" in job.sides:
        levels = np.rint(transmission * 65535).astype(np.uint16)
        sides["transmission"] = encode_image(Picture(levels, None, "png"), "png")
    notes = (*picture.notes, *conversion_notes(picture, format))
    rendered = Rendered(encode_image(picture, format), sides, (width, height), notes)
    write_products(rendered, job.output, job.sides, overwrite=job.overwrite)
    return {
        "sides": {side: str(path) for side, path in job.sides.items()},
        "width": width,
        "height": height,
        "beta": beta,
        "airlight": list(recipe.airlight),
        "patchy": recipe.patchy,
        "space": recipe.space,
        "seed": recipe.seed,
        "depth": depth_source,
        "saved_depth_scale": depth_picture.scale if depth_picture else None,
        "mean_transmission": float(transmission.mean()),
        "notes": list(notes),
    }


def read_depth(path: Path, scale: float, kind: str) -> NDArray[np.float32]:
    """Depth [m] from a picture with one channel.

    Args:
        path: PNG or TIFF of 8 or 16 bits, or a TIFF of floats.
        scale: Metres per unit; for ``"inverse"`` the distance of white (of 1 in a TIFF of floats).
        kind: ``"depth"`` or ``"inverse"``.

    Returns:
        (H, W) float32 in (0, 1e6]. Missing values take the depth of the nearest pixel that has one: NaN, and for
        ``"depth"`` also 0 and below, which is what cameras store for no answer. 0 in an inverse map is far away.

    Raises:
        ImageDecodeError: The file cannot be read.
        ImageValueError: It has several channels, or no valid value.
    """
    if path.suffix.lower() in (
        ".tif",
        ".tiff",
    ):  # the general reader refuses NaN, which is how missing depth is written
        try:
            raw = np.squeeze(tifffile.imread(path))
        except FileNotFoundError as error:
            raise ImageDecodeError(f"{path} does not exist; check the path.") from error
        except Exception as error:  # tifffile raises whatever its codecs raise
            raise ImageDecodeError(f"{path} cannot be read as a depth map ({error}); check the file.") from error
        if raw.size == 0:
            raise ImageDecodeError(f"{path} cannot be read as a depth map (it holds no picture); check the file.")
    else:
        raw = read_image(path, finite=True).pixels
    if raw.ndim == 3 and all(np.array_equal(raw[..., 0], raw[..., i]) for i in range(1, raw.shape[2])):
        raw = raw[..., 0]
    if raw.ndim != 2 or raw.dtype.kind not in "uf":
        raise ImageValueError(f"{path} is no depth map: it has several channels; save it as one channel of grey.")
    values = raw.astype(np.float64)
    missing = np.isnan(values)
    if kind == "inverse":
        white = float(np.iinfo(raw.dtype).max) if raw.dtype.kind == "u" else 1.0
        depth = scale * white / np.maximum(values, scale * white / _FARTHEST)
    else:
        depth = values * scale
        missing |= ~(depth > 0)
    if missing.all():
        raise ImageValueError(f"{path} holds no depth at all; check the file and --depth-kind.")
    filled = np.minimum(depth, _FARTHEST).astype(np.float32)
    if missing.any():
        _, labels = cv2.distanceTransformWithLabels(
            missing.astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
        )
        of_label = np.zeros(int(labels.max()) + 1, np.float32)
        of_label[labels[~missing]] = filled[~missing]
        filled = np.where(missing, of_label[labels], filled)
    return filled


def _add_haze(
    picture: Picture,
    depth: NDArray[np.float32],
    beta: float,
    density: NDArray[np.float32] | None,
    recipe: HazeRecipe,
) -> NDArray[np.float32]:
    """Haze ``picture`` in place; returns the transmission."""
    pixels = picture.pixels
    white = full_scale(pixels)
    curve = tone_curve(picture.metadata.icc)
    light = np.array(recipe.airlight, np.float32)
    airlight = light if pixels.ndim == 3 else float(luminance(light[None, None])[0, 0])
    transmission = np.empty(pixels.shape[:2], np.float32)
    step = max(1, _STRIP_PIXELS // pixels.shape[1])
    for start in range(0, pixels.shape[0], step):
        rows = slice(start, start + step)
        clear = np.maximum(pixels[rows].astype(np.float32) / np.float32(white), 0)
        hazy, transmission[rows] = synthesize_haze(
            clear if curve is None else curve.to_srgb(clear),
            depth[rows],
            beta=beta,
            airlight=airlight,
            density=None if density is None else density[rows],
            space=recipe.space,
        )
        stored = (hazy if curve is None else curve.from_srgb(hazy)) * np.float32(white)
        pixels[rows] = stored if pixels.dtype == np.float32 else np.rint(np.clip(stored, 0, white))
    return transmission


def _parse_numbers(what: str, text: str) -> list[float]:
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        raise UsageError(f"{what} is {text!r}, but must be numbers with commas between them.") from None
    if not all(map(math.isfinite, numbers)):
        raise UsageError(f"{what} is {text!r}, but its numbers must be finite.")
    return numbers


def _check_choice(what: str, name: str, choices: tuple[str, ...]) -> None:
    if name not in choices:
        raise UnknownNameError(what, name, choices)
