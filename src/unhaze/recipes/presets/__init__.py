"""Complete settings by name, and overrides of single ones."""

from __future__ import annotations

import ast
import dataclasses
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

from unhaze.catalog import Catalog
from unhaze.errors import UnknownNameError, UsageError

__all__ = ["list_presets", "override", "preset", "summary"]

ConfigT = TypeVar("ConfigT")

_PRESETS = {
    "field-default": "unhaze.recipes.presets.default:field_default",
    "compact-v2": "unhaze.recipes.presets.depth:compact_v2",
    "dehazeformer-its": "unhaze.recipes.presets.published:dehazeformer_its",
    "dehazeformer-6k": "unhaze.recipes.presets.published:dehazeformer_6k",
    "dehazeformer-t-6k": "unhaze.recipes.presets.published:dehazeformer_t_6k",
    "mb_taylorformer-its": "unhaze.recipes.presets.published:mb_taylorformer_its",
    "oknet-its": "unhaze.recipes.presets.published:oknet_its",
    "oknet-ots": "unhaze.recipes.presets.published:oknet_ots",
    "convir-its": "unhaze.recipes.presets.published:convir_its",
    "convir-ots": "unhaze.recipes.presets.published:convir_ots",
    "fsnet-its": "unhaze.recipes.presets.published:fsnet_its",
    "gunet-its": "unhaze.recipes.presets.published:gunet_its",
    "mixdehazenet-its": "unhaze.recipes.presets.published:mixdehazenet_its",
    "c2pnet-its": "unhaze.recipes.presets.published:c2pnet_its",
    "aecrnet-its": "unhaze.recipes.presets.published:aecrnet_its",
    "sgdnet-rw2ah": "unhaze.recipes.presets.published:sgdnet_rw2ah",
    "deanet-its": "unhaze.recipes.presets.published:deanet_its",
    "sadnet-its": "unhaze.recipes.presets.published:sadnet_its",
    "coa-teacher-its": "unhaze.recipes.presets.published:coa_teacher_its",
    "coa-student-its": "unhaze.recipes.presets.published:coa_student_its",
    "mitnet-its": "unhaze.recipes.presets.published:mitnet_its",
    "dnmgdt-6k": "unhaze.recipes.presets.published:dnmgdt_6k",
    "ffanet-its": "unhaze.recipes.presets.published:ffanet_its",
    "ffanet-ots": "unhaze.recipes.presets.published:ffanet_ots",
    "aodnet-its": "unhaze.recipes.presets.published:aodnet_its",
    "gcanet-its": "unhaze.recipes.presets.published:gcanet_its",
    "dehamer-nh": "unhaze.recipes.presets.published:dehamer_nh",
    "drsformer-did": "unhaze.recipes.presets.published:drsformer_did",
    "drsformer-spa": "unhaze.recipes.presets.published:drsformer_spa",
    "dcmpnet-official": "unhaze.recipes.presets.dcmpnet:dcmpnet_official",
    "dcmpnet-paper": "unhaze.recipes.presets.dcmpnet:dcmpnet_paper",
    "dcmpnet-paper-ots": "unhaze.recipes.presets.dcmpnet:dcmpnet_paper_ots",
    "dcmpnet-official-2023": "unhaze.recipes.presets.dcmpnet:dcmpnet_official_2023",
    "dcmpnet-small": "unhaze.recipes.presets.dcmpnet:dcmpnet_small",
    "psd-ots": "unhaze.recipes.presets.unpaired:psd_ots",
    "psd-rtts": "unhaze.recipes.presets.unpaired:psd_rtts",
    "d4-its": "unhaze.recipes.presets.unpaired:d4_its",
    "selfpromer-hq-its": "unhaze.recipes.presets.staged:selfpromer_hq_its",
    "selfpromer-lq-its": "unhaze.recipes.presets.staged:selfpromer_lq_its",
    "coa-adapted": "unhaze.recipes.presets.staged:coa_adapted",
    "prompthaze-its": "unhaze.recipes.presets.staged:prompthaze_its",
    "supervised-small": "unhaze.recipes.presets.small:supervised_small",
    "hgdf-small": "unhaze.recipes.presets.small:hgdf_small",
    "mb_taylorformer-6k": "unhaze.recipes.presets.fused:mb_taylorformer_6k",
    "mitnet-6k": "unhaze.recipes.presets.fused:mitnet_6k",
    "sadnet-6k": "unhaze.recipes.presets.fused:sadnet_6k",
    "oknet-6k": "unhaze.recipes.presets.fused:oknet_6k",
    "deanet-6k": "unhaze.recipes.presets.fused:deanet_6k",
    "coa-6k": "unhaze.recipes.presets.fused:coa_6k",
    "sgdnet-6k": "unhaze.recipes.presets.fused:sgdnet_6k",
    "mb_taylorformer+hgdf-6k": "unhaze.recipes.presets.fused:mb_taylorformer_hgdf_6k",
    "dehazeformer+hgdf-6k": "unhaze.recipes.presets.fused:dehazeformer_hgdf_6k",
    "mitnet+hgdf-6k": "unhaze.recipes.presets.fused:mitnet_hgdf_6k",
    "sadnet+hgdf-6k": "unhaze.recipes.presets.fused:sadnet_hgdf_6k",
    "oknet+hgdf-6k": "unhaze.recipes.presets.fused:oknet_hgdf_6k",
    "deanet+hgdf-6k": "unhaze.recipes.presets.fused:deanet_hgdf_6k",
    "dnmgdt+hgdf-6k": "unhaze.recipes.presets.fused:dnmgdt_hgdf_6k",
    "coa+hgdf-6k": "unhaze.recipes.presets.fused:coa_hgdf_6k",
    "sgdnet+hgdf-6k": "unhaze.recipes.presets.fused:sgdnet_hgdf_6k",
    "mb_taylorformer+hgdf-rw2ah": "unhaze.recipes.presets.fused:mb_taylorformer_hgdf_rw2ah",
    "dehazeformer+hgdf-rw2ah": "unhaze.recipes.presets.fused:dehazeformer_hgdf_rw2ah",
    "oknet+hgdf-rw2ah": "unhaze.recipes.presets.fused:oknet_hgdf_rw2ah",
    "coa+hgdf-rw2ah": "unhaze.recipes.presets.fused:coa_hgdf_rw2ah",
    "sgdnet+hgdf-rw2ah": "unhaze.recipes.presets.fused:sgdnet_hgdf_rw2ah",
    "mb_taylorformer+hgdf-its": "unhaze.recipes.presets.fused:mb_taylorformer_hgdf_its",
    "dehazeformer+hgdf-its": "unhaze.recipes.presets.fused:dehazeformer_hgdf_its",
    "oknet+hgdf-its": "unhaze.recipes.presets.fused:oknet_hgdf_its",
    "coa+hgdf-its": "unhaze.recipes.presets.fused:coa_hgdf_its",
    "sgdnet+hgdf-its": "unhaze.recipes.presets.fused:sgdnet_hgdf_its",
    "mb_taylorformer+hgdf-ots": "unhaze.recipes.presets.fused:mb_taylorformer_hgdf_ots",
    "dehazeformer+hgdf-ots": "unhaze.recipes.presets.fused:dehazeformer_hgdf_ots",
    "oknet+hgdf-ots": "unhaze.recipes.presets.fused:oknet_hgdf_ots",
    "coa+hgdf-ots": "unhaze.recipes.presets.fused:coa_hgdf_ots",
    "sgdnet+hgdf-ots": "unhaze.recipes.presets.fused:sgdnet_hgdf_ots",
    "drsformer+hgdf-did": "unhaze.recipes.presets.fused:drsformer_hgdf_did",
    "drsformer+hgdf-spa": "unhaze.recipes.presets.fused:drsformer_hgdf_spa",
}
_CATALOG = Catalog("preset", _PRESETS, group="unhaze.presets")


