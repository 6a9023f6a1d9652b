"""The networks of the literature, by name.

A network is one file here, and one line of the table for each of its variants: ``"<family>-<variant>"`` and the
function that builds it. A file is imported when it is needed, so that listing is quick, needs no torch, and a broken
file breaks only its own names.
"""

from __future__ import annotations

import ast
import difflib
import inspect
import logging
import re
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unhaze.catalog import Catalog
from unhaze.errors import MissingDependencyError, UnknownNameError, UsageError

if TYPE_CHECKING:
    from unhaze.models.base import Model

__all__ = [
    "GROUP",
    "create_network",
    "list_networks",
    "load_plugin",
    "network_header",
    "network_plugins",
    "register_network",
    "resolve_network",
]

GROUP = "unhaze.models"
"""Entry points through which other packages bring models: functions that build a network, and classes with an
``info`` that find haze."""

_log = logging.getLogger(__name__)

_NETWORKS = {
    "aecrnet-base": "unhaze.models.aecrnet:aecrnet",
    "aodnet-base": "unhaze.models.aodnet:aodnet",
    "c2pnet-base": "unhaze.models.c2pnet:c2pnet",
    "coa-deploy_rb1": "unhaze.models.coa:coa_deploy_rb1",
    "coa-deploy_rb8": "unhaze.models.coa:coa_deploy_rb8",
    "coa-teacher": "unhaze.models.coa:coa_teacher",
    "coa-train_rb1": "unhaze.models.coa:coa_train_rb1",
    "coa-train_rb8": "unhaze.models.coa:coa_train_rb8",
    "convir-b": "unhaze.models.convir:convir_b",
    "convir-l": "unhaze.models.convir:convir_l",
    "convir-s": "unhaze.models.convir:convir_s",
    "d4-indoor": "unhaze.models.d4:d4_indoor",
    "d4-real": "unhaze.models.d4:d4_real",
    "dcmpnet-official": "unhaze.models.dcmpnet:dcmpnet_official",
    "dcmpnet-paper": "unhaze.models.dcmpnet:dcmpnet_paper",
    "deanet-deploy": "unhaze.models.deanet:deanet_deploy",
    "deanet-train": "unhaze.models.deanet:deanet_train",
    "dehamer-base": "unhaze.models.dehamer:dehamer",
    "dehazeformer-b": "unhaze.models.dehazeformer:dehazeformer_b",
    "dehazeformer-d": "unhaze.models.dehazeformer:dehazeformer_d",
    "dehazeformer-l": "unhaze.models.dehazeformer:dehazeformer_l",
    "dehazeformer-m": "unhaze.models.dehazeformer:dehazeformer_m",
    "dehazeformer-s": "unhaze.models.dehazeformer:dehazeformer_s",
    "dehazeformer-t": "unhaze.models.dehazeformer:dehazeformer_t",
    "dehazeformer-w": "unhaze.models.dehazeformer:dehazeformer_w",
    "dnmgdt-base": "unhaze.models.dnmgdt:dnmgdt",
    "drsformer-mefc": "unhaze.models.drsformer:drsformer_mefc",
    "drsformer-spa": "unhaze.models.drsformer:drsformer_spa",
    "ffanet-base": "unhaze.models.ffanet:ffanet",
    "fsnet-its": "unhaze.models.fsnet:fsnet_its",
    "gcanet-base": "unhaze.models.gcanet:gcanet",
    "gunet-b": "unhaze.models.gunet:gunet_b",
    "gunet-d": "unhaze.models.gunet:gunet_d",
    "gunet-s": "unhaze.models.gunet:gunet_s",
    "gunet-t": "unhaze.models.gunet:gunet_t",
    "maxim-2s": "unhaze.models.maxim:maxim_2s",
    "mb_taylorformer-b": "unhaze.models.mb_taylorformer:mb_taylorformer_b",
    "mb_taylorformer-l": "unhaze.models.mb_taylorformer:mb_taylorformer_l",
    "mitnet-base": "unhaze.models.mitnet:mitnet",
    "mixdehazenet-b": "unhaze.models.mixdehazenet:mixdehazenet_b",
    "mixdehazenet-l": "unhaze.models.mixdehazenet:mixdehazenet_l",
    "mixdehazenet-s": "unhaze.models.mixdehazenet:mixdehazenet_s",
    "mixdehazenet-t": "unhaze.models.mixdehazenet:mixdehazenet_t",
    "oknet-base": "unhaze.models.oknet:oknet",
    "psd-ffanet": "unhaze.models.psd:psd_ffanet",
    "psd-gcanet": "unhaze.models.psd:psd_gcanet",
    "psd-msbdn": "unhaze.models.psd:psd_msbdn",
    "sadnet-base": "unhaze.models.sadnet:sadnet",
    "selfpromer-hq": "unhaze.models.selfpromer:selfpromer_hq",
    "selfpromer-lq": "unhaze.models.selfpromer:selfpromer_lq",
    "sgdnet-base": "unhaze.models.sgdnet:sgdnet",
}
_USUAL = {  # what the name of a family alone stands for
    "coa": "deploy_rb8",
    "convir": "b",
    "d4": "indoor",
    "dcmpnet": "official",
    "deanet": "deploy",
    "dehazeformer": "b",
    "drsformer": "spa",
    "gunet": "t",
    "mb_taylorformer": "b",
    "mixdehazenet": "s",
    "psd": "msbdn",
    "selfpromer": "lq",
}


