"""A depth map from a file, for the one picture that it belongs to.

Deviations: none; there is no network.

Read are 8-bit and 16-bit grey pictures, float TIFF, ``.npy``, and entries of the depth cache. What ``unhaze depth``
wrote says itself what its numbers mean; of other pictures bright is far unless ``kind`` says otherwise.
"""

from __future__ import annotations

import math
import re
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import torch
from numpy.lib import format as npy
from torch import Tensor

from unhaze.depth.base import DepthEstimator, at_size_of
from unhaze.depth.cache import read_entry
from unhaze.errors import (
    ImageDecodeError,
    ImageError,
    ImageTooLargeError,
    ImageValueError,
    UnknownNameError,
    UsageError,
)
from unhaze.images.budget import DEFAULT_MAX_PIXELS
from unhaze.images.files import read_image
from unhaze.types import DepthKind, DepthLevel, DepthMap

if TYPE_CHECKING:
    from numpy.typing import NDArray

    FloatMap = NDArray[np.float32]

__all__ = ["FileDepth", "file", "read_depth"]

TOLERANCE = 0.02  # of the aspect ratio: cameras and editors crop a few pixels
_OURS = "unhaze depth"  # keyword of the text in our PNG files


class FileDepth(DepthEstimator):
    """Gives the same map whatever the image shows; the map stands for a whole picture of about its aspect ratio.

    Args:
        path: The depth map.
        kind: What its numbers mean; as the file says if ``None``, else ``"relative"``: far is bright.

    Raises:
        ImageError: The file is missing, damaged, or no depth map.
        UnknownNameError: There is no such kind.
    """

    license = "that of the file"

    def __init__(self, path: str | Path, kind: DepthKind | None = None) -> None:
        super().__init__()
        self.path = Path(path)
        depth = read_depth(self.path, kind)
        self.kind = depth.kind
        self.register_buffer("depth", torch.from_numpy(depth.map)[None, None], persistent=False)
        self._features = tuple(map(torch.from_numpy, depth.features))
        if self._features:
            self.levels = tuple(
                DepthLevel(each.shape[1], depth.map.shape[1] / each.shape[-1]) for each in self._features
            )
        self.identity = f"file/{depth.kind}/{sha256(depth.map.tobytes()).hexdigest()[:12]}"

    def forward(self, image: Tensor) -> DepthMap[Tensor]:
        """See :meth:`DepthEstimator.forward`; one image (1, 3, H, W) to a map (1, 1, H, W).

        Raises:
            UsageError: There are several images, or the image has another aspect ratio than the map.
        """
        if len(image) != 1:
            raise UsageError(f"{self.path} is the depth of one picture, not of {len(image)}; give one at a time.")
        height, width = image.shape[-2:]
        depth = self.get_buffer("depth")
        rows, columns = depth.shape[-2:]
        fitting = height * columns / rows  # columns that an image of this height would have
        if abs(fitting - width) > max(1.0, TOLERANCE * width):
            raise ImageValueError(
                f"{self.path} is {columns} x {rows} and the picture {width} x {height}, which is another aspect ratio; "
                "give the depth map of this picture."
            )
        return DepthMap(
            at_size_of(image, depth.to(image.device)), self.kind, tuple(each.to(image) for each in self._features)
        )


def read_depth(path: str | Path, kind: DepthKind | None = None) -> DepthMap[FloatMap]:
    """Read a depth map.

    Args:
        path: The file.
        kind: What its numbers mean, which are then taken as they are; ``None`` as for :class:`FileDepth`.

    Returns:
        ``map`` (H, W) float32, of the file's own size.

    Raises:
        ImageError: The file is missing, damaged, or no depth map.
        UnknownNameError: There is no such kind.
    """
    path = Path(path)
    if kind is not None and kind not in get_args(DepthKind):
        raise UnknownNameError("kind of depth", kind, get_args(DepthKind))
    if not path.is_file():
        raise ImageDecodeError(f"There is no depth map {path}; check the path.")
    if path.suffix.lower() == ".npz":
        try:
            found = read_entry(path)
        except (UsageError, OSError) as error:
            raise ImageDecodeError(
                f"{path} is no entry of a depth cache, or a damaged one; give another file."
            ) from error
    elif path.suffix.lower() == ".npy":
        found = DepthMap(_read_array(path), "relative")
    else:
        found = _read_picture(path, as_it_is=kind is not None)
    return found if kind is None else DepthMap(found.map, kind, found.features)


def _read_array(path: Path) -> FloatMap:
    try:
        with path.open("rb") as stream:
            # the header alone, before NumPy makes room for what it claims
            version = npy.read_magic(stream)
            read_header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
            shape, _, dtype = read_header(stream)
            if dtype.hasobject or any(side < 0 for side in shape):
                raise ValueError("no values")
            count = math.prod(shape)
            if count * dtype.itemsize > path.stat().st_size:
                raise ValueError("the values are not all there")
            if count > DEFAULT_MAX_PIXELS:
                raise ImageTooLargeError(
                    f"{path} holds {count:,} values, more than the limit of {DEFAULT_MAX_PIXELS:,}."
                )
            stream.seek(0)
            array: Any = np.load(stream, allow_pickle=False)
    except ImageError:
        raise
    except Exception as error:  # NumPy's parser of headers raises errors of many kinds
        raise ImageDecodeError(f"{path} is no array of NumPy, or a damaged one; save it again.") from error
    if array.dtype.kind not in "fiu" or sum(side != 1 for side in array.shape) > 2 or array.ndim < 2 or not array.size:
        raise ImageValueError(f"{path} holds {array.dtype} {array.shape}, not a map; save (H, W) numbers.")
    rows, columns = [side for side in array.shape if side != 1] if array.ndim > 2 else array.shape
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinity, which is refused below
        array = array.reshape(rows, columns).astype(np.float32)
    if not np.isfinite(array).all():
        raise ImageValueError(f"{path} holds values that are no numbers; replace them with a distance first.")
    return array


def _read_picture(path: Path, *, as_it_is: bool) -> DepthMap[FloatMap]:
    try:
        picture = read_image(path, finite=True)
    except ImageError as error:
        raise type(error)(f"The depth map cannot be read. {error}") from error
    pixels = picture.pixels
    if pixels.ndim == 3:
        if (pixels != pixels[..., :1]).any():
            raise ImageValueError(f"{path} is a colour picture; a depth map is grey, as unhaze depth writes it.")
        pixels = pixels[..., 0]
    levels = pixels.astype(np.float32)
    if as_it_is:
        return DepthMap(levels, "relative")
    # undo what ``unhaze depth`` did, from the text in its file
    text = dict(picture.metadata.text).get(_OURS, "")
    if not text:
        return DepthMap(levels, "relative")
    found = re.search(r"unit: (m|relative); depth per level: (\S+)", text)
    if found is None:  # order only: inverse depth, turned round and stretched
        return DepthMap(1 - levels / np.float32(np.iinfo(pixels.dtype).max), "inverse_relative")
    return DepthMap(levels * np.float32(found[2]), "metric" if found[1] == "m" else "relative")


def file(path: str | Path, *, kind: DepthKind | None = None) -> FileDepth:
    """A depth map from a file; arguments and errors as for :class:`FileDepth`."""
    return FileDepth(path, kind)
