"""From a model of the catalogue to a file for other engines, and the report on it."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from unhaze import __version__
from unhaze.errors import (
    MissingDependencyError,
    OutputError,
    OutputExistsError,
    UnhazeError,
    UnknownNameError,
    UsageError,
    WeightsNotFoundError,
)
from unhaze.exporting.cost import EngineCost, measure_cost
from unhaze.images.atomic import atomic_output, make_folder
from unhaze.models.catalogue import create_haze_model, finds_haze, load_model, model_info, resolve_model
from unhaze.restore.engines.exports import EXPORT_SUFFIXES, ExportFacts
from unhaze.restore.engines.onnx import installed_engines
from unhaze.restore.machine import usable_cores

if TYPE_CHECKING:
    from unhaze.exporting.graph import ExportedGraph
    from unhaze.exporting.parity import Parity
    from unhaze.exporting.quantization import Loss

__all__ = ["FORMATS", "ExportReport", "ExportRequest", "export_model"]

FORMATS = {format: suffix for suffix, format in EXPORT_SUFFIXES.items()}
"""Format to the ending of its file."""

_MEASURED = 256  # side of the pictures that are timed [px]
_ASIDE = 1.8  # what a pass takes for each byte of tensors, as for torch


@dataclass(frozen=True, slots=True)
class ExportRequest:
    """What to export, and how.

    Attributes:
        model: Name in the catalogue; recognised from ``weights`` if ``None``.
        weights: File with the trained weights.
        format: One of :data:`FORMATS`.
        depth: Name of a depth estimator for a network with a fusion module; ``None`` for that of its weights.
        depth_as: ``"input"``, ``"inside"``, or ``None`` for an input where the network is told a map alone.
        depth_weights, backbone_weights: As in :class:`~unhaze.restore.options.Options`.
        size: Height and width where these shall be fixed.
        calibration: Folder of pictures; int8 where it is given.
        calibration_pictures: How many of them to take.
        repeats: Passes to time; 0 leaves the table out.
        threads: Processor cores for the timing; ``None`` for all.
        overwrite: Whether files that exist may be replaced.
    """

    model: str | None
    weights: Path | None = None
    format: str = "onnx"
    depth: str | None = None
    depth_as: str | None = None
    depth_weights: Path | None = None
    backbone_weights: Path | None = None
    size: tuple[int, int] | None = None
    calibration: Path | None = None
    calibration_pictures: int = 32
    repeats: int = 3
    threads: int | None = None
    overwrite: bool = False


@dataclass(slots=True)
class ExportReport:
    """What was written and how good it is.

    Attributes:
        files: What was written, by role.
        facts: What the file says of itself.
        parity: Against float64, at five sizes; empty for the default, whose graph is copied as it ships.
        cost: Time and memory by engine.
        loss: What int8 costs.
        failures: Engines that did not run it, with the reason.
    """

    files: dict[str, Path]
    facts: ExportFacts
    parity: list[Parity] = field(default_factory=list)
    cost: list[EngineCost] = field(default_factory=list)
    loss: Loss | None = None
    failures: dict[str, str] = field(default_factory=dict)

    @property
    def agrees(self) -> bool:
        """Whether every engine agrees with float64 at every size."""
        return not self.failures and all(row.agrees for row in self.parity)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "files": {role: path.name for role, path in self.files.items()},
            "facts": asdict(self.facts),
            "agrees": self.agrees,
            "parity": [asdict(row) for row in self.parity],
            "failures": self.failures,
            "cost": [asdict(row) for row in self.cost],
            "int8_loss_db": None if self.loss is None else asdict(self.loss),
        }


def export_model(request: ExportRequest, folder: str | Path) -> ExportReport:
    """Write a model into a folder, with a report ``NAME.json`` beside it; all of that, or nothing.

    Raises:
        UsageError: The model cannot be exported in that way; the message says why.
        WeightsNotFoundError: A network was named without weights.
        MissingDependencyError: Something to install is missing.
        OutputError: A file exists, or cannot be written.
    """
    if request.format not in FORMATS:
        raise UnknownNameError("format", request.format, FORMATS)
    if request.depth_as not in (None, "input", "inside"):
        raise UnknownNameError("way to give depth", request.depth_as, ("input", "inside"))
    if request.calibration is not None and request.format == "pt2":
        raise UsageError("int8 is for ONNX and OpenVINO; leave --int8 out, or choose another format.")
    name = None if request.model is None else resolve_model(request.model)
    if name is not None and finds_haze(name):
        return _export_haze_model(name, request, Path(folder))
    if request.weights is None:
        raise WeightsNotFoundError(
            f"The network {name} needs trained weights to be exported; name them with --weights."
        )
    return _export_network(name, request.weights, request, Path(folder))


def _export_network(name: str | None, weights: Path, request: ExportRequest, folder: Path) -> ExportReport:
    graph, facts = _load(name, weights, request)
    from unhaze.exporting.graph import export_program, write_onnx, write_openvino, write_pt2
    from unhaze.exporting.parity import SIZES, measure_parity, runners

    if request.calibration is not None:
        if facts.depth == "input":
            raise UsageError("A network that takes depth as an input is not quantised; use --depth-as inside.")
        from unhaze.exporting.quantization import calibration_pictures

        pictures = calibration_pictures(request.calibration, facts, request.calibration_pictures)
    else:
        pictures = []
    with _all_or_nothing(folder, facts.name, request) as path:
        program = export_program(graph, request.size)
        files = {request.format: path}
        onnx_path = path.with_suffix(".onnx")
        if request.format == "pt2":
            write_pt2(program, path, facts, overwrite=False)
        else:
            write_onnx(program, onnx_path, facts, overwrite=False)
            files["onnx"] = onnx_path
            if request.format == "openvino":
                write_openvino(onnx_path, path, facts, overwrite=False)
        report = ExportReport(files, facts)
        sizes = SIZES if request.size is None else (request.size,) * len(SIZES)
        for each in dict.fromkeys(files.values()):
            found = runners(graph, each)
            of_file, failures = measure_parity(graph, found, sizes)
            engines = set(found) - {"torch", "pt2"}
            if engines and engines <= set(failures):
                reasons = "; ".join(f"{engine} {why}" for engine, why in failures.items())
                advice = (
                    "use it with torch" if request.size else "fix the size of the pictures with --size WIDTHxHEIGHT"
                )
                raise UsageError(
                    f"No engine that is installed here runs {facts.name} as exported ({reasons}); {advice}."
                )
            report.parity += [row for row in of_file if row not in report.parity]
            report.failures |= failures
        if pictures:
            _add_int8(report, pictures, request)
        if request.repeats:
            report.cost = _costs(graph, program, report, request)
        _write_report(report, path)
    report.files = {role: folder / each.name for role, each in report.files.items()}
    return report


def _load(name: str | None, weights: Path, request: ExportRequest) -> tuple[ExportedGraph, ExportFacts]:
    """The graph and its facts."""
    given = {"depth_weights": request.depth_weights, "backbone_weights": request.backbone_weights}
    network = cast("Any", load_model(weights, name, request.depth, **{k: v for k, v in given.items() if v is not None}))
    from unhaze.exporting.graph import ExportedGraph
    from unhaze.models.guided import GuidedDehazer
    from unhaze.restore.engines.activations import peak_activations, skeleton

    is_guided = isinstance(network, GuidedDehazer)
    depth, estimator = "", ""
    if is_guided:
        assert network.spec is not None
        name, estimator = network.spec.name, request.depth or network.spec.depth
        told_map = len(network.spec.levels) == 1 and network.spec.levels[0].channels == 1
        depth = request.depth_as or ("input" if told_map and not network.fusions.compares else "inside")
    elif request.depth_as is not None:
        raise UsageError(f"{weights} holds a network that is not told of depth; leave --depth-as out.")
    name = name or network.name
    files = {"weights": weights, "backbone": request.backbone_weights, "depth": request.depth_weights}
    hashes = {role: _sha256(path) for role, path in files.items() if path is not None and path.is_file()}
    graph = ExportedGraph(network, depth)
    facts = ExportFacts(
        name=name,
        contract=replace(network.contract, value_range=(0.0, 1.0), mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)),
        depth=cast("Any", depth),
        estimator=estimator,
        license=model_info(name).license,
        hashes=hashes,
        memory_per_pixel=int(peak_activations(skeleton(graph.network), 256, 256) * _ASIDE) >> 16,
        size=request.size,
        version=__version__,
    )
    if request.size is not None:
        multiple, least = facts.contract.multiple_of, facts.contract.minimum
        if any(side % multiple or side < least for side in request.size):
            raise UsageError(f"Both sides of --size must be multiples of {multiple} and at least {least} for {name}.")
    return graph, facts


def _add_int8(report: ExportReport, pictures: Sequence[Any], request: ExportRequest) -> None:
    from unhaze.exporting.graph import write_openvino
    from unhaze.exporting.quantization import measure_loss, quantize

    held_out = pictures[3::4]
    used = [picture for i, picture in enumerate(pictures) if i % 4 != 3]
    float_path = report.files["onnx"]
    int8_path = float_path.with_suffix(".int8.onnx")
    quantize(float_path, int8_path, report.facts, used, overwrite=False)
    report.files["onnx, int8"] = int8_path
    if request.format == "openvino":
        facts = replace(report.facts, precision="int8")
        xml = int8_path.with_suffix(".xml")
        report.files["openvino, int8"] = write_openvino(int8_path, xml, facts, overwrite=False)
    report.loss = measure_loss(float_path, int8_path, held_out or used, held_out=bool(held_out))


def _costs(graph: ExportedGraph, program: Any, report: ExportReport, request: ExportRequest) -> list[EngineCost]:
    """Time and memory of torch and of every engine that runs what was written."""
    from unhaze.exporting.graph import example_inputs, write_pt2

    side = request.size or (_MEASURED, _MEASURED)
    height, width = example_inputs(graph, *side)[0].shape[-2:]
    with tempfile.TemporaryDirectory() as scratch:
        of_torch = Path(scratch) / "network.pt2"
        write_pt2(program, of_torch, report.facts, overwrite=False)
        todo = [(of_torch, "torch", "fp32")]
        for role, path in report.files.items():
            precision = "int8" if "int8" in role else "fp32"
            engines: Sequence[str] = {".onnx": installed_engines(), ".xml": ["openvino"]}.get(path.suffix, [])
            if path.suffix == ".xml" or request.format != "openvino":
                todo += [(path, engine, precision) for engine in engines]
            else:
                todo += [(path, "onnxruntime", precision)]
        return [
            measure_cost(
                path,
                engine,
                precision,
                (height, width),
                repeats=request.repeats,
                threads=request.threads or usable_cores(),
                nearness=report.facts.depth == "input",
            )
            for path, engine, precision in todo
        ]


def _export_haze_model(name: str, request: ExportRequest, folder: Path) -> ExportReport:
    """The default: its network ships as ONNX and is copied with what must be known of it."""
    info = model_info(name)
    if not info.has_network:
        raise UsageError(
            f"{name} is a rule and no network, so there is nothing to export; it runs everywhere as it is."
        )
    for given in ("weights", "depth", "depth_as", "size", "calibration"):
        if getattr(request, given) is not None:
            raise UsageError(f"{given} is for networks that restore pictures; {name} is exported as it ships.")
    if request.format == "pt2":
        raise UsageError(f"{name} ships as ONNX, without torch; export it to onnx or openvino.")
    try:
        import onnx
    except ImportError as error:
        raise MissingDependencyError("onnx", "export", "export a model") from error
    from unhaze.exporting.graph import set_metadata, write_openvino

    source = cast("Any", create_haze_model(name)).weights
    facts = ExportFacts(
        name, kind="haze", license=info.license, hashes={"weights": _sha256(source)}, version=__version__
    )
    with _all_or_nothing(folder, name, request) as path:
        files = {request.format: path}
        model = onnx.load(str(source))
        set_metadata(model, facts)
        onnx_path = path.with_suffix(".onnx")
        onnx_path.write_bytes(model.SerializeToString())
        files["onnx"] = onnx_path
        if request.format == "openvino":
            write_openvino(onnx_path, path, facts, overwrite=False)
        report = ExportReport(files, facts)
        _write_report(report, path)
    report.files = {role: folder / each.name for role, each in report.files.items()}
    return report


@contextmanager
def _all_or_nothing(folder: Path, name: str, request: ExportRequest) -> Iterator[Path]:
    """Give the name that the file has while it is made, aside; what lies there at the end is moved into the folder.

    Raises:
        OutputExistsError: Something that will be written exists, and may not be replaced.
    """
    suffix = FORMATS[request.format]
    path = folder / f"{name}{suffix}"
    wanted = {path, path.with_suffix(".json"), *([] if request.format == "pt2" else [path.with_suffix(".onnx")])}
    if request.format == "openvino":
        wanted.add(path.with_suffix(".bin"))
    if request.calibration is not None:
        wanted |= {each.with_suffix(f".int8{each.suffix}") for each in wanted if each.suffix != ".json"}
    for each in sorted(wanted):
        if each.exists() and not request.overwrite:
            raise OutputExistsError(f"{each} exists; use --overwrite to replace it, or name another folder.")
    made = make_folder(folder)
    new: list[Path] = []
    try:
        with tempfile.TemporaryDirectory(prefix=".unhaze-export-", dir=folder) as aside:
            yield Path(aside) / path.name
            # weights before the .xml that names them, and the report last: whoever finds it finds all
            order = {".xml": 1, ".json": 2}
            for staged in sorted(Path(aside).iterdir(), key=lambda each: (order.get(each.suffix, 0), each.name)):
                target = folder / staged.name
                is_new = not target.exists()
                with atomic_output(target, overwrite=request.overwrite) as temporary:
                    staged.replace(temporary)
                new += [target] if is_new else []
    except BaseException as error:
        for each in new:
            each.unlink(missing_ok=True)
        for each in made:
            with suppress(OSError):  # others may have put something there
                each.rmdir()
        if isinstance(error, OSError) and not isinstance(error, UnhazeError):
            reason = error.strerror or error
            raise OutputError(
                f"{path} cannot be written ({reason}); free some space, or name another folder."
            ) from error
        raise


def _write_report(report: ExportReport, path: Path) -> None:
    target = path.with_suffix(".json")
    target.write_text(json.dumps(report.as_dict(), indent=2) + "\n", encoding="utf-8")
    report.files["report"] = target


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
