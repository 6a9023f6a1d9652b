"""A network that ``unhaze export`` wrote, on pictures of any size. Torch is needed for depth only."""

from __future__ import annotations

from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from unhaze.catalog import check_device
from unhaze.errors import MissingDependencyError, OverBudgetError, UsageError, WeightsError
from unhaze.restore.engines.base import FOR_FUSIONS, NetworkOptions, NetworkOutput
from unhaze.restore.engines.exports import ExportFacts, read_export
from unhaze.restore.engines.onnx import OnnxEngine
from unhaze.restore.machine import available_memory, format_bytes
from unhaze.restore.tiling import cut, rounded_up, tile_around
from unhaze.types import DepthMap

if TYPE_CHECKING:
    from numpy.typing import NDArray

    FloatArray = NDArray[np.float32]

__all__ = ["ExportedEngine", "open_engine"]

_LIBRARY = 150 << 20  # of an engine with a small network, measured
_ESTIMATOR = 1 << 30  # torch and a depth estimator, which sees a picture at a size of its own
_SHARE_OF_MEMORY = 0.7
_SMALLEST_TILE = 32  # below, nearly all of the work is overlap [px]


def open_engine(model: str | None, options: NetworkOptions) -> ExportedEngine:
    """Read an exported network; it is made ready with the first picture.

    Args:
        model: The file.
        options: How to run it; ``weights`` is the file, too.

    Raises:
        WeightsError: The file is damaged, or was not written by ``unhaze export``.
        UsageError: An option does not apply to exported networks, or not to this one.
        MissingError: What runs it is not installed.
    """
    return ExportedEngine(Path(options.weights), options)


