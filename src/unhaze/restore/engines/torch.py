"""A network of the catalogue on pictures of any size, within the memory that there is."""

from __future__ import annotations

from collections import deque
from dataclasses import fields
from functools import lru_cache
from threading import Lock
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor

from unhaze.depth.base import announce_license
from unhaze.errors import OverBudgetError, UsageError
from unhaze.models.checkpoints import load_network, read_facts
from unhaze.models.guided import GuidedDehazer, is_guided, load_model
from unhaze.models.layers.depth_view import DepthView
from unhaze.models.layers.device import choose_device
from unhaze.models.layers.padding import pad_to_multiple
from unhaze.restore.engines.activations import peak_activations, skeleton
from unhaze.restore.engines.base import FOR_FUSIONS, NetworkOptions, NetworkOutput
from unhaze.restore.machine import available_memory, format_bytes
from unhaze.restore.tiling import TileSizes, cut, tile_around
from unhaze.types import DepthMap

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from unhaze.models.base import Model

    FloatArray = NDArray[np.float32]

__all__ = ["TorchEngine", "open_engine"]

# measured on nine networks at 256x256 and 768x512: with what convolutions and transforms take aside, a pass takes at
# most this many bytes for each byte of tensors, and 64 MB; torch itself takes 300 MB
_ASIDE = 1.8
_LIBRARY = 364 << 20
_ESTIMATOR = (
    600 << 20
)  # a depth estimator sees a picture at a size of its own, and takes at most this beside its weights
_SHARE_OF_MEMORY = 0.7
_PROBE = 256  # side of the part of a picture on which bfloat16 is tried out [px]
_TOLERANCE = 0.5 / 255  # root mean square error that bfloat16 may cause: below what 8 bits can show


def open_engine(model: str | None, options: NetworkOptions) -> TorchEngine:
    """Read weights and make the network ready to run.

    Args:
        model: Name in the catalogue; recognised from the weights if ``None``.
        options: Weights and how to run.

    Raises:
        UnknownNameError: There is no network named ``model``.
        WeightsNotFoundError: There is no such file.
        UsageError: The weights do not fit, or this machine does not have the device.
    """
    choose_device(options.device)  # before anything that takes long
    if "guided" in read_facts(options.weights) or (model is not None and is_guided(model)):
        guided = load_model(
            options.weights,
            model,
            options.depth,
            depth_weights=options.depth_weights,
            backbone_weights=options.backbone_weights,
        )
        assert guided.spec is not None
        if guided.estimator is None:
            raise UsageError(f"{guided.spec.name} needs depth; name an estimator or a depth map with --depth.")
        if guided.estimator.name != "file":
            announce_license(guided.estimator)
        if not guided.fusions.compares:
            what = "is for fusions that compare depth before and after (selfpromer)"
            _refuse(options, ("prompts",), f"{what}, which {guided.spec.fusion} does not; leave it out.")
        return TorchEngine(guided, guided.spec.name, options)
    what = "is for networks with a fusion module, such as sgdnet+hgdf"
    _refuse(options, FOR_FUSIONS, f"{what}, which {model or options.weights} is not; leave it out.")
    network, name = load_network(options.weights, model)
    return TorchEngine(network, name, options)


def _refuse(options: NetworkOptions, names: tuple[str, ...], why: str) -> None:
    for option in fields(options):
        if option.name in names and getattr(options, option.name) != option.default:
            raise UsageError(f"{option.name} {why}")


