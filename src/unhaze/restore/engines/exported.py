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
from unhaze.restore.tiling import TileSizes, cut, rounded_up, tile_around
from unhaze.types import DepthMap

if TYPE_CHECKING:
    from numpy.typing import NDArray

    FloatArray = NDArray[np.float32]

__all__ = ["ExportedEngine", "open_engine"]

_LIBRARY = 150 << 20  # of an engine with a small network, measured
_ESTIMATOR = 1 << 30  # torch and a depth estimator, which sees a picture at a size of its own
_SHARE_OF_MEMORY = 0.7


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
        suffix, engine = path.suffix.lower(), options.engine
        if suffix == ".pt2":  # it holds pickles and expressions, which torch evaluates
            raise UsageError(
                f"Loading {path.name} could run code that somebody put into it, so unhaze does not; load it with "
                "torch.export.load if you trust it, or export the network as ONNX."
            )
        if suffix == ".xml" and engine not in ("auto", "openvino"):
            raise UsageError(f"Only OpenVINO runs {path.name}; leave --engine out, or export the network as ONNX.")
        side = rounded_up(max(64, self.contract.minimum), self.contract.multiple_of)
        self.engine = OnnxEngine(
            path, engine="openvino" if suffix == ".xml" else engine, threads=options.threads, side=side
        )
        file = path.with_suffix(".bin" if path.suffix == ".xml" else path.suffix)
        self._fixed_memory = _LIBRARY + 2 * file.stat().st_size + (_ESTIMATOR if self.knows_depth else 0)
        pixel = self.facts.memory_per_pixel
        self._tiles = TileSizes(
            self.contract, lambda height, width: pixel * height * width, self.tileable, options.tile
        )
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
        size = self._tiles.size(height, width, self._left(budget))
        return self._fixed_memory + self._tiles.memory(height, width, size)

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
        # enlarged below and on the right as unhaze.models.layers.padding.pad_to_multiple does it
        padded, multiple, minimum = rgb, self.contract.multiple_of, self.contract.minimum
        if any(more := [-max(side, minimum) % multiple + max(minimum - side, 0) for side in rgb.shape[:2]]):
            how: Any = "edge" if self.contract.pad_mode == "replicate" else "reflect"
            padded = np.pad(rgb, ((0, more[0]), (0, more[1]), (0, 0)), how)
        maps = {"image": padded}
        if depth is not None:
            below, beside = (big - small for big, small in zip(padded.shape[:2], rgb.shape[:2], strict=True))
            maps["nearness"] = np.pad(depth[0], ((0, below), (0, beside)), "edge")[..., None]
        left = self._left(budget)
        size = self._tiles.size(height, width, left)
        need = self._tiles.memory(height, width, size)
        if left is not None and need > (left if budget is not None else left / _SHARE_OF_MEMORY):
            whole = f" {self.name} looks at the whole picture at once, so it is not run in tiles."
            raise OverBudgetError(
                f"A picture of {width} x {height} needs about {format_bytes(need)} in {self.path.name}, more than the "
                f"{format_bytes(left)} that may be used.{'' if self.tileable else whole} Make the picture smaller, or "
                "allow more memory."
            )
        out = np.empty_like(padded)
        rows_columns = (slice(0, padded.shape[0]), slice(0, padded.shape[1]))
        is_cut = self.tileable and size < max(height, width)
        tiles = list(cut(rows_columns, max(size, 1), multiple)) if is_cut else None
        for core in tiles or [rows_columns]:
            tile = tile_around(core, padded.shape[:2], self._tiles.overlap if tiles else 0)
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

    def _left(self, budget: int | None) -> int | None:
        if budget is not None:
            return max(0, budget - self._fixed_memory)
        free = available_memory()
        return None if free is None else int(free * _SHARE_OF_MEMORY)


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
