"""What an engine for networks is told, and what it gives. Nothing here knows torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from unhaze.catalog import check_device
from unhaze.errors import UnknownNameError, UsageError
from unhaze.types import DepthMap

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    FloatArray = NDArray[np.float32]

__all__ = ["FOR_FUSIONS", "PRECISIONS", "NetworkEngine", "NetworkOptions", "NetworkOutput"]

PRECISIONS = ("fp32", "bf16")
FOR_FUSIONS = ("depth", "depth_weights", "backbone_weights", "prompts")
"""Options that mean nothing to a network without a fusion module."""


@dataclass(frozen=True, slots=True)
class NetworkOptions:
    """How a network is run.

    Attributes:
        weights: File with its trained weights, or an exported network.
        device: ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ``"mps"`` or ``"xpu"``; auto takes CUDA where it
            is there.
        precision: ``"fp32"``, or ``"bf16"`` where the device has it and the picture stays the same to within what 8
            bits can show.
        tile: Side of the tiles that large pictures are cut into [px]; ``None`` cuts only where memory demands it.
        compile: Whether to run the network through ``torch.compile``, which pays after many pictures of one size.
        depth: For a network with a fusion module: name of a depth estimator, or a file with the depth of the one
            picture to come; ``None`` for the estimator that the weights name.
        depth_weights: File or folder with the weights of the estimator.
        backbone_weights: Weights of the network, where ``weights`` holds a fusion module alone.
        prompts: For fusion modules that compare depth before and after: how often the result prompts the next one.
        engine: What runs an exported network, see :data:`~unhaze.restore.engines.onnx.ENGINES`.
        threads: Processor cores for an exported network; default all that this process may use.

    Raises:
        UsageError: A value is not one of those that exist.
    """

    weights: str | Path
    device: str = "auto"
    precision: str = "fp32"
    tile: int | None = None
    compile: bool = False
    depth: str | None = None
    depth_weights: str | Path | None = None
    backbone_weights: str | Path | None = None
    prompts: int = 1
    engine: str = "auto"
    threads: int | None = None

    def __post_init__(self) -> None:
        check_device(self.device)
        if self.precision not in PRECISIONS:
            raise UnknownNameError("precision", self.precision, PRECISIONS)
        if self.tile is not None and self.tile < 16:
            raise UsageError(f"Tiles of {self.tile} pixels are too small; give at least 16, or leave it to unhaze.")
        if self.prompts < 1:
            raise UsageError(f"The result cannot be prompted {self.prompts} times; give at least 1.")


@dataclass(frozen=True, slots=True)
class NetworkOutput:
    """What a network made of a picture.

    Attributes:
        rgb: (H, W, 3) float32 in [0, 1].
        tiles: How many tiles it was cut into; 1 for the whole.
        precision: That was used.
        notes: Sentences for the user.
        depth: That the network was told, (H, W); ``None`` for a network without a fusion module.
    """

    rgb: FloatArray
    tiles: int
    precision: Literal["fp32", "bf16", "int8"]
    notes: tuple[str, ...] = ()
    depth: DepthMap[FloatArray] | None = None


class NetworkEngine(Protocol):
    """Runs one network on pictures; any thread may call it."""

    name: str
    device: str

    @property
    def tileable(self) -> bool:
        """Whether tiles give the result of the whole picture."""
        ...

    @property
    def knows_depth(self) -> bool:
        """Whether it is told of depth, and gives it back."""
        ...

    def memory_needed(self, height: int, width: int, budget: int | None = None) -> int:
        """Estimate of the bytes it takes beside the picture, where ``budget`` bytes may be used."""
        ...

    def restore(self, rgb: FloatArray, budget: int | None = None) -> NetworkOutput:
        """Restore (H, W, 3) float32 RGB in [0, 1], sRGB-encoded, with at most ``budget`` bytes."""
        ...
