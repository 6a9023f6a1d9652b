"""The public dehazer: any picture in, the same kind of picture out."""

from __future__ import annotations

import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from inspect import Parameter, signature
from pathlib import Path
from threading import Condition, local
from typing import TYPE_CHECKING, Any, TypeVar, cast, overload

import numpy as np

from unhaze.errors import OverBudgetError, UnknownNameError, UsageError
from unhaze.images.budget import METADATA_COPIES, METADATA_LIMIT, check_pixels
from unhaze.images.color import tone_curve
from unhaze.images.files import (
    ImageInfo,
    Picture,
    encode_image,
    identify,
    read_image,
    write_image,
)
from unhaze.images.levels import find_white, nominal_white
from unhaze.models.catalogue import create_haze_model, finds_haze, resolve_model
from unhaze.restore.arrays import (
    ArrayLayout,
    array_to_pil,
    arrays_to_tensor,
    is_pil,
    is_torch,
    keep_off,
    picture_to_pil,
    pil_loss,
    pil_to_array,
    stack_results,
    tensor_to_arrays,
)
from unhaze.restore.engines.base import NetworkOptions
from unhaze.restore.engines.exports import is_exported
from unhaze.restore.engines.onnx import OnnxEngine
from unhaze.restore.haze_field import HazeField, solve_field, working_view
from unhaze.restore.machine import format_bytes, usable_cores
from unhaze.restore.network import NetworkRun, open_network
from unhaze.restore.options import DEFAULT_MODEL, Options
from unhaze.restore.strips import RowBlender, full_scale, restore_strips, transmission_strips
from unhaze.types import DehazeResult, DepthMap
from unhaze.video.smoothing import TemporalSmoother, check_temporal
from unhaze.video.stream import DehazeStream, WholeFrames

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from types import TracebackType

    from numpy.typing import NDArray
    from PIL.Image import Image

    from unhaze.classic.base import HazeModel
    from unhaze.images.color import ToneCurve
    from unhaze.restore.engines.onnx import EngineInfo

    Pixels = NDArray[Any]
    FloatArray = NDArray[np.float32]

__all__ = ["LOOKS_CLEAR", "Dehazer", "dehaze"]

LOOKS_CLEAR = "looks clear: left almost as it was"
"""The note on a picture that holds so little haze that the result can hardly be told from it."""
SPARED = "hardly any haze was found, so it was spared; --spare-clear 0 removes what there is, --model dcp finds more"
INVISIBLE = "removing all haze that was found can hardly be seen"
"""Why a picture was left almost as it was: one of these two."""

# measured: interpreter, libraries, engine, one view and the strips in flight
_BASE_MEMORY = 190 << 20
# measured peak bytes per byte of decoded pixels, from decoding to encoding in the same format
_COPIES = {"uint8": 2.6, "uint16": 3.1, "float32": 3.0}
_COPIES_BY_FORMAT = {
    "png/uint16": 4.1,
    "bmp/uint8": 4.5,
    "webp/uint8": 13.0,
    "avif/uint8": 15.0,
    # a TIFF may hold colours multiplied by alpha, or float64; neither shows in what is known before it is decoded
    "tiff/uint8": 4.0,
    "tiff/uint16": 4.0,
    "tiff/float32": 4.5,
}
_MAP_BYTES = 44  # a pixel: three maps, the steps to depth, and what it takes to write them as pictures
_FOR_HAZE = ("color_blend", "protect_sky", "spare_clear", "engine")  # options that a network has no use for
_FOR_NETWORKS = tuple(each.name for each in fields(NetworkOptions) if each.name not in ("engine", "threads"))
_METADATA_INCLUDED = 2 << 20  # [bytes] of texts, profiles and the like that the base has room for

ImageT = TypeVar("ImageT")