def list_presets() -> list[str]:
    """Names of all presets, sorted."""
    return _CATALOG.names()


def summary(name: str) -> str:
    """What a preset says of itself in its first line, found without importing its file; empty if nothing."""
    module, _, function = _PRESETS.get(name, ":").partition(":")
    path = Path(__file__).with_name(f"{module.rpartition('.')[2]}.py")
    if not path.is_file():
        return ""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef) and node.name == function:
            return (ast.get_docstring(node) or "").partition("\n")[0]
    return ""


def preset(name: str) -> tuple[Any, Any]:
    """The recipe module of a preset, and its configuration.

    Raises:
        UnknownNameError: There is no such preset; near names are listed.
    """
    make: Callable[[], Any] = _CATALOG.load(name)
    config = make()
    return import_module(type(config).__module__), config


def override(config: ConfigT, changes: Mapping[str, str]) -> ConfigT:
    """A copy of ``config`` with some settings changed.

    Args:
        config: A frozen dataclass; its fields may be frozen dataclasses, or tuples of them.
        changes: Dotted names to values as text; ``stages.0.batch`` is the batch of the first stage. Words may be
            written without quotes: ``switches`` as ``spatial_gate,channel_gate``.

    Raises:
        UnknownNameError: A name leads nowhere; near names are listed.
        UsageError: A value is not of the type that the setting has.

    >>> @dataclasses.dataclass(frozen=True)
    ... class Run:
    ...     lr: float = 0.1
    ...     steps: tuple[int, ...] = (5, 6)
    >>> override(Run(), {"lr": "1e-3", "steps.1": "9"})
    Run(lr=0.001, steps=(5, 9))
    """
    for name, text in changes.items():
        config = _with(config, name.split("."), text, name, set(_names(config)))
    return config