def list_networks() -> list[str]:
    """Names of all networks, sorted; those of other packages (entry points ``unhaze.models``) included."""
    return sorted(set(_catalogue().names()) - set(network_plugins(finds_haze=True)))


def network_plugins(*, finds_haze: bool) -> list[str]:
    """Names of the models that other packages bring: those that find haze by themselves, or the networks."""
    catalogue = _catalogue()
    return [name for name in catalogue.foreign() if hasattr(catalogue.load(name), "info") == finds_haze]


def load_plugin(name: str) -> Any:
    """What the entry point of another package stands for."""
    return _catalogue().load(name)


def resolve_network(name: str) -> str:
    """The full name of a network whose variant may have been left out, which then is the usual one.

    Args:
        name: One of :func:`list_networks`, or a family.

    Raises:
        UnknownNameError: No network has this name; near names are listed.
        UsageError: The family has several variants, and none of them is usual.

    >>> resolve_network("sgdnet"), resolve_network("coa")
    ('sgdnet-base', 'coa-deploy_rb8')
    """
    names = list_networks()
    if name in names:
        return name
    variants = [full for full in names if full.rpartition("-")[0] == name]
    usual = f"{name}-{_USUAL.get(name)}"
    if usual in variants:
        _log_usual(name, usual)
        return usual
    if len(variants) > 1:
        raise UsageError(f"There are several variants of {name}; name one of: {', '.join(variants)}.")
    if not variants:
        families = {full.rpartition("-")[0] for full in names}
        near = difflib.get_close_matches(name, families, n=1, cutoff=0.75)
        # a misspelt family means its own variants, not those that other families name after it (psd-gcanet)
        raise UnknownNameError("network", name, [full for full in names if full.rpartition("-")[0] in near] or names)
    return variants[0]


@cache  # once for each name is enough
def _log_usual(family: str, variant: str) -> None:
    _log.info("%s is taken for its usual variant, %s; unhaze models list names the others.", family, variant)


def network_header(name: str) -> str:
    """The header of a network's file, found without importing it; for one of another package that of its module."""
    if name in network_plugins(finds_haze=False):
        return inspect.getdoc(sys.modules.get(load_plugin(name).__module__)) or ""
    path = Path(__file__).with_name(f"{name.rpartition('-')[0]}.py")
    try:
        text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    except (OSError, SyntaxError):
        return ""
    return re.sub(r"(?::\w+:)?``?~?([^`]+)``?", r"\1", text)  # a terminal shows no markup


def register_network(name: str, target: str) -> None:
    """Add a network to the catalogue while the program runs, so that recipes and fusions know it.

    Args:
        name: ``"<family>-<variant>"``; the family decides where fusions act.
        target: ``"package.module:function"``; the function takes overrides and returns a
            :class:`~unhaze.models.base.Model`.

    Raises:
        UsageError: The name is taken.
    """
    _catalogue().register(name, target)


def create_network(name: str, **overrides: Any) -> Model:
    """Build a network with fresh weights.

    Args:
        name: One of :func:`list_networks`.
        overrides: Constructor arguments that differ from those of the variant.

    Raises:
        UnknownNameError: No network has this name; near names are listed.
        UsageError: The network has no such argument.
        MissingDependencyError: torch is not installed.
    """
    catalogue = _catalogue()
    try:
        build = catalogue.load(name)
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise MissingDependencyError("torch", "torch", f"build the network {name}") from error
    try:
        network: Model = build(**overrides)
    except TypeError as error:
        if not overrides:
            raise
        raise UsageError(f"The network {name} cannot be built with {', '.join(overrides)}: {error}.") from error
    network.name = name
    return network


@cache
def _catalogue() -> Catalog:
    return Catalog("model", _NETWORKS, GROUP)