class TorchEngine:
    """Runs one network. Any thread may call it; one picture is worked on at a time, on all cores.

    Args:
        network: With its weights, in evaluation mode; training forms are folded.
        name: What to call it in messages.
        options: How to run it.

    Attributes:
        name: As given.
        device: ``"cpu"``, ``"cuda"``, ``"mps"`` or ``"xpu"``.
    """

    def __init__(self, network: Model | GuidedDehazer, name: str, options: NetworkOptions) -> None:
        self.name, self.options = name, options
        self.contract = network.contract
        self._device = choose_device(options.device)
        self.device = self._device.type
        if options.tile is not None and self.contract.tiling is None:
            raise UsageError(f"{self._global_sentence} Leave --tile out.")
        network = network.folded().eval().requires_grad_(False)
        self._skeleton: Model | GuidedDehazer = skeleton(network)
        # torch has no stub for it
        self._network = network.to(device=self._device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        if options.compile:
            self._network.compile()
        self._compiled = options.compile
        self._bf16: bool | None = None if options.precision == "bf16" else False
        self._notes: list[str] = []
        self._lock, self._meter_lock = Lock(), Lock()
        self._tiles = TileSizes(self.contract, lru_cache(maxsize=256)(self._measure), self.tileable, options.tile)
        self.weights_memory = sum(p.numel() * p.element_size() for p in network.parameters())

    @property
    def tileable(self) -> bool:
        """Whether tiles give the result of the whole picture."""
        return self.contract.tiling is not None

    def memory_needed(self, height: int, width: int, budget: int | None = None) -> int:
        """Estimate of the memory [bytes] that the network takes on top of the picture, with tiles that fit ``budget``.

        Args:
            height: Rows of the picture.
            width: Columns of the picture.
            budget: Bytes that there are; decides on the size of tiles, not on the answer for a network without.
        """
        fixed = self._fixed_memory
        if self.device != "cpu":
            return fixed
        return fixed + self._tiles.memory(height, width, self._tiles.size(height, width, self._left(budget)))

    def restore(self, rgb: FloatArray, budget: int | None = None) -> NetworkOutput:
        """Restore a picture.

        Args:
            rgb: (H, W, 3) float32 in [0, 1], sRGB-encoded; not changed.
            budget: Most bytes of memory to use beside ``rgb``; ``None`` for what the machine has free.

        Returns:
            The picture in [0, 1], and how it was made.

        Raises:
            OverBudgetError: It does not fit, and the network cannot be run in smaller tiles.
        """
        with self._lock, torch.inference_mode():
            self._choose_precision(rgb)
            image = torch.from_numpy(rgb).permute(2, 0, 1)[None]  # a view; its memory is channels-last already
            depth = self._estimate(image)
            restored, tiles = self._restore_with(image, budget, depth)
            pixels = restored[0].permute(1, 2, 0).numpy()
            used = None if depth is None else DepthMap(depth.map[0, 0].float().cpu().numpy(), depth.kind)
        precision: Literal["fp32", "bf16"] = "bf16" if self._bf16 else "fp32"
        return NetworkOutput(np.ascontiguousarray(pixels), tiles, precision, tuple(self._notes), used)

    @property
    def knows_depth(self) -> bool:
        """Whether it is told of depth, and gives it back."""
        return isinstance(self._network, GuidedDehazer)

    @property
    def _fixed_memory(self) -> int:
        """Bytes that do not depend on the picture."""
        estimator = getattr(self._network, "estimator", None)
        if estimator is None:
            return _LIBRARY + 2 * self.weights_memory
        return _LIBRARY + 2 * self.weights_memory + _ESTIMATOR + sum(x.nbytes for x in estimator.parameters())

    # -- sizes and memory ----------------------------------------------------------------------------------------------

    def _measure(self, height: int, width: int) -> int:
        with self._meter_lock:
            return int(peak_activations(self._skeleton, height, width) * _ASIDE)

    def _left(self, budget: int | None) -> int | None:
        """Bytes for activations: of the budget, or of what is free."""
        if self.device == "mps":
            return int((torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory()) * _SHARE_OF_MEMORY)
        if self.device != "cpu":
            return int(int(torch.get_device_module(self._device).mem_get_info(self._device)[0]) * _SHARE_OF_MEMORY)
        if budget is not None:
            return max(0, budget - self._fixed_memory)
        free = available_memory()
        return None if free is None else int(free * _SHARE_OF_MEMORY)

    def _refuse(self, height: int, width: int, need: int, limit: int | None) -> OverBudgetError:
        fits_not = f"A picture of {width} x {height} needs about {format_bytes(need)} in {self.name}" + (
            "" if limit is None else f", more than the {format_bytes(limit)} that may be used"
        )
        if self.tileable:
            return OverBudgetError(f"{fits_not}, even in the smallest tiles; allow more memory.")
        return OverBudgetError(f"{fits_not}. {self._global_sentence} Make the picture smaller, or allow more memory.")

    @property
    def _global_sentence(self) -> str:
        return f"{self.name} looks at the whole picture at once, so it cannot be run in tiles without another result."

    # -- depth ---------------------------------------------------------------------------------------------------------

    def _estimate(self, image: Tensor) -> DepthMap[Tensor] | None:
        """Depth of a whole picture (1, 3, H, W), for a network with a fusion module."""
        if not isinstance(self._network, GuidedDehazer):
            return None
        return self._network.estimate(image.to(self._device))

    def _restore_with(self, image: Tensor, budget: int | None, depth: DepthMap[Tensor] | None) -> tuple[Tensor, int]:
        """Like :meth:`_restore`; where the fusion compares, after a pass without depth."""
        if depth is None:
            return self._restore(image, budget)
        assert isinstance(self._network, GuidedDehazer)
        view = self._network.view_depth(image, depth)
        if not self._network.fusions.compares:
            return self._restore(image, budget, view)
        restored, tiles = self._restore(image, budget)
        for _ in range(self.options.prompts):
            view = self._network.compare(view, restored.to(self._device))
            restored, tiles = self._restore(image, budget, view)
        return restored, tiles

    # -- running -------------------------------------------------------------------------------------------------------

    def _restore(self, image: Tensor, budget: int | None, depth: DepthView | None = None) -> tuple[Tensor, int]:
        """Restored (1, 3, H, W) on the CPU, and how many tiles it took."""
        height, width = image.shape[-2:]
        left = self._left(budget)
        size = self._tiles.size(height, width, left)
        need = self._tiles.memory(height, width, size)
        if left is not None and need > (left if budget is not None else left / _SHARE_OF_MEMORY):
            raise self._refuse(height, width, need, left)
        if size < max(height, width):
            return self._restore_tiles(image, size, depth)
        try:
            return self._run(image, depth), 1
        except Exception as error:
            if not _is_out_of_memory(error):
                raise
            if not self.tileable:
                raise self._refuse(height, width, need, None) from error
        return self._restore_tiles(image, self._halved(max(height, width)), depth)

    def _restore_tiles(self, image: Tensor, size: int, depth: DepthView | None) -> tuple[Tensor, int]:
        """Restore tile by tile; where memory runs out, the tile and all that follow are halved."""
        height, width = image.shape[-2:]
        multiple, overlap = self.contract.multiple_of, self._tiles.overlap
        padded = pad_to_multiple(image, multiple, self.contract.minimum, self.contract.pad_mode)
        shape = (padded.shape[-2], padded.shape[-1])
        out = torch.empty_like(padded, memory_format=torch.channels_last)
        todo = deque(cut((slice(0, shape[0]), slice(0, shape[1])), size, multiple))
        done = 0
        while todo:
            tile = tile_around(todo[0], shape, overlap)
            rows, columns = tile.context
            part = depth and depth.crop(
                rows.start / height, columns.start / width, rows.stop / height, columns.stop / width
            )
            try:
                restored = self._run(padded[..., rows, columns], part)
            except Exception as error:
                if not _is_out_of_memory(error):
                    raise
                if size <= self._tiles.smallest:
                    raise self._refuse(height, width, self._tiles.memory(*shape, size), None) from error
                size = self._halved(size)
                todo = deque(piece for core in todo for piece in cut(core, size, multiple))
                continue
            out[..., tile.core[0], tile.core[1]] = restored[..., tile.inner[0], tile.inner[1]]
            todo.popleft()
            done += 1
        return out[..., :height, :width], done

    def _halved(self, size: int) -> int:
        if self.device != "cpu":
            torch.get_device_module(self._device).empty_cache()
        return self._tiles.halved(size)

    def _run(self, image: Tensor, depth: DepthView | None = None) -> Tensor:
        """One forward pass, without a fusion module where there is no depth; (1, 3, H, W) in [0, 1] on the CPU."""
        image = image.to(self._device).contiguous(memory_format=torch.channels_last)
        with torch.autocast(self.device, torch.bfloat16, enabled=bool(self._bf16)):
            try:
                restored = self._forward(image, depth)
            except Exception as error:
                if not self._compiled or _is_out_of_memory(error):
                    raise
                self._compiled = False
                self._network._compiled_call_impl = None
                what = str(error).strip().partition("\n")[0] or type(error).__name__
                self._notes.append(f"torch.compile failed and was left out ({what}).")
                restored = self._forward(image, depth)
        finished: Tensor = restored.float().clamp_(0, 1).cpu()
        return finished

    def _forward(self, image: Tensor, depth: DepthView | None) -> Tensor:
        if not isinstance(self._network, GuidedDehazer):
            return self._network.restore(image).image
        return (self._network.backbone.restore(image) if depth is None else self._network.restore(image, depth)).image

    def _choose_precision(self, rgb: FloatArray) -> None:
        """Try bfloat16 on the middle of the first picture; keep to float32 where it is not up to it."""
        if self._bf16 is not None:
            return
        self._bf16 = False
        if not _has_bf16(self._device):
            self._notes.append("This processor has no bfloat16 arithmetic; float32 was used.")
            return
        top, left = (max(0, (side - _PROBE) // 2) for side in rgb.shape[:2])
        probe = torch.from_numpy(rgb[top : top + _PROBE, left : left + _PROBE]).permute(2, 0, 1)[None]
        exact, _ = self._restore_with(probe, None, self._estimate(probe))
        self._bf16 = True
        coarse, _ = self._restore_with(probe, None, self._estimate(probe))
        error = (coarse - exact).square().mean().sqrt().item()
        if not error <= _TOLERANCE:
            self._bf16 = False
            self._notes.append(f"bfloat16 is too coarse for {self.name} (error {error:.2g}); float32 was used.")


def _has_bf16(device: torch.device) -> bool:
    if device.type in ("cuda", "xpu"):
        return bool(torch.get_device_module(device).is_bf16_supported())
    if device.type != "cpu":
        return False
    capabilities: Any = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16") or capabilities.get("bf16"))


def _is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out; on the CPU torch says so in words only."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and "allocate memory" in str(error)
    )
