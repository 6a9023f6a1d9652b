"""What a file that ``unhaze export`` wrote says of itself. Nothing here knows torch."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, cast

from unhaze.errors import MissingDependencyError, MissingError, WeightsError, WeightsNotFoundError
from unhaze.restore.engines.onnx import import_onnxruntime, import_openvino
from unhaze.types import ImageContract

__all__ = ["EXPORT_SUFFIXES", "METADATA_KEY", "ExportFacts", "is_exported", "read_export"]

EXPORT_SUFFIXES = {".onnx": "onnx", ".xml": "openvino", ".pt2": "pt2"}
"""Ending of an exported file to the format that ``unhaze export --to`` calls it."""

METADATA_KEY = "unhaze"
"""Under this key the facts lie, as JSON, in the metadata of the file."""

_PT2_FACTS = f"extra/{METADATA_KEY}.json"  # below the one folder of such an archive
_LONGEST_FACTS = 1 << 20  # [bytes]
_LARGEST_STEP = 1024  # of what a network may ask of sides, so that padding stays small [px]
_LARGEST_SIDE = 1 << 16  # [px]


@dataclass(frozen=True, slots=True)
class ExportFacts:
    """What must be known of an exported network to run it.

    Attributes:
        name: Full name in the catalogue of models.
        kind: ``"network"`` maps ``image`` (1, 3, H, W) RGB in [0, 1] to ``restored``; ``"haze"`` is the network of the
            default, which maps a small ``view`` to the haze.
        contract: Sizes that it takes, padding, and whether it can be run in tiles. Its values are always in [0, 1].
        depth: ``"input"``: beside ``image`` it takes ``nearness`` (1, 1, H, W) in [0, 1], 1 where the picture is
            nearest; ``"inside"``: it estimates depth itself; empty for a network without a fusion module.
        estimator: Name of the depth estimator it was made with.
        license: Of the weights, as far as known.
        hashes: SHA-256 of the files it was made from, by role.
        precision: ``"fp32"`` or ``"int8"``.
        memory_per_pixel: Bytes of activations for a pixel, about.
        size: Height and width where these are fixed; ``None`` where they are free.
        version: Of unhaze.
    """

    name: str
    kind: Literal["network", "haze"] = "network"
    contract: ImageContract = field(default_factory=ImageContract)
    depth: Literal["", "input", "inside"] = ""
    estimator: str = ""
    license: str = ""
    hashes: Mapping[str, str] = field(default_factory=dict)
    precision: Literal["fp32", "int8"] = "fp32"
    memory_per_pixel: int = 0
    size: tuple[int, int] | None = None
    version: str = ""

    def to_json(self) -> str:
        """As one line."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str, path: Path) -> ExportFacts:
        """Read what :meth:`to_json` wrote.

        Raises:
            WeightsError: It is something else.
        """
        try:
            facts: dict[str, Any] = json.loads(text[:_LONGEST_FACTS])
            contract: dict[str, Any] = {
                key: tuple(each) if isinstance(each, list) else each for key, each in facts["contract"].items()
            }
            found = cls(**{**facts, "contract": ImageContract(**contract)})
            found = found if found.size is None else replace(found, size=cast("Any", tuple(found.size)))
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise WeightsError(f"{path} says of itself what this version cannot read; export it again.") from error
        if wrong := _senseless(found):
            raise WeightsError(f"{path} says of itself what cannot be ({wrong}); export it again.")
        return found


def _senseless(facts: ExportFacts) -> str:
    """The first of the facts that cannot be meant, for anybody may have written them; empty if all make sense."""

    def whole(value: Any, least: int, most: int) -> bool:
        return type(value) is int and least <= value <= most

    contract = facts.contract
    texts = (facts.name, facts.estimator, facts.license, facts.precision, facts.version)
    sense = {
        "texts": all(isinstance(each, str) and each.isprintable() for each in texts) and bool(facts.name),
        "kind": facts.kind in ("network", "haze"),
        "depth": facts.depth in ("", "input", "inside"),
        "precision": facts.precision in ("fp32", "int8"),
        "hashes": isinstance(facts.hashes, dict),
        "multiple_of": whole(contract.multiple_of, 1, _LARGEST_STEP),
        "minimum": whole(contract.minimum, 1, _LARGEST_STEP),
        "tiling": contract.tiling is None or whole(contract.tiling, 0, _LARGEST_SIDE),
        "pad_mode": contract.pad_mode in ("reflect", "replicate"),
        "memory_per_pixel": whole(facts.memory_per_pixel, 0, 1 << 32),
        "size": facts.size is None
        or (len(facts.size) == 2 and all(whole(side, 1, _LARGEST_SIDE) for side in facts.size)),
    }
    return next((name for name, makes_sense in sense.items() if not makes_sense), "")


def is_exported(name: str | Path | None) -> bool:
    """Whether the name of a model is that of an exported file.

    >>> is_exported("sgdnet.onnx"), is_exported("sgdnet"), is_exported(None)
    (True, False, False)
    """
    return name is not None and Path(name).suffix.lower() in EXPORT_SUFFIXES


def read_export(path: str | Path) -> ExportFacts:
    """What an exported file says of itself.

    Raises:
        WeightsNotFoundError: There is no such file.
        WeightsError: It is damaged, or was not written by ``unhaze export``.
        MissingError: What reads it is not installed.
    """
    path = Path(path)
    try:
        status = path.stat()
    except OSError as error:
        raise WeightsNotFoundError(f"There is no exported network {path}; check the path.") from error
    return _read(path, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=16)
def _read(path: Path, size: int, modified: int) -> ExportFacts:
    """The facts of a file, once for as long as it stays the same."""
    readers = {".onnx": _text_of_onnx, ".xml": _text_of_openvino, ".pt2": _text_of_pt2}
    text = readers[path.suffix.lower()](path)
    if text is None:
        raise WeightsError(
            f"{path} does not say which network it holds and what pictures it takes; make it with unhaze export."
        )
    return ExportFacts.from_json(text, path)


def _text_of_onnx(path: Path) -> str | None:
    try:
        onnxruntime = import_onnxruntime()
    except ImportError as error:
        raise MissingError(f"onnxruntime is needed to read {path}; install it with: pip install onnxruntime") from error
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its exceptions share no base class
        raise WeightsError(f"{path} is no ONNX network, or a damaged one; export it again.") from error
    found: str | None = session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
    return found


def _text_of_openvino(path: Path) -> str | None:
    try:
        openvino = import_openvino()
    except ImportError as error:
        raise MissingDependencyError("openvino", "openvino", f"read {path}") from error
    try:
        model = openvino.Core().read_model(str(path))
    except RuntimeError as error:
        raise WeightsError(
            f"{path} is no network of OpenVINO, or its .bin is not beside it; export it again."
        ) from error
    if not model.has_rt_info([METADATA_KEY]):
        return None
    # a text that OpenVINO would otherwise take for a list or a number
    return bytes.fromhex(str(model.get_rt_info([METADATA_KEY]).value)).decode()


def _text_of_pt2(path: Path) -> str | None:
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if name.partition("/")[2] == _PT2_FACTS]
            if not names or archive.getinfo(names[0]).file_size > _LONGEST_FACTS:
                return None
            return archive.read(names[0]).decode()
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise WeightsError(f"{path} is no network of torch.export, or a damaged one; export it again.") from error