def _with(value: Any, path: list[str], text: str, name: str, known: set[str]) -> Any:
    """``value`` with the setting at ``path`` parsed from ``text``."""
    if not path:
        return _parse(text, value, name)
    first, *rest = path
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        kinds = {each.name: each.type for each in dataclasses.fields(value)}
        if not rest and kinds.get(first) == "tuple[str, ...]":  # an empty one does not show what it holds
            return dataclasses.replace(value, **{first: _words(text, name)})
        if first in kinds:
            return dataclasses.replace(value, **{first: _with(getattr(value, first), rest, text, name, known)})
    elif isinstance(value, tuple) and first.isdigit() and int(first) < len(value):
        index = int(first)
        return (*value[:index], _with(value[index], rest, text, name, known), *value[index + 1 :])
    raise UnknownNameError("setting", name, known)


def _words(text: str, name: str) -> tuple[str, ...]:
    """``a,b`` or ``("a", "b")`` as strings; nothing, or ``()``, is none of them."""
    if text.strip()[:1] not in ("(", "["):
        return tuple(word.strip() for word in text.split(",") if word.strip())
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        value = None
    if not (isinstance(value, tuple | list) and all(isinstance(each, str) for each in value)):
        raise UsageError(f"{name} takes words, for example {name}=a,b; {text!r} is something else.")
    return tuple(value)


def _parse(text: str, old: Any, name: str) -> Any:
    """``text`` as a value of the type of ``old``."""
    if isinstance(old, str):
        return text
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        value = None
    if isinstance(old, bool) or dataclasses.is_dataclass(old):
        fits = type(value) is type(old)
    elif isinstance(old, float):
        fits = isinstance(value, int | float) and not isinstance(value, bool)
        value = float(value) if fits else value
    elif isinstance(old, tuple):
        fits = isinstance(value, tuple | list) and all(isinstance(each, int | float) for each in value)
        fits = fits and not any(dataclasses.is_dataclass(each) for each in old)
        value = tuple(value) if fits else value
    else:
        fits = type(value) is type(old)
    if not fits:
        raise UsageError(f"{name} is now {old!r}; {text!r} is not a value of that kind.")
    return value


def _names(value: Any, prefix: str = "") -> list[str]:
    """All dotted names of a configuration."""
    if dataclasses.is_dataclass(value):
        parts = [(each.name, getattr(value, each.name)) for each in dataclasses.fields(value)]
    elif isinstance(value, tuple) and any(dataclasses.is_dataclass(each) for each in value):
        parts = [(str(index), each) for index, each in enumerate(value)]
    else:
        return [prefix]
    return [name for key, each in parts for name in _names(each, f"{prefix}.{key}" if prefix else key)]
