"""The public dehazer: any picture in, the same kind of picture out."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from threading import Condition, Lock, local
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from unhaze.errors import OverBudgetError, UsageError
from unhaze.inference.field import HazeField, solve_field, working_view
from unhaze.inference.layouts import (
    ArrayLayout,
    array_to_pil,
    arrays_to_tensor,
    is_pil,
    is_torch,
    pil_to_array,
    tensor_to_arrays,
)
from unhaze.inference.machine import check_workers, format_bytes, parse_bytes, usable_cores
from unhaze.inference.methods import create_method
from unhaze.inference.network import NetworkOptions, NetworkRun, open_network
from unhaze.inference.onnx_engine import OnnxEngine
from unhaze.inference.options import DEFAULT_METHOD, DehazeOptions
from unhaze.inference.planning import DEFAULT_SUFFIX, output_ending
from unhaze.inference.stream import DehazeStream, WholeFrames
from unhaze.inference.strips import RowBlender, full_scale, restore_strips, transmission_strips
from unhaze.inference.temporal import TemporalSmoother, check_temporal
from unhaze.io.budget import METADATA_COPIES, METADATA_LIMIT
from unhaze.io.color import tone_curve
from unhaze.io.images import (
    DEFAULT_MAX_PIXELS,
    ImageInfo,
    Picture,
    encode_image,
    identify,
    read_image,
    write_image,
)
from unhaze.types import DehazeResult, DepthMap

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from types import TracebackType

    from numpy.typing import NDArray

    from unhaze.inference.methods._base import Method
    from unhaze.inference.onnx_engine import EngineInfo
    from unhaze.io.color import ToneCurve

    Pixels = NDArray[Any]
    FloatArray = NDArray[np.float32]

__all__ = ["LOOKS_CLEAR", "Dehazer", "default_output", "dehaze"]

LOOKS_CLEAR = "looks clear: left almost as it was"
"""The note on a picture that holds so little haze that the result can hardly be told from it."""

# measured: interpreter, libraries, engine, one view and the strips in flight
_BASE_MEMORY = 190 << 20
# measured peak bytes per byte of decoded pixels, from decoding to encoding in the same format
_COPIES = {"uint8": 2.6, "uint16": 3.1, "float32": 3.0}
_COPIES_BY_FORMAT = {
    "png/uint16": 3.5,
    "bmp/uint8": 4.5,
    "webp/uint8": 13.0,
    "avif/uint8": 15.0,
    # a TIFF may hold colours multiplied by alpha, or float64; neither shows in what is known before it is decoded
    "tiff/uint8": 4.0,
    "tiff/uint16": 4.0,
    "tiff/float32": 4.5,
}
_MAP_BYTES = 44  # a pixel: three maps, the steps to depth, and what it takes to write them as pictures
_METADATA_INCLUDED = 2 << 20  # [bytes] of texts, profiles and the like that the base has room for
_METHOD_OPTIONS = ("color_blend", "protect_sky", "keep_exposure")

ImageT = TypeVar("ImageT")


class Dehazer:
    """Removes haze from pictures. Reusable, safe to share between threads, and a context manager.

    Args:
        method: Name from :func:`unhaze.list_methods`.
        strength: -1 to 1; 0 leaves the picture as it is, 1 removes all haze found, negative values add haze.
        color_blend: 0 to 1; how far colour differences grow along with contrast.
        protect_sky: 0 to 1; how far skies are left alone.
        keep_exposure: 0 to 1; how much of the brightness lost with the haze is given back.
        max_memory: Most bytes that one picture from a file may take from decoding to encoding (``"2G"``); ``None``
            for no limit.
        max_pixels: Most pixels a file may hold, checked before decoding; ``None`` for no limit.
        threads: Processor cores used for one picture; default all that this process may use. A network given by
            ``model`` uses those that torch is set to.
        engine: What runs the network of a method that has one, such as ``field-s``: ``"onnxruntime"``, ``"openvino"``
            or ``"auto"``, which is what the environment variable ``UNHAZE_ENGINE`` says, else OpenVINO where it is
            installed, else onnxruntime.
        model: Name of a network that restores pictures by itself, without a method; recognised from ``weights`` if
            they alone are given. Of the options above ``strength`` applies, 0 to 1: how much of the network's result
            is mixed into the picture. There are no maps, except that a network with a fusion module (``"sgdnet+hgdf"``)
            gives the depth that it was told.
        weights: File with the trained weights of the network.
        device, precision, tile, compile, depth, depth_weights, backbone_weights, prompts: How the network is run, and
            where one with a fusion module gets depth from, see :class:`~unhaze.inference.network.NetworkOptions`.

    Raises:
        UsageError: An option is out of range; ``UnknownNameError`` for an unknown method or network.
        MissingError: The method needs something that is not installed.

    >>> with Dehazer(strength=0.8) as dehazer:
    ...     result = dehazer(np.full((4, 6, 3), 200, np.uint8))
    >>> result.image.dtype.name, result.transmission.shape
    ('uint8', (4, 6))
    """

    def __init__(
        self,
        method: str = DEFAULT_METHOD,
        *,
        strength: float = DehazeOptions.strength,
        color_blend: float = DehazeOptions.color_blend,
        protect_sky: float = DehazeOptions.protect_sky,
        keep_exposure: float = DehazeOptions.keep_exposure,
        max_memory: int | str | None = None,
        max_pixels: int | None = DEFAULT_MAX_PIXELS,
        threads: int | None = None,
        engine: str = "auto",
        model: str | None = None,
        weights: str | Path | None = None,
        device: str = "auto",
        precision: str = "fp32",
        tile: int | None = None,
        compile: bool = False,
        depth: str | None = None,
        depth_weights: str | Path | None = None,
        backbone_weights: str | Path | None = None,
        prompts: int = 1,
    ) -> None:
        if threads is not None:
            check_workers(threads, "threads")
        if max_pixels is not None and (
            isinstance(max_pixels, bool) or not isinstance(max_pixels, int) or max_pixels < 1
        ):
            raise UsageError(
                f"max_pixels is {max_pixels!r}, but must be a whole number from 1 on, or None for no limit."
            )
        self.method = method
        self.options = DehazeOptions(strength, color_blend, protect_sky, keep_exposure)
        self.max_memory = None if max_memory is None else parse_bytes(max_memory)
        self.max_pixels = max_pixels
        self.threads = threads or usable_cores()
        self._network: NetworkRun | None = None
        self._method: Method | None = None
        if model is None and weights is None:
            self._method = create_method(method, engine=engine, threads=self.threads)
        else:
            _refuse_method_options(method, self.options, engine)
            told = (depth, depth_weights, backbone_weights, prompts)
            how = None if weights is None else NetworkOptions(weights, device, precision, tile, compile, *told)
            self._network = open_network(model, how, strength)
            self.method = self._network.engine.name
        self._crew = _Crew(self.threads)
        self._changed = Condition()
        self._mine = local()

    def __enter__(self) -> Dehazer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Wait for calls under way in other threads, and give back threads; the next call starts them again."""
        with self._changed:
            crew, self._crew = self._crew, _Crew(self.threads)
            self._changed.wait_for(lambda: not crew.users or crew is getattr(self._mine, "crew", None))
        crew.close()

    def __call__(self, image: Any, *, maps: bool = True, output: str | Path | None = None) -> DehazeResult[Any]:
        """Dehaze one picture of any kind.

        Args:
            image: One of
                a path: the result is written to ``output``, default beside the input with ``-dehazed`` added to the
                name, and ``image`` of the result is its path; an existing file is never overwritten;
                the ``bytes`` of a file, given back as bytes of the same format;
                a ``PIL.Image.Image``, given back in the same mode, EXIF and ICC profile included;
                an array (H, W), (H, W, 1), RGB (H, W, 3) or RGBA (H, W, 4) of uint8, uint16 or floats, white at 255,
                65535 or 1; floats above 1 are read as relative to the largest value;
                a torch tensor (C, H, W) or (B, C, H, W) with 1, 3 or 4 channels, of the same value types.
            maps: Whether to return transmission, depth and confidence at full resolution.
            output: Where to write; only for a path.

        Returns:
            The result; its ``image`` has the type, shape and value type of the input. For a batch the maps are
            (B, H, W) and the airlight is (B, 3).

        Raises:
            ImageError: The picture cannot be read, or its values mean nothing as a picture.
            OutputError: The output cannot be written or exists.
            OverBudgetError: The picture does not fit into ``max_memory``.
            UsageError: ``image`` is of a type that is not handled, or ``output`` was given without a path.
        """
        if output is not None and not isinstance(image, str | Path):
            raise UsageError("output is for pictures given by path; other pictures come back as they were given.")
        if isinstance(image, str | Path):
            return self._run_file(Path(image), maps, output)
        if isinstance(image, bytes | bytearray | memoryview):
            return self._run_bytes(bytes(image), maps)
        if isinstance(image, np.ndarray):
            return self._run_array(image, maps)
        if is_torch(image):
            return self._run_tensor(image, maps)
        if is_pil(image):
            return self._run_pil(image, maps)
        raise UsageError(
            f"A picture of type {type(image).__name__} is not handled; "
            "give a path, bytes, a PIL image, a NumPy array or a torch tensor."
        )

    @property
    def engine(self) -> EngineInfo | None:
        """What runs the network of the method, which is made ready for it; ``None`` where there is none.

        Raises:
            MissingError: The engine is installed but does not work.
        """
        engine = getattr(self._method, "engine", None)
        return engine.info if isinstance(engine, OnnxEngine) else None

    @property
    def knows_depth(self) -> bool:
        """Whether results have a depth map: of a method, or of a network that is told of depth."""
        return self._network is None or self._network.engine.knows_depth

    def stream(
        self,
        frames: Iterable[Any],
        *,
        temporal: float = 0.0,
        decode: Callable[[Any], Pixels] | None = None,
        encode: Callable[[Pixels, Any], Any] | None = None,
        jobs: int | None = None,
    ) -> Iterator[Any]:
        """Dehaze the frames of a video, in order, several at a time.

        With ``threads=1`` for the dehazer frames side by side share the processor cores best.

        Args:
            frames: Arrays (H, W, 3) RGB or (H, W) of uint8, uint16 or float32; or anything that ``decode`` makes
                them of.
            temporal: 0 to 0.95, how much of the haze of a frame is taken from the frames before, so that it does not
                flicker; it begins anew at scene cuts. 0 treats every frame on its own.
            decode: Makes pixels of a frame.
            encode: Makes the result of the restored pixels and the frame.
            jobs: Frames worked on at once; by default one per processor core.

        Raises:
            UsageError: ``jobs`` or ``temporal`` is out of range, or frames of a network shall be smoothed.
        """
        if self._network is not None and check_temporal(temporal):
            raise UsageError("temporal smooths the haze that a method finds; a network has none, so leave it out.")
        stream = DehazeStream[Any, Any](
            self if self._network is None else WholeFrames(self),
            decode=decode,
            encode=encode,
            field_filter=TemporalSmoother(temporal) if temporal else None,
            jobs=jobs,
        )
        return stream(frames)

    def restore(self, picture: Picture, *, maps: bool = False, in_place: bool = False) -> DehazeResult[Picture]:
        """Dehaze a decoded file; alpha, metadata and encoding go along untouched.

        Args:
            picture: From :func:`unhaze.io.images.read_image`.
            maps: Whether to return transmission, depth and confidence at full resolution.
            in_place: Write the result over ``picture.pixels``, which halves the memory.
        """
        curve = tone_curve(picture.metadata.icc)
        with self._executor():
            result = self._run_pixels(picture.pixels, maps, curve, in_place=in_place)
        info = {**result.info, "notes": [*picture.notes, *result.info["notes"]]}
        return _with_image(result, replace(picture, pixels=result.image), info=info)

    def solve(self, pixels: Pixels, curve: ToneCurve | None = None) -> HazeField:
        """Estimate the haze of a whole picture, (H, W) or (H, W, 3) uint8, uint16 or float32."""
        if self._method is None:
            raise UsageError(f"The network {self.method} has no haze field; call the dehazer, or use a method.")
        view = working_view(pixels, full_scale(pixels))
        return solve_field(view if curve is None else curve.to_srgb(view), self._method, self.options)

    def apply(
        self, pixels: Pixels, field: HazeField, curve: ToneCurve | None = None, *, out: Pixels | None = None
    ) -> Pixels:
        """Remove the haze described by ``field`` from a picture; ``out`` may be ``pixels`` itself."""
        target = np.empty(pixels.shape, pixels.dtype) if out is None else out
        with self._executor() as pool:
            restore_strips(pixels, target, field, self.options, curve, pool=pool)
        return target

    def memory_needed(self, info: ImageInfo, *, maps: bool = False) -> int:
        """Estimate of the peak memory [bytes] that a file takes from decoding to encoding."""
        copies = _COPIES_BY_FORMAT.get(f"{info.format}/{info.dtype}", _COPIES[info.dtype])
        # a file is larger than its pixels where it holds other things, all of which are read
        picture = _BASE_MEMORY + int(info.nbytes * copies) + max(0, info.file_bytes - info.nbytes)
        if self._network is not None:
            return picture + self._network.memory_needed(info.height, info.width, self._left_beside(picture))
        return picture + maps * _MAP_BYTES * info.pixels

    def check_budget(self, info: ImageInfo, *, maps: bool = False) -> None:
        """Raise OverBudgetError where a picture does not fit into ``max_memory``."""
        need = self.memory_needed(info, maps=maps)
        if self.max_memory is not None and need > self.max_memory:
            raise OverBudgetError(
                f"A picture of {info.width} x {info.height} needs about {format_bytes(need)}, more than the limit of "
                f"{format_bytes(self.max_memory)}; raise --max-memory or make the picture smaller."
                + (self._network.limits if self._network else "")
            )

    def _left_beside(self, picture: int) -> int | None:
        """What ``max_memory`` leaves for a network [bytes]."""
        return None if self.max_memory is None else max(0, self.max_memory - picture)

    def _run_pixels(
        self, pixels: Pixels, maps: bool, curve: ToneCurve | None = None, *, in_place: bool = False
    ) -> DehazeResult[Pixels]:
        if self._network is not None:
            budget = self._left_beside(_BASE_MEMORY + int(pixels.nbytes * _COPIES[pixels.dtype.name]))
            return self._network(pixels, curve, out=pixels if in_place else None, budget=budget)
        started = time.perf_counter()
        field = self.solve(pixels, curve)
        solved = time.perf_counter()
        transmission = confidence = None
        if maps:
            with self._executor() as pool:
                transmission = transmission_strips(pixels, field, curve, pool=pool)
            height, width = pixels.shape[:2]
            confidence = RowBlender.enlarge(field.confidence, height, width).rows(0, height).copy()
        restored = self.apply(pixels, field, curve, out=pixels if in_place else None)
        engine = self.engine
        return DehazeResult(
            image=restored,
            transmission=transmission,
            depth=None if transmission is None else DepthMap(-np.log(transmission), "relative"),
            airlight=field.airlight,
            confidence=confidence,
            info={
                "method": self.method,
                **asdict(self.options),
                "engine": None if engine is None else asdict(engine),
                "view": [field.slope.shape[1], field.slope.shape[0]],
                "seconds": {"solve": solved - started, "apply": time.perf_counter() - solved},
                "notes": [LOOKS_CLEAR] if field.looks_clear and self.options.strength > 0 else [],
            },
        )

    @contextmanager
    def _executor(self) -> Iterator[ThreadPoolExecutor | None]:
        """The threads of a call, the same for all its steps; :meth:`close` waits for its end."""
        crew: _Crew | None = getattr(self._mine, "crew", None)
        if crew is not None:
            yield crew.pool()
            return
        with self._changed:
            crew = self._crew
            crew.users += 1
        self._mine.crew = crew
        try:
            yield crew.pool()
        finally:
            self._mine.crew = None
            with self._changed:
                crew.users -= 1
                self._changed.notify_all()

    def read(self, source: str | Path | bytes, *, maps: bool = False, max_pixels: int | None = None) -> Picture:
        """Decode a picture within the limits of this dehazer.

        Args:
            source: Path or content of a picture file.
            maps: Whether maps at full resolution will be asked for.
            max_pixels: In place of that of the dehazer; ``None`` takes that.

        Raises:
            ImageError: The picture cannot be read.
            OverBudgetError: It does not fit into ``max_memory``.
        """
        room = METADATA_LIMIT
        if self.max_memory is not None:
            info = identify(source)
            self.check_budget(info, maps=maps)
            left = self.max_memory - self.memory_needed(info, maps=maps)
            room = min(room, _METADATA_INCLUDED + left // METADATA_COPIES)
        return read_image(source, max_pixels=max_pixels or self.max_pixels, max_metadata=room)

    def _run_file(self, path: Path, maps: bool, output: str | Path | None) -> DehazeResult[Path]:
        picture = self.read(path, maps=maps)
        result = self.restore(picture, maps=maps, in_place=True)
        target = default_output(path, picture) if output is None else Path(output)
        return _with_image(result, write_image(result.image, target))

    def _run_bytes(self, data: bytes, maps: bool) -> DehazeResult[bytes]:
        result = self.restore(self.read(data, maps=maps), maps=maps, in_place=True)
        return _with_image(result, encode_image(result.image))

    def _run_array(self, array: Pixels, maps: bool, curve: ToneCurve | None = None) -> DehazeResult[Pixels]:
        layout = ArrayLayout.of(array)
        with self._executor():
            result = self._run_pixels(layout.color, maps, curve)
        return _with_image(result, layout.rebuild(result.image))

    def _run_tensor(self, tensor: Any, maps: bool) -> DehazeResult[Any]:
        results = [self._run_array(array, maps) for array in tensor_to_arrays(tensor)]
        restored = arrays_to_tensor([result.image for result in results], tensor)
        return _with_image(results[0], restored) if tensor.ndim == 3 else _stack(results, restored)

    def _run_pil(self, image: Any, maps: bool) -> DehazeResult[Any]:
        icc = image.info.get("icc_profile")  # whatever the program has put there
        curve = tone_curve(icc) if isinstance(icc, bytes) else None
        result = self._run_array(pil_to_array(image), maps, curve)
        return _with_image(result, array_to_pil(result.image, image))


class _Crew:
    """Threads, started when they are first needed, and how many calls use them."""

    def __init__(self, size: int) -> None:
        self._size, self.users = size, 0
        self._pool: ThreadPoolExecutor | None = None
        self._starting = Lock()

    def pool(self) -> ThreadPoolExecutor | None:
        """The threads; ``None`` where one is enough, which is the caller's."""
        if self._size == 1:
            return None
        with self._starting:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(self._size, thread_name_prefix="unhaze")
            return self._pool

    def close(self) -> None:
        """Give the threads back."""
        if self._pool is not None:
            self._pool.shutdown()


def dehaze(image: ImageT, *, output: str | Path | None = None, **options: Any) -> ImageT:
    """Dehaze one picture and return it as the type that was given.

    Args:
        image: A path, bytes, PIL image, array or tensor, see :meth:`Dehazer.__call__`.
        output: Where to write the result of a path.
        **options: Those of :class:`Dehazer`.

    >>> dehaze(np.full((2, 2), 90, np.uint8), strength=0.0).tolist()
    [[90, 90], [90, 90]]
    """
    with Dehazer(**options) as dehazer:
        restored: ImageT = dehazer(image, maps=False, output=output).image
    return restored


def default_output(path: Path, picture: Picture | ImageInfo) -> Path:
    """Where the result of a file goes if nothing else is said: beside it, with ``-dehazed`` added to the name.

    The suffix stays where it fits the content and such files can be written.

    >>> default_output(Path("a/photo.JPG"), ImageInfo("jpeg", 4, 3, 3, False, "uint8")).as_posix()
    'a/photo-dehazed.JPG'
    >>> default_output(Path("photo.nef"), ImageInfo("raw", 4, 3, 3, False, "uint16")).name
    'photo-dehazed.tif'
    """
    info = picture.info if isinstance(picture, Picture) else picture
    return path.with_name(f"{path.stem}{DEFAULT_SUFFIX}{output_ending(path, info)}")


def _with_image(result: DehazeResult[Any], image: ImageT, **changes: Any) -> DehazeResult[ImageT]:
    """The same result about another form of the picture."""
    changed: DehazeResult[ImageT] = replace(result, image=image, **changes)
    return changed


def _refuse_method_options(method: str, options: DehazeOptions, engine: str) -> None:
    """A network takes no method and of its options only the strength."""
    given = {"method": (method, DEFAULT_METHOD), "engine": (engine, "auto")} | {
        name: (getattr(options, name), getattr(DehazeOptions, name)) for name in _METHOD_OPTIONS
    }
    for name, (value, default) in given.items():
        if value != default:
            raise UsageError(f"{name} is for methods and does not apply to a network; leave it out.")


def _stack(results: list[DehazeResult[Any]], images: Any) -> DehazeResult[Any]:
    """One result for a batch: maps (B, H, W), airlight (B, 3)."""
    airlights = [result.airlight for result in results if result.airlight is not None]
    if not airlights:
        return _with_image(results[0], images)
    airlight = np.stack(airlights)
    if any(result.transmission is None for result in results):
        return DehazeResult(images, None, None, airlight, None, results[0].info)
    transmission, confidence = (
        np.stack([getattr(result, name) for result in results]) for name in ("transmission", "confidence")
    )
    depth = DepthMap(-np.log(transmission), "relative")
    return DehazeResult(images, transmission, depth, airlight, confidence, results[0].info)
