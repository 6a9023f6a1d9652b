"""The network of the default as ONNX."""

from __future__ import annotations

import contextlib
import copy
import io
import logging
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from unhaze.default.constants import LARGEST_GAIN, MULTIPLE
from unhaze.default.network import FieldNetwork
from unhaze.errors import MissingDependencyError

__all__ = [
    "FIELD_INPUT",
    "FIELD_OUTPUTS",
    "FieldExport",
    "clear_notes",
    "export_field",
    "quiet_exporter",
    "round_weights",
    "write_onnx",
]

FIELD_INPUT = "view"
FIELD_OUTPUTS = ("transmission", "airlight", "gain", "log_depth", "confidence")
_OPSET = 18
_LARGEST_SIDE = 4096
NetworkT = TypeVar("NetworkT", bound=nn.Module)
_LEAST_HALVED = 64  # weights with fewer values stay float32: nothing to gain


class FieldExport(nn.Module):
    """The field network with outputs as a dehazer wants them: transmission and confidence in (0, 1]."""

    def __init__(self, network: FieldNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, view: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Map (B, 3, H, W) in [0, 1] to transmission, airlight, gain, log depth and confidence."""
        output = self.network(view)
        transmission, confidence = torch.exp(-output.optical_depth), torch.sigmoid(output.confidence)
        return transmission, output.airlight, output.gain.clamp(0.0, LARGEST_GAIN), output.log_depth, confidence


def round_weights(network: NetworkT) -> NetworkT:
    """A copy whose larger weights have float16 values, still stored as float32: what ``write_onnx`` writes."""
    rounded = copy.deepcopy(network)
    with torch.no_grad():
        for parameter in rounded.parameters():
            if parameter.numel() >= _LEAST_HALVED:
                parameter.copy_(parameter.half().float())
    return rounded


def export_field(network: FieldNetwork, path: str | Path) -> Path:
    """Write ``network`` as one ONNX file; see :func:`write_onnx`."""
    return write_onnx(FieldExport(round_weights(network)), path, FIELD_OUTPUTS)


def write_onnx(network: nn.Module, path: str | Path, outputs: Sequence[str]) -> Path:
    """Write a network of one view as one ONNX file with free height and width, multiples of ``MULTIPLE``.

    Weights are stored as float16 and widened when the file is loaded; the network runs in float32.

    Args:
        network: Takes (1, 3, H, W) as ``view``; the exporter gives that name to something else otherwise. Its weights
            are rounded already.
        path: The file to write.
        outputs: Names of what it returns.

    Returns:
        ``path``.

    Raises:
        MissingDependencyError: onnx or onnxscript is not installed.
    """
    try:
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError("onnxscript", "train", "export a network") from error
    path = Path(path)
    rows = torch.export.Dim("rows", min=1, max=_LARGEST_SIDE // MULTIPLE)
    columns = torch.export.Dim("columns", min=1, max=_LARGEST_SIDE // MULTIPLE)
    example = torch.zeros(1, 3, 6 * MULTIPLE, 8 * MULTIPLE)
    with quiet_exporter():
        program = torch.onnx.export(
            network.eval(),
            (example,),
            input_names=[FIELD_INPUT],
            output_names=list(outputs),
            opset_version=_OPSET,
            dynamic_shapes=({2: MULTIPLE * rows, 3: MULTIPLE * columns},),
            dynamo=True,
        )
    assert program is not None
    path.parent.mkdir(parents=True, exist_ok=True)
    model = program.model_proto
    clear_notes(model)
    _store_halved(model.graph)
    path.write_bytes(model.SerializeToString())
    return path


def clear_notes(model: Any) -> None:
    """Remove the notes of the exporter from an ONNX model: they name files of the machine that it ran on."""
    for each in (
        model.graph,
        *model.graph.node,
        *model.graph.input,
        *model.graph.output,
        *model.graph.value_info,
        *model.graph.initializer,
    ):
        each.ClearField("metadata_props")
        each.ClearField("doc_string")


def _store_halved(graph: Any) -> None:
    """Store large float32 weights as float16, and a cast to float32 that the runtime does once, on loading."""
    from onnx import TensorProto, helper, numpy_helper

    casts = []
    for weight in graph.initializer:
        if weight.data_type != TensorProto.FLOAT:
            continue
        values = numpy_helper.to_array(weight)
        if values.size >= _LEAST_HALVED:
            name = weight.name
            weight.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}_half"))
            casts.append(helper.make_node("Cast", [f"{name}_half"], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)


@contextlib.contextmanager
def quiet_exporter() -> Iterator[None]:
    """Keep to itself what torch says while it exports: versions of operators on stdout, in warnings and in logs."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")  # parity is tested instead
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