class ExportedEngine:
    """Runs one exported network. Any thread may call it.

    Args:
        path: The file.
        options: How to run it.

    Attributes:
        name: Name of the network in the catalogue.
        device: Always ``"cpu"``; ``engine.info`` says what runs it.
        engine: Runs the file.
    """

    device = "cpu"

    def __init__(self, path: Path, options: NetworkOptions) -> None:
        self.facts: ExportFacts = read_export(path)
        self.path, self.options = path, options
        self.name, self.contract = self.facts.name, self.facts.contract
        self._check_options()
        self._fixed = _LIBRARY + 2 * path.with_suffix(".bin" if path.suffix == ".xml" else path.suffix).stat().st_size
        self.engine = _open_engine(path, options, self.facts)
        self._estimator = _estimator(self.facts, options) if self.facts.depth == "input" else None

    @property
    def tileable(self) -> bool:
        """Whether tiles give the result of the whole picture."""
        return self.contract.tiling is not None and self.facts.size is None

    @property
    def knows_depth(self) -> bool:
        """Whether it is told of depth, and gives it back."""
        return self.facts.depth == "input"

    def memory_needed(self, height: int, width: int, budget: int | None = None) -> int:
        """Estimate of the bytes it takes beside the picture, where ``budget`` bytes may be used."""
        return self._fixed_memory + self._tile_memory(height, width, self._tile_size(height, width, self._left(budget)))

    def restore(self, rgb: FloatArray, budget: int | None = None) -> NetworkOutput:
        """Restore (H, W, 3) float32 RGB in [0, 1], sRGB-encoded, with at most ``budget`` bytes.

        Raises:
            OverBudgetError: It does not fit, and the network cannot be run in smaller tiles.
            UsageError: The network was exported for another size.
            WeightsError: The file does not compute what it says.
        """
        height, width = rgb.shape[:2]
        if self.facts.size is not None and (height, width) != self.facts.size:
            raise UsageError(
                f"{self.path} takes pictures of {self.facts.size[1]} x {self.facts.size[0]} only, not of "
                f"{width} x {height}; export it without --size, or scale the picture."
            )
        depth = None if self._estimator is None else self._estimator(rgb)
        padded = _padded(rgb, self.contract.multiple_of, self.contract.minimum, self.contract.pad_mode)
        maps = {"image": padded}
        if depth is not None:
            below, beside = (big - small for big, small in zip(padded.shape[:2], rgb.shape[:2], strict=True))
            maps["nearness"] = np.pad(depth[0], ((0, below), (0, beside)), "edge")[..., None]
        left = self._left(budget)
        size = self._tile_size(height, width, left)
        need = self._tile_memory(height, width, size)
        if left is not None and need > (left if budget is not None else left / _SHARE_OF_MEMORY):
            raise self._too_large(height, width, need, left)
        out = np.empty_like(padded)
        rows_columns = (slice(0, padded.shape[0]), slice(0, padded.shape[1]))
        tiles = list(cut(rows_columns, max(size, 1), self.contract.multiple_of)) if self._is_cut(size, rgb) else None
        for core in tiles or [rows_columns]:
            tile = tile_around(core, padded.shape[:2], self._overlap if tiles else 0)
            rows, columns = tile.context
            seen = {
                name: np.ascontiguousarray(each[rows, columns].transpose(2, 0, 1)[None]) for name, each in maps.items()
            }
            made = self.engine.run(**seen).get("restored")
            if made is None or made.shape != seen["image"].shape or made.dtype != np.float32:
                raise WeightsError(
                    f"{self.path} gives back no picture of the size of the one that it was given; export it again."
                )
            out[core] = made[0].transpose(1, 2, 0)[tile.inner]
        restored = np.ascontiguousarray(out[:height, :width]).clip(0, 1)
        return NetworkOutput(restored, len(tiles or [0]), self.facts.precision, (), None if depth is None else depth[1])

    def _check_options(self) -> None:
        given = self.options
        defaults = NetworkOptions(given.weights)
        for name in ("compile", "precision", "backbone_weights", "prompts"):
            if getattr(given, name) != getattr(defaults, name):
                raise UsageError(f"{name} is decided when a network is exported, and {self.path} is; leave it out.")
        check_device(given.device)
        if given.device not in ("auto", "cpu"):
            raise UsageError(
                f"device is for networks that torch runs; choose what runs {self.path.name} with --engine, like cuda."
            )
        if self.facts.depth != "input":
            for name in FOR_FUSIONS:
                if getattr(given, name) != getattr(defaults, name):
                    raise UsageError(f"{name} is for networks that are told of depth; {self.path} takes none.")
        if given.tile is not None and not self.tileable:
            raise UsageError(f"{self.path.name} looks at the whole picture at once; leave --tile out.")
        if self.facts.kind != "network":
            raise WeightsError(f"{self.path} is the network of a model that finds haze; name it with --model alone.")

    # -- sizes and memory ----------------------------------------------------------------------------------------------

    @property
    def _fixed_memory(self) -> int:
        return self._fixed + (_ESTIMATOR if self.facts.depth == "input" else 0)

    @property
    def _overlap(self) -> int:
        assert self.contract.tiling is not None
        return rounded_up(max(self.contract.tiling, self.contract.minimum), self.contract.multiple_of)

    def _is_cut(self, size: int, rgb: FloatArray) -> bool:
        return self.tileable and size < max(rgb.shape[:2])

    def _tile_memory(self, height: int, width: int, size: int) -> int:
        if self.tileable:
            seen = size + 2 * self._overlap
            height, width = min(height, seen), min(width, seen)
        return self.facts.memory_per_pixel * height * width

    def _tile_size(self, height: int, width: int, budget: int | None) -> int:
        """Side of the tiles: that asked for, or the largest, by halves, that fits ``budget``."""
        multiple = self.contract.multiple_of
        size = rounded_up(max(height, width), multiple)
        if not self.tileable:
            return size
        if self.options.tile is not None:
            return min(size, rounded_up(self.options.tile, multiple))
        smallest = rounded_up(_SMALLEST_TILE, multiple)
        while budget is not None and size > smallest and self._tile_memory(height, width, size) > budget:
            size = max(smallest, rounded_up(-(-size // 2), multiple))
        return size

    def _left(self, budget: int | None) -> int | None:
        if budget is not None:
            return max(0, budget - self._fixed_memory)
        free = available_memory()
        return None if free is None else int(free * _SHARE_OF_MEMORY)

    def _too_large(self, height: int, width: int, need: int, limit: int) -> OverBudgetError:
        whole = "" if self.tileable else f" {self.name} looks at the whole picture at once, so it is not run in tiles."
        return OverBudgetError(
            f"A picture of {width} x {height} needs about {format_bytes(need)} in {self.path.name}, more than the "
            f"{format_bytes(limit)} that may be used.{whole} Make the picture smaller, or allow more memory."
        )


def _padded(rgb: FloatArray, multiple: int, minimum: int, mode: str) -> FloatArray:
    """(H, W, 3) enlarged below and on the right as :func:`unhaze.models.layers.padding.pad_to_multiple` does it."""
    more = [-max(side, minimum) % multiple + max(minimum - side, 0) for side in rgb.shape[:2]]
    if not any(more):
        return rgb
    how: Any = "edge" if mode == "replicate" else "reflect"
    return np.pad(rgb, ((0, more[0]), (0, more[1]), (0, 0)), how)


def _open_engine(path: Path, options: NetworkOptions, facts: ExportFacts) -> OnnxEngine:
    """What runs the file; opened at the first use."""
    if path.suffix.lower() == ".pt2":  # it holds pickles and expressions, which torch evaluates
        raise UsageError(
            f"Loading {path.name} could run code that somebody put into it, so unhaze does not; load it with "
            "torch.export.load if you trust it, or export the network as ONNX."
        )
    name = "openvino" if path.suffix.lower() == ".xml" and options.engine == "auto" else options.engine
    if path.suffix.lower() == ".xml" and name != "openvino":
        raise UsageError(f"Only OpenVINO runs {path.name}; leave --engine out, or export the network as ONNX.")
    side = rounded_up(max(64, facts.contract.minimum), facts.contract.multiple_of)
    return OnnxEngine(path, engine=name, threads=options.threads, side=side)


def _estimator(facts: ExportFacts, options: NetworkOptions) -> Any:
    """A function from (H, W, 3) to nearness (H, W) in [0, 1] and the depth map it was made of."""
    try:
        import torch

        from unhaze.depth import create_depth
        from unhaze.depth.base import announce_license
        from unhaze.models.layers.depth_view import nearness
    except ImportError as error:
        raise MissingDependencyError("torch", "torch", f"estimate the depth that {facts.name} is told") from error
    name = options.depth or facts.estimator
    if not name:
        raise UsageError(f"{facts.name} needs depth; name an estimator or a depth map with --depth.")
    estimator = create_depth(name, **({} if options.depth_weights is None else {"weights": options.depth_weights}))
    if estimator.name != "file":
        announce_license(estimator)
    lock = Lock()

    def estimate(rgb: FloatArray) -> tuple[FloatArray, DepthMap[FloatArray]]:
        with lock, torch.inference_mode():
            depth = estimator(torch.from_numpy(rgb).permute(2, 0, 1)[None])
            near = nearness(depth.map, depth.kind)
            if near.shape[-2:] != rgb.shape[:2]:
                near = torch.nn.functional.interpolate(near, rgb.shape[:2], mode="bilinear", align_corners=False)
        return near[0, 0].numpy(), DepthMap(depth.map[0, 0].float().numpy(), depth.kind)

    return estimate