class Dehazer:
    """Removes haze from pictures. Reusable, safe to share between threads, and a context manager.

    Args:
        model: Name from :func:`unhaze.list_models`, or a file that ``unhaze export`` wrote; recognised from ``weights``
            if they alone are given, else the default.
        **options: The attributes of :class:`~unhaze.restore.options.Options`, such as ``strength``, ``weights`` and
            ``max_memory``.

    Attributes:
        model: Full name of the model.
        options: What was given.

    Raises:
        UsageError: An option does not exist or is out of range; ``UnknownNameError`` for an unknown model.
        MissingError: The model needs something that is not installed or given.

    >>> with Dehazer(strength=0.8) as dehazer:
    ...     result = dehazer(np.full((4, 6, 3), 200, np.uint8))
    >>> result.image.dtype.name, result.transmission.shape
    ('uint8', (4, 6))
    """

    def __init__(self, model: str | None = None, **options: Any) -> None:
        known = [each.name for each in fields(Options)]
        for name in options:
            if name not in known:
                raise UnknownNameError("option", name, known)
        self.options = given = Options(model=model, **options)
        self.max_memory = cast("int | None", given.max_memory)  # numbers, once the options were checked
        self.max_pixels = cast("int | None", given.max_pixels)
        self.white = given.white
        self.threads = given.threads or usable_cores()
        self._network: NetworkRun | None = None
        self._haze_model: HazeModel | None = None
        if model is not None:
            model = resolve_model(model)
        elif given.weights is None:
            model = DEFAULT_MODEL
        if model is not None and finds_haze(model):
            for name in given.given(*_FOR_NETWORKS):
                raise UsageError(
                    f"{name} is for networks, which {model} is not; name one with --model, or leave it out."
                )
            self.restoration = given.restoration(network=False)
            self._haze_model = create_haze_model(model, engine=given.engine, threads=self.threads)
            self.model = model
        else:
            for name in given.given(*_FOR_HAZE):
                if name == "engine" and is_exported(model or given.weights):
                    continue
                raise UsageError(f"{name} is for models that find haze and does not apply to a network; leave it out.")
            self.restoration = how = given.restoration(network=True)
            self._network = open_network(model, given.for_network(), how.strength, how.keep_exposure)
            self.model = self._network.engine.name
        self._crew = _Crew()
        self._changed = Condition()
        self._mine = local()

    @classmethod
    def from_options(cls, options: Options) -> Dehazer:
        """The dehazer for a whole set of options."""
        return cls(**vars(options))

    def __enter__(self) -> Dehazer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Wait for calls under way in other threads, and give back threads; the next call starts them again."""
        with self._changed:
            crew, self._crew = self._crew, _Crew()
            self._changed.wait_for(lambda: not crew.users or crew is getattr(self._mine, "crew", None))
        if crew.pool is not None:
            crew.pool.shutdown()

    def __call__(self, image: Any, *, maps: bool = True, output: str | Path | None = None) -> DehazeResult[Any]:
        """Dehaze one picture of any kind; writes a file only where ``output`` names it, for a path.

        Args:
            image: One of
                a path: with ``output`` the result is written there and ``image`` of the result is that path; without,
                it is an upright ``PIL.Image.Image`` with EXIF, XMP, colour profile and resolution, and no file is
                touched. PIL holds 8 bits for colour: deeper values are rounded, with a warning;
                the ``bytes`` of a file, given back as bytes of the same format;
                a ``PIL.Image.Image``, given back in the same mode, EXIF and ICC profile included;
                an array (H, W), (H, W, 1), RGB (H, W, 3) or RGBA (H, W, 4) of uint8, uint16 or floats, white at 255,
                65535 or 1, or at ``white``; where 16-bit or float values reach less or more, at what they reach. NaN
                and infinity stay where they are;
                a torch tensor (C, H, W) or (B, C, H, W) with 1, 3 or 4 channels, of the same value types.
            maps: Whether to return transmission, depth and confidence at full resolution.
            output: Where to write the result of a path; an existing file is never overwritten.

        Returns:
            The result; its ``image`` has the type, shape and value type of the input, but for paths as said above. For
            a batch the maps are (B, H, W) and the airlight is (B, 3).

        Raises:
            ImageError: The picture cannot be read, or its values mean nothing as a picture.
            OutputError: The output cannot be written or exists.
            OverBudgetError: The picture does not fit into ``max_memory``.
            UsageError: ``image`` is of a type that is not handled, or ``output`` was given without a path.
        """
        if output is not None and not isinstance(image, str | Path):
            raise UsageError("output is for pictures given by path; other pictures come back as they were given.")
        if isinstance(image, str | Path):
            picture = self.read(Path(image), maps=maps)
            result = cast("DehazeResult[Any]", self.restore(picture, maps=maps, in_place=True))
            if output is not None:
                return replace(result, image=write_image(result.image, output))
            if loss := pil_loss(result.image):
                warnings.warn(f"{Path(image)}: {loss}", stacklevel=2)
                result = replace(result, info={**result.info, "notes": [*result.info["notes"], loss]})
            return replace(result, image=picture_to_pil(result.image))
        if isinstance(image, bytes | bytearray | memoryview):
            picture = self.read(bytes(image), maps=maps)
            result = cast("DehazeResult[Any]", self.restore(picture, maps=maps, in_place=True))
            return replace(result, image=encode_image(result.image))
        if isinstance(image, np.ndarray):
            return self._run_array(image, maps)
        if is_torch(image):
            results = [self._run_array(array, maps) for array in tensor_to_arrays(image)]
            restored = arrays_to_tensor([each.image for each in results], image)
            return replace(results[0], image=restored) if image.ndim == 3 else stack_results(results, restored)
        if is_pil(image):
            icc = image.info.get("icc_profile")  # whatever the program has put there
            curve = tone_curve(icc) if isinstance(icc, bytes) else None
            result = self._run_array(pil_to_array(image), maps, curve)
            return replace(result, image=array_to_pil(result.image, image))
        raise UsageError(
            f"A picture of type {type(image).__name__} is not handled; "
            "give a path, bytes, a PIL image, a NumPy array or a torch tensor."
        )

    @property
    def engine(self) -> EngineInfo | None:
        """What runs a model in ONNX, which is made ready for it; ``None`` where there is none.

        Raises:
            MissingError: The engine is installed but does not work.
        """
        engine = getattr(self._haze_model if self._network is None else self._network.engine, "engine", None)
        return engine.open().info if isinstance(engine, OnnxEngine) else None

    @property
    def device(self) -> str:
        """Kind of device that pictures are restored on: ``"cpu"``, ``"cuda"``."""
        return "cpu" if self._network is None else self._network.engine.device

    @property
    def has_field(self) -> bool:
        """Whether the model finds the haze of a picture; a network restores the picture by itself."""
        return self._haze_model is not None

    @property
    def knows_depth(self) -> bool:
        """Whether results have a depth map: of a model that finds haze, or of a network that is told of depth."""
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
            temporal: 0 to 0.98, how much of the haze of a frame is taken from the frames before, so that it does not
                flicker; it begins anew at scene cuts. 0 treats every frame on its own.
            decode: Makes pixels of a frame.
            encode: Makes the result of the restored pixels and the frame.
            jobs: Frames worked on at once; by default one per processor core.

        Raises:
            UsageError: ``jobs`` or ``temporal`` is out of range, or frames of a network shall be smoothed.
        """
        if self._network is not None and check_temporal(temporal):
            raise UsageError("temporal smooths the haze that a model finds; a network has none, so leave it out.")
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
            picture: From :func:`unhaze.images.files.read_image`.
            maps: Whether to return transmission, depth and confidence at full resolution.
            in_place: Write the result over ``picture.pixels``, which halves the memory.
        """
        curve = tone_curve(picture.metadata.icc)
        hidden, nodata = picture.hidden(), picture.encoding.nodata
        known = nominal_white(picture.pixels.dtype) if picture.white is None else picture.white
        white = self._white_given(picture.pixels, known)
        result = self._run_pixels(picture.pixels, maps, curve, in_place=in_place, white=white, hidden=hidden)
        if nodata is not None:
            keep_off(result.image, nodata, hidden)
        restored = replace(picture, pixels=result.image, white=white)
        return replace(result, image=restored, info={**result.info, "notes": [*picture.notes, *result.info["notes"]]})

    def solve(
        self,
        pixels: Pixels,
        curve: ToneCurve | None = None,
        *,
        white: float | None = None,
        hidden: NDArray[np.bool_] | None = None,
    ) -> HazeField:
        """Estimate the haze of a whole picture.

        Args:
            pixels: (H, W) or (H, W, 3) uint8, uint16 or float32.
            curve: Tone curve of its colour profile, where it is not that of sRGB.
            white: The value that stands for white; by default that of the dehazer, or else :func:`full_scale`.
            hidden: (H, W), pixels that show nothing, whose values play no part.
        """
        if self._haze_model is None:
            raise UsageError(f"The network {self.model} has no haze field; call the dehazer, or use another model.")
        view = working_view(pixels, self._white_given(pixels, full_scale(pixels)) if white is None else white, hidden)
        return solve_field(view if curve is None else curve.to_srgb(view), self._haze_model, self.restoration)

    def apply(
        self,
        pixels: Pixels,
        field: HazeField,
        curve: ToneCurve | None = None,
        *,
        out: Pixels | None = None,
        white: float | None = None,
        hidden: NDArray[np.bool_] | None = None,
    ) -> Pixels:
        """Remove the haze described by ``field`` from a picture.

        Args:
            pixels: (H, W, 3) or (H, W), as for :meth:`solve`; the result has its shape and type.
            field: The haze.
            curve: As for :meth:`solve`.
            out: Where to write the result, may be ``pixels`` itself; a new array if ``None``.
            white: As for :meth:`solve`; values above stay as they are.
            hidden: As for :meth:`solve`; these pixels stay as they are.
        """
        target = np.empty(pixels.shape, pixels.dtype) if out is None else out
        white = self._white_given(pixels, full_scale(pixels)) if white is None else white
        with self._executor() as pool:
            restore_strips(pixels, target, field, self.restoration, curve, white=white, hidden=hidden, pool=pool)
        return target

    def _white_given(self, pixels: Pixels, otherwise: float) -> float:
        """The option, which is not for 8 bits: their white is never in doubt."""
        return otherwise if self.white is None or pixels.dtype == np.uint8 else self.white

    def memory_needed(self, info: ImageInfo, *, maps: bool = False) -> int:
        """Estimate of the peak memory [bytes] that a file takes from decoding to encoding."""
        copies = _COPIES_BY_FORMAT.get(f"{info.format}/{info.dtype}", _COPIES[info.dtype])
        # a file is larger than its pixels where it holds other things, all of which are read
        picture = _BASE_MEMORY + int(info.nbytes * copies) + max(0, info.file_bytes - info.nbytes)
        picture += info.scratch_bytes
        if self._network is not None:
            left = None if self.max_memory is None else max(0, self.max_memory - picture)
            return picture + self._network.memory_needed(info.height, info.width, left)
        return picture + maps * _MAP_BYTES * info.pixels

    def check_budget(self, info: ImageInfo, *, maps: bool = False, max_pixels: int | None = None) -> None:
        """Raise ImageTooLargeError or OverBudgetError where a picture does not fit into the limits.

        Args:
            info: Size and type of the picture.
            maps: Whether maps at full resolution will be asked for.
            max_pixels: In place of that of the dehazer; ``None`` takes that.
        """
        check_pixels("The picture", info.width, info.height, max_pixels or self.max_pixels)
        need = self.memory_needed(info, maps=maps)
        if self.max_memory is not None and need > self.max_memory:
            raise OverBudgetError(
                f"A picture of {info.width} x {info.height} needs about {format_bytes(need)}, more than the limit of "
                f"{format_bytes(self.max_memory)}; raise --max-memory or make the picture smaller."
                + (self._network.limits if self._network else "")
            )

    def _run_pixels(
        self,
        pixels: Pixels,
        maps: bool,
        curve: ToneCurve | None,
        *,
        white: float,
        hidden: NDArray[np.bool_] | None,
        in_place: bool = False,
    ) -> DehazeResult[Any]:
        """Restore pixels of which it is known what they mean: those of a file and those of an array."""
        above = 0  # values above white that are numbers
        if pixels.dtype.kind != "u" or white < nominal_white(pixels.dtype):
            for start in range(0, len(pixels), 256):
                strip = pixels[start : start + 256]
                above += int(np.count_nonzero((strip > white) & (strip < np.inf)))
        out = pixels if in_place else np.empty(pixels.shape, pixels.dtype)
        with self._executor() as pool:
            if self._haze_model is None:
                assert self._network is not None
                beside = _BASE_MEMORY + int(pixels.nbytes * _COPIES[pixels.dtype.name])
                left = None if self.max_memory is None else max(0, self.max_memory - beside)
                result = self._network(pixels, curve, out=out, budget=left, white=white, hidden=hidden)
            else:
                started = time.perf_counter()
                engine = self.engine  # opens it
                view = working_view(pixels, white, hidden)
                field = solve_field(view if curve is None else curve.to_srgb(view), self._haze_model, self.restoration)
                solved = time.perf_counter()
                shown = None
                if maps:
                    shown = transmission_strips(pixels, field, curve, white=white, hidden=hidden, pool=pool)
                restore_strips(pixels, out, field, self.restoration, curve, white=white, hidden=hidden, pool=pool)
                seconds = {"solve": solved - started, "apply": time.perf_counter() - solved}
                result = self._result(out, field, shown, engine, seconds)
        notes = list(result.info["notes"])
        if self.white is None and white != nominal_white(pixels.dtype):
            notes.insert(0, f"White was taken to be {white:g}, which the values reach; --white (white=) sets another.")
        if above:
            notes.append(f"{above} values above white ({white:g}) were left as they are.")
        return replace(result, info={**result.info, "white": white, "notes": notes})

    def _result(
        self,
        restored: Pixels,
        field: HazeField,
        transmission: FloatArray | None,
        engine: EngineInfo | None,
        seconds: dict[str, float],
    ) -> DehazeResult[Any]:
        """What is told of a picture whose haze was found; ``transmission`` (H, W) where maps were asked for."""
        left_alone = None
        if field.looks_clear and self.restoration.strength > 0:
            left_alone = SPARED if field.spared > 0.5 else INVISIBLE
        depth = confidence = None
        if transmission is not None:
            height, width = transmission.shape
            confidence = RowBlender.enlarge(field.confidence, height, width).rows(0, height).copy()
            depth = DepthMap(-np.log(transmission), "relative")
        airlight = np.asarray(field.airlight.reshape(-1, 3).mean(axis=0), np.float32)
        return DehazeResult(
            image=restored,
            transmission=transmission,
            depth=depth,
            airlight=airlight,
            confidence=confidence,
            info={
                "model": self.model,
                **asdict(self.restoration),
                "haze": {
                    "density": round(field.density, 4),
                    "beyond_sight": round(field.beyond_sight, 4),
                    "airlight": [round(float(value), 4) for value in airlight],
                    "confidence": round(float(field.confidence.mean()), 4),
                },
                "left_alone": left_alone,
                "engine": None if engine is None else asdict(engine),
                "view": [field.slope.shape[1], field.slope.shape[0]],
                "seconds": seconds,
                "notes": [LOOKS_CLEAR] if left_alone else [],
            },
        )

    @contextmanager
    def _executor(self) -> Iterator[ThreadPoolExecutor | None]:
        """The threads of a call, ``None`` where one is enough; :meth:`close` waits for its end."""
        crew: _Crew | None = getattr(self._mine, "crew", None)
        if crew is not None:
            yield crew.pool
            return
        with self._changed:
            crew = self._crew
            if crew.pool is None and self.threads > 1:
                crew.pool = ThreadPoolExecutor(self.threads, thread_name_prefix="unhaze")
            crew.users += 1
        self._mine.crew = crew
        try:
            yield crew.pool
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
            self.check_budget(info, maps=maps, max_pixels=max_pixels)
            left = self.max_memory - self.memory_needed(info, maps=maps)
            room = min(room, _METADATA_INCLUDED + left // METADATA_COPIES)
        return read_image(source, max_pixels=max_pixels or self.max_pixels, max_metadata=room)

    def _run_array(self, array: Pixels, maps: bool, curve: ToneCurve | None = None) -> DehazeResult[Any]:
        layout = ArrayLayout.of(array)
        hidden = layout.hidden()
        white = self._white_given(layout.color, find_white(layout.color, hidden))
        result = self._run_pixels(layout.color, maps, curve, white=white, hidden=hidden)
        return replace(result, image=layout.rebuild(result.image))


@dataclass
class _Crew:
    """Threads, started when they are first needed, and how many calls use them."""

    pool: ThreadPoolExecutor | None = None
    users: int = 0


@overload
def dehaze(image: str | Path, *, output: None = None, **options: Any) -> Image: ...
@overload
def dehaze(image: str | Path, *, output: str | Path, **options: Any) -> Path: ...
@overload
def dehaze(image: ImageT, *, output: None = None, **options: Any) -> ImageT: ...
def dehaze(image: Any, *, output: str | Path | None = None, **options: Any) -> Any:
    """Dehaze one picture and return it as the type that was given; writes a file only where ``output`` names it.

    Args:
        image: A path, bytes, PIL image, array (H, W, 3) or tensor (3, H, W) or (B, 3, H, W), see
            :meth:`Dehazer.__call__`.
        output: Where to write the result of a path, which is returned as this path. Without it the result of a path is
            a PIL image, and no file is written.
        **options: Those of :class:`Dehazer`, ``model`` included.

    >>> dehaze(np.full((2, 2), 90, np.uint8), strength=0.0).tolist()
    [[90, 90], [90, 90]]
    """
    with Dehazer(**options) as dehazer:
        return dehazer(image, maps=False, output=output).image


_function: Any
for _function, _known in ((Dehazer.__init__, ("model",)), (dehaze, ())):  # their signatures show the options
    _own = signature(_function)
    _shown = [each for each in _own.parameters.values() if each.kind is not Parameter.VAR_KEYWORD]
    _shown += [
        Parameter(each.name, Parameter.KEYWORD_ONLY, default=each.default, annotation=each.type)
        for each in fields(Options)
        if each.name not in _known
    ]
    _function.__signature__ = _own.replace(parameters=_shown)
