"""A network of the catalogue as a graph that other engines run, with what must be known of it inside the file.

The graph maps RGB in [0, 1] to RGB in [0, 1]; sides are multiples of what the network asks for, which the file names.
Padding is left to whoever runs it.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from unhaze.default.export import clear_notes, quiet_exporter
from unhaze.errors import MissingDependencyError, UsageError
from unhaze.images.atomic import atomic_output
from unhaze.models.guided import GuidedDehazer
from unhaze.models.layers.depth_view import DepthView
from unhaze.restore.engines.exports import METADATA_KEY, ExportFacts
from unhaze.restore.engines.onnx import import_openvino

if TYPE_CHECKING:
    from unhaze.models.base import Model

__all__ = ["ExportedGraph", "example_inputs", "export_program", "write_onnx", "write_openvino", "write_pt2"]

_OPSET = 18
_LARGEST_SIDE = 16384
_SMALLEST_SIDE = 32  # below, some networks take other branches of their code [px]


class ExportedGraph(nn.Module):
    """What is exported: a network on pictures in [0, 1] whose sides fit its contract.

    Args:
        network: In evaluation mode; it is folded.
        depth: ``"input"`` takes nearness beside the picture, ``"inside"`` estimates depth; empty for a network that is
            not told of depth.

    Raises:
        UsageError: The network cannot be told of depth in that way.
    """

    def __init__(self, network: Model | GuidedDehazer, depth: str = "") -> None:
        super().__init__()
        self.network = network.folded().eval().requires_grad_(False)
        self.depth = depth
        self.estimator: nn.Module | None = None
        if depth == "inside":
            assert isinstance(network, GuidedDehazer)
            if network.estimator is None or next(network.estimator.parameters(), None) is None:
                raise UsageError(
                    "This depth estimator is no network of torch, so it cannot go inside; use --depth-as input."
                )
            self.estimator = network.estimator.requires_grad_(False)  # registered, so that it is exported and converted
        if depth == "input" and isinstance(network, GuidedDehazer):
            levels = () if network.spec is None else network.spec.levels
            if network.fusions.compares or len(levels) != 1 or levels[0].channels != 1:
                raise UsageError(
                    "This network is told more than a depth map (features, or depth of its own result), so depth "
                    "cannot be an input; use --depth-as inside."
                )

    def forward(self, image: Tensor, nearness: Tensor | None = None) -> Tensor:
        """Restore (1, 3, H, W) in [0, 1], told of ``nearness`` (1, 1, H, W) in [0, 1] where depth is an input."""
        network, contract = self.network, self.network.contract
        low, high = contract.value_range
        own = image if (low, high) == (0.0, 1.0) else image * (high - low) + low
        if any(contract.mean) or set(contract.std) != {1.0}:
            own = (own - own.new_tensor(contract.mean).view(3, 1, 1)) / own.new_tensor(contract.std).view(3, 1, 1)

        def public(restored: Tensor) -> Tensor:
            return restored if (low, high) == (0.0, 1.0) else (restored - low) / (high - low)

        if not isinstance(network, GuidedDehazer):
            return public(network(own).image).clamp(0, 1)
        if nearness is not None:
            return public(network(own, DepthView(nearness, (nearness,))).image).clamp(0, 1)
        view = network.view_depth(image)
        if network.fusions.compares:
            view = network.compare(view, public(network.backbone(own).image))
        return public(network(own, view).image).clamp(0, 1)


def example_inputs(graph: ExportedGraph, height: int, width: int, seed: int = 0) -> tuple[Tensor, ...]:
    """A picture of smooth shapes and noise, and nearness where that is an input; sides are rounded up to what fits."""
    multiple, least = graph.network.contract.multiple_of, graph.network.contract.minimum
    height, width = (-(-max(side, least) // multiple) * multiple for side in (height, width))
    generator = torch.Generator().manual_seed(seed)

    def smooth(channels: int) -> Tensor:
        coarse = torch.rand(1, channels, 6, 8, generator=generator)
        return nn.functional.interpolate(coarse, (height, width), mode="bilinear", align_corners=False)

    noise = 0.1 * torch.rand(1, 3, height, width, generator=generator)
    image = (0.9 * smooth(3) + noise).clamp(0, 1)
    return (image, smooth(1)) if graph.depth == "input" else (image,)


def export_program(graph: ExportedGraph, size: tuple[int, int] | None = None) -> Any:
    """The graph as a ``torch.export.ExportedProgram``.

    Args:
        graph: What to export.
        size: Height and width that are fixed; free if ``None``.

    Raises:
        UsageError: The network cannot be exported, or not with free sizes; the message says why.
    """
    contract = graph.network.contract
    multiple = contract.multiple_of
    inputs = example_inputs(graph, *(size or (3 * max(multiple, _SMALLEST_SIDE), 4 * max(multiple, _SMALLEST_SIDE))))
    shapes: Any = None
    if size is None:
        least = max(1, -(-max(contract.minimum, _SMALLEST_SIDE) // multiple))
        rows, columns = (
            torch.export.Dim(name, min=least, max=_LARGEST_SIDE // multiple) for name in ("rows", "columns")
        )
        # a side is named a multiple of something only where it has to be
        free = {2: multiple * rows if multiple > 1 else rows, 3: multiple * columns if multiple > 1 else columns}
        shapes = tuple(free for _ in inputs)
    try:
        with quiet_exporter(), torch.no_grad():
            return torch.export.export(graph, inputs, dynamic_shapes=shapes, strict=False)
    except Exception as error:  # torch raises what it likes here
        reason = str(error).strip().partition("\n")[0][:300] or type(error).__name__
        advice = " Fix the size of the pictures with --size WIDTHxHEIGHT." if size is None else ""
        raise UsageError(f"torch.export cannot export this network ({reason}).{advice}") from error


def write_pt2(program: Any, path: Path, facts: ExportFacts, *, overwrite: bool) -> Path:
    """Write a program with its facts, which ``torch.export.load(path, extra_files={"unhaze.json": ""})`` gives back."""
    with atomic_output(path, overwrite=overwrite) as temporary:
        named = temporary.with_name(f"{temporary.name}.pt2")  # torch insists on the ending
        try:
            torch.export.save(program, named, extra_files={f"{METADATA_KEY}.json": facts.to_json()})
            named.replace(temporary)
        finally:
            named.unlink(missing_ok=True)
    return path


def write_onnx(program: Any, path: Path, facts: ExportFacts, *, overwrite: bool) -> Path:
    """Write a program as one ONNX file, with its facts in ``metadata_props``.

    Raises:
        UsageError: An operation of the network does not exist in ONNX.
        MissingDependencyError: onnx or onnxscript is not installed.
    """
    try:
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError("onnxscript", "export", "export a network as ONNX") from error
    names = ["image", "nearness"] if facts.depth == "input" else ["image"]
    try:
        with quiet_exporter():
            made = torch.onnx.export(
                program, input_names=names, output_names=["restored"], opset_version=_OPSET, dynamo=True
            )
    except Exception as error:  # torch.onnx has a class of its own for most, and lets others through
        cause = error.__cause__ or error  # the outer one only says how far it came
        reason = str(cause).strip().partition("\n")[0][:300] or type(cause).__name__
        raise UsageError(f"The network cannot be written as ONNX ({reason}); try --to pt2.") from error
    assert made is not None
    model = made.model_proto
    clear_notes(model)
    set_metadata(model, facts)
    with atomic_output(path, overwrite=overwrite) as temporary:
        temporary.write_bytes(model.SerializeToString())
    return path


def set_metadata(model: Any, facts: ExportFacts) -> None:
    """Put the facts into an ONNX model: as a whole for unhaze, and the most important ones for readers."""
    del model.metadata_props[:]
    texts = {
        METADATA_KEY: facts.to_json(),
        "name": facts.name,
        "license": facts.license,
        **{f"sha256 of {role}": digest for role, digest in facts.hashes.items()},
    }
    for key, text in texts.items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, text
    model.producer_name = "unhaze"


def write_openvino(onnx_path: Path, path: Path, facts: ExportFacts, *, overwrite: bool) -> Path:
    """Convert an ONNX file to OpenVINO: ``path`` (.xml) and its weights beside it (.bin), facts in ``rt_info``.

    Raises:
        MissingDependencyError: openvino is not installed.
    """
    try:
        openvino = import_openvino()
    except ImportError as error:
        raise MissingDependencyError("openvino", "openvino", "write its format") from error
    model = openvino.convert_model(str(onnx_path))
    model.set_rt_info(facts.to_json().encode().hex(), [METADATA_KEY])
    for key, text in (("name", facts.name), ("license", facts.license)):
        model.set_rt_info(text, [f"{METADATA_KEY}_{key}"])
    # the weights first: whoever finds the .xml finds them
    with (
        atomic_output(path, overwrite=overwrite) as xml,
        atomic_output(path.with_suffix(".bin"), overwrite=overwrite) as weights,
    ):
        named = xml.with_name(f"{xml.name}.xml")
        try:
            openvino.save_model(model, str(named), compress_to_fp16=False)
            named.with_suffix(".bin").replace(weights)
            named.replace(xml)
        finally:
            named.unlink(missing_ok=True)
            named.with_suffix(".bin").unlink(missing_ok=True)
    return path


def with_precision(facts: ExportFacts, precision: str) -> ExportFacts:
    """The facts of the same network in other arithmetic."""
    return replace(facts, precision=precision)  # type: ignore[arg-type]
