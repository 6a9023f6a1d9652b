"""Arrays, tensors and PIL images as the pixels that methods work on, and back."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from unhaze.errors import ImageDecodeError, ImageValueError
from unhaze.images._arrays import to_uint8
from unhaze.images.levels import hidden_pixels, nominal_white
from unhaze.physics.color import array_namespace
from unhaze.types import DehazeResult, DepthMap

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from unhaze.images._picture import Picture

    Pixels = NDArray[Any]
    Mask = NDArray[np.bool_]

__all__ = [
    "ArrayLayout",
    "array_to_pil",
    "arrays_to_tensor",
    "is_pil",
    "is_torch",
    "keep_off",
    "picture_to_pil",
    "pil_loss",
    "pil_to_array",
    "stack_results",
    "tensor_to_arrays",
]

_PIL_MODES = {"1": "L", "L": "L", "LA": "LA", "RGB": "RGB", "RGBA": "RGBA", "RGBX": "RGB", "I;16": "I;16", "F": "F"}


@dataclass(frozen=True, slots=True)
class ArrayLayout:
    """How an array holds a picture.

    Attributes:
        color: The colours alone, contiguous: (H, W) or (H, W, 3) uint8, uint16 or float32.
        alpha: (H, W, 1) of the array's own type, or ``None``.
        shape: Shape of the array.
        dtype: Value type of the array.
        original: The colours as they were given.
    """

    color: Pixels
    alpha: Pixels | None
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    original: Pixels

    @classmethod
    def of(cls, array: Pixels) -> ArrayLayout:
        """Take an array (H, W) or (H, W, C) apart; C is 1 or 3, or 2 or 4 with alpha last.

        Raises:
            ImageValueError: Shape, type or values mean nothing as a picture.
        """
        if isinstance(array, np.ma.MaskedArray) and np.ma.is_masked(array):
            raise ImageValueError("A masked array has values that are not to be looked at; fill them first.")
        channels = array.shape[2] if array.ndim == 3 else 1
        if array.ndim not in (2, 3) or not 1 <= channels <= 4 or array.size == 0:
            raise ImageValueError(
                f"An array of shape {array.shape} is no picture; give (H, W), or (H, W, C) with 1 to 4 channels."
            )
        if array.dtype.newbyteorder("=") not in (np.uint8, np.uint16) and array.dtype.kind != "f":
            raise ImageValueError(f"Arrays of {array.dtype} are not handled; give uint8, uint16 or floats up to 1.")
        alpha = array[..., -1:] if channels in (2, 4) else None
        color = array if alpha is None else array[..., :-1]
        color = color[..., 0] if color.ndim == 3 and color.shape[2] == 1 else color
        color = np.asarray(color)
        working = np.float32 if array.dtype.kind == "f" else array.dtype.newbyteorder("=")
        with np.errstate(over="ignore"):  # beyond float32 means infinite there, and stays as it is
            layout = cls(np.ascontiguousarray(color, dtype=working), alpha, array.shape, array.dtype, color)
        if array.dtype.kind == "f":
            hidden = hidden_pixels(layout.color)
            if hidden is not None and hidden.all():
                raise ImageValueError(
                    "The picture holds nothing but values that are NaN or infinite; replace them first."
                )
            if layout.alpha is not None and not np.isfinite(layout.alpha).all():
                raise ImageValueError("The alpha channel holds values that are NaN or infinite; replace them first.")
        return layout

    def hidden(self) -> Mask | None:
        """Pixels that show nothing (H, W): alpha 0, NaN and infinity; ``None`` where all show."""
        return hidden_pixels(self.color, None if self.alpha is None else self.alpha[..., 0])

    def rebuild(self, restored: Pixels) -> Pixels:
        """Put restored colours, (H, W, 3) or (H, W) as ``color``, into an array like the one taken apart.

        Values that were not changed are those of the array bit for bit, also where it is more precise than ``color``.
        """
        planes = restored.astype(self.dtype, copy=False)  # to the byte order, too
        if self.dtype.kind == "f" and self.dtype != np.float32:
            planes = np.where(
                (restored == self.color) | (np.isnan(restored) & np.isnan(self.color)), self.original, planes
            ).astype(self.dtype, copy=False)
        if self.alpha is not None:
            planes = np.concatenate([planes.reshape(*self.shape[:2], -1), self.alpha], axis=2)
        return np.ascontiguousarray(planes.reshape(self.shape))


def is_torch(value: object) -> bool:
    """Whether ``value`` is a torch tensor, found out without importing torch."""
    return any(base.__module__.startswith("torch") and base.__name__ == "Tensor" for base in type(value).__mro__)


def is_pil(value: object) -> bool:
    """Whether ``value`` is a PIL image."""
    return any(base.__module__ == "PIL.Image" and base.__name__ == "Image" for base in type(value).__mro__)


def tensor_to_arrays(tensor: Any) -> list[Pixels]:
    """The pictures of a tensor (C, H, W) or (B, C, H, W) as arrays (H, W, C).

    Raises:
        ImageValueError: Any other shape, layout or value type.
    """
    if tensor.ndim not in (3, 4) or tensor.shape[-3] not in (1, 3, 4) or tensor.numel() == 0:
        raise ImageValueError(
            f"A tensor of shape {tuple(tensor.shape)} is no picture; "
            "give (C, H, W) or (B, C, H, W) with 1, 3 or 4 channels."
        )
    if tensor.is_meta or str(tensor.layout) != "torch.strided" or tensor.is_quantized:
        raise ImageValueError("A tensor that is sparse, quantised or without values is no picture; give a dense one.")
    batch = tensor.detach().cpu().reshape(-1, *tensor.shape[-3:])
    half = str(tensor.dtype) in ("torch.bfloat16", "torch.float16")
    try:
        values = (batch.float() if half else batch).numpy()
    except TypeError as error:
        raise ImageValueError(f"Tensors of {tensor.dtype} are not handled; give uint8, or floats up to 1.") from error
    return list(np.moveaxis(values, 1, -1))


def arrays_to_tensor(arrays: list[Pixels], like: Any) -> Any:
    """The reverse of :func:`tensor_to_arrays`, (H, W, C) each: shape, value type and device of ``like``."""
    torch = array_namespace(like)
    stacked = np.ascontiguousarray(np.moveaxis(np.stack(arrays), -1, 1))
    return torch.from_numpy(stacked).to(dtype=like.dtype, device=like.device).reshape(like.shape)


def pil_to_array(image: Any) -> Pixels:
    """The pixels of a PIL image, (H, W, C) or (H, W); palettes are resolved, the orientation tag is left alone.

    Raises:
        ImageValueError: A mode without a plain meaning as RGB or grey.
        ImageDecodeError: The image was not decoded yet, and cannot be.
    """
    palette = "RGBA" if "transparency" in image.info or image.mode == "PA" else "RGB"
    mode = palette if image.mode in ("P", "PA") else _PIL_MODES.get(image.mode)
    if mode is None:
        raise ImageValueError(f"PIL images of mode {image.mode} are not handled; give image.convert('RGB').")
    try:
        return np.array(image if image.mode == mode else image.convert(mode))
    except (OSError, ValueError, SyntaxError, EOFError) as error:
        raise ImageDecodeError(
            f"The PIL image cannot be decoded ({error}); open it again from a sound file."
        ) from error


def array_to_pil(array: Pixels, like: Any) -> Any:
    """A PIL image of ``array``, (H, W, C) or (H, W), that carries the metadata of ``like``."""
    from PIL import Image

    image = Image.fromarray(array)
    image.info = {key: value for key, value in like.info.items() if key != "transparency"}
    return image


def picture_to_pil(picture: Picture) -> Any:
    """A decoded file as a PIL image that carries what PIL knows of a file: EXIF, XMP, profile, resolution, comments.

    Colours deeper than 8 bits are rounded, see :func:`pil_loss`; grey of 16 bits becomes ``I;16``, of floats ``F``.
    """
    from PIL import Image

    pixels, alpha = picture.pixels, picture.alpha
    if pil_loss(picture):
        pixels, alpha = to_uint8(pixels, white=picture.white), None if alpha is None else to_uint8(alpha)
    planes = pixels if alpha is None else np.dstack([pixels, alpha])
    image = Image.fromarray(np.ascontiguousarray(planes))
    known = picture.metadata
    image.info = {
        **dict(known.text),
        "exif": None if known.exif is None else b"Exif\0\0" + known.exif,
        "xmp": known.xmp,
        "icc_profile": known.icc,
        "dpi": known.dpi,
        "comment": known.comment,
    }
    image.info = {key: value for key, value in image.info.items() if value is not None}
    return image


def pil_loss(picture: Picture) -> str:
    """What a PIL image of a picture would lose, in a sentence; empty where nothing."""
    if picture.pixels.dtype == np.uint8 or (picture.pixels.ndim == 2 and picture.alpha is None):
        return ""
    kind = "16-bit" if picture.pixels.dtype == np.uint16 else "Float"
    return (
        f"{kind} values were rounded to 8 bit, the most that a PIL image holds of colours; write a file with output=."
    )


def keep_off(pixels: Pixels, nodata: float, hidden: Mask | None) -> None:
    """Move restored pixels that became ``nodata`` by the smallest step, so that they do not vanish."""
    value = pixels.dtype.type(nodata)
    if pixels.dtype.kind == "f":
        near = np.nextafter(value, pixels.dtype.type(1 if nodata < 1 else 0))
    else:
        near = value - 1 if value == nominal_white(pixels.dtype) else value + 1
    for start in range(0, len(pixels), 256):
        strip = pixels[start : start + 256]
        vanished = strip == value if strip.ndim == 2 else (strip == value).all(axis=2)
        strip[vanished if hidden is None else vanished & ~hidden[start : start + 256]] = near


def stack_results(results: list[DehazeResult[Any]], images: Any) -> DehazeResult[Any]:
    """One result for a batch: maps (B, H, W), airlight (B, 3)."""
    airlights = [result.airlight for result in results if result.airlight is not None]
    if not airlights:
        return replace(results[0], image=images)
    airlight = np.stack(airlights)
    if any(result.transmission is None for result in results):
        return DehazeResult(images, None, None, airlight, None, results[0].info)
    transmission, confidence = (
        np.stack([getattr(result, name) for result in results]) for name in ("transmission", "confidence")
    )
    depth = DepthMap(-np.log(transmission), "relative")
    return DehazeResult(images, transmission, depth, airlight, confidence, results[0].info)
