"""Depth as the default dehazer's own network sees it: small, fast, and trained on hazy pictures.

Own design, see ``docs/models/field-m.md``; the network ships with unhaze and runs in onnxruntime.
Deviations: none. No gradients pass through it.

It gives the logarithm of the depth up to a constant. Its exponential is depth up to a positive scale, so far is large.
"""

from __future__ import annotations

import os
from functools import cache
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from unhaze.default.constants import MULTIPLE, NETWORK_SIZE
from unhaze.depth.base import DepthEstimator, at_own_size, at_size_of
from unhaze.errors import MissingError, UsageError, WeightsNotFoundError
from unhaze.restore.engines.onnx import import_onnxruntime
from unhaze.types import DepthKind, DepthMap

__all__ = ["CompactDepth", "compact"]

INPUT = "view"


class CompactDepth(DepthEstimator):
    """Depth up to a positive scale, far is large; no features. The network works at half of 256 pixels.

    Networks that give the logarithm of another kind of map derive from this class.

    Args:
        weights: ONNX file of such a network; the one that ships with unhaze if ``None``.

    Raises:
        WeightsNotFoundError: There is no such file, or none ships and none is given.
        UsageError: The file is no such network.
        MissingError: onnxruntime is not installed.

    Attributes:
        catalogue_name: Name that its identity begins with.
        output: Name of the output; its exponential is the map.
        shipped: Package and file of the network that ships; ``None`` where none does.
    """

    catalogue_name = "compact"
    output = "log_depth"
    shipped: tuple[str, str] | None = ("unhaze.default", "field-m.onnx")
    kind: DepthKind = "relative"
    license = "Apache-2.0"
    commercial = True

    def __init__(self, weights: str | Path | None = None) -> None:
        super().__init__()
        if weights:
            self.path = Path(weights)
        elif self.shipped:
            self.path = Path(str(files(self.shipped[0]) / self.shipped[1]))
        else:
            raise WeightsNotFoundError(
                f"{self.catalogue_name} does not ship with unhaze; train it with unhaze train {self.catalogue_name}, "
                "and give the file that this writes as weights."
            )
        if not self.path.is_file():
            raise WeightsNotFoundError(f"There is no network {self.path}; check the path, or install unhaze again.")
        _session(self.path, self.output, os.getpid())
        self.identity = (
            f"{self.catalogue_name}/{NETWORK_SIZE}-mirrored/{sha256(self.path.read_bytes()).hexdigest()[:12]}"
        )

    @torch.no_grad()
    def forward(self, image: Tensor) -> DepthMap[Tensor]:
        """See :meth:`DepthEstimator.forward`; (B, 3, H, W) to a map (B, 1, H, W)."""
        view = at_own_size(image.float(), NETWORK_SIZE, MULTIPLE).clamp(0, 1).cpu().contiguous().numpy()
        session = _session(self.path, self.output, os.getpid())

        def predict(views: Any) -> Tensor:
            # the network was exported for one picture at a time
            logarithms = [session.run([self.output], {INPUT: views[i : i + 1]})[0] for i in range(len(views))]
            return torch.cat([torch.from_numpy(each) for each in logarithms])

        # as in the dehazer, the mean over a picture and its mirror image
        values = ((predict(view) + predict(view[..., ::-1].copy()).flip(-1)) / 2).exp()
        return DepthMap(at_size_of(image, values.to(image.device)), self.kind)


@cache
def _session(path: Path, output: str, process: int) -> Any:
    """The runtime, shared between copies of an estimator: it can be neither copied nor pickled, and is thread-safe.

    Args:
        path: The network.
        output: What it has to give.
        process: The process that asks: its threads do not live on in a fork.
    """
    try:
        onnxruntime = import_onnxruntime()
    except ImportError as error:
        raise MissingError("onnxruntime is needed for this depth estimator; pip install onnxruntime") from error
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # idle workers would take cores from torch
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its exceptions share no base class
        raise UsageError(
            f"{path} is no ONNX network, or a damaged one; give a network that unhaze train wrote."
        ) from error
    if INPUT not in {each.name for each in session.get_inputs()} or output not in {
        each.name for each in session.get_outputs()
    }:
        raise UsageError(f"{path} is another kind of network; give one with the output {output}.")
    return session


def compact(weights: str | Path | None = None) -> CompactDepth:
    """The depth of the default dehazer; arguments and errors as for :class:`CompactDepth`."""
    return CompactDepth(weights)
