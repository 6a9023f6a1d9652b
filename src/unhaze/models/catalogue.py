"""The catalogue of models: whatever dehazes has one name, in every command and in Python.

A model finds the haze of a picture (``dcp``, the default), or is a network of the literature that restores pictures by
itself (``dehazeformer-b``), or a network with a fusion module that is told of depth (``sgdnet-base+hgdf``). Torch is
imported only where a network is built or filled.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from unhaze.default.constants import DEFAULT_MODEL
from unhaze.errors import MissingDependencyError, UnknownNameError, UsageError, WeightsError
from unhaze.fusion import list_fusions
from unhaze.models.checkpoints.cards import network_card
from unhaze.models.networks import (
    create_network,
    list_networks,
    load_plugin,
    network_header,
    network_plugins,
    resolve_network,
)
from unhaze.restore.engines.exports import is_exported, read_export
from unhaze.types import ModelInfo, ModelKind

if TYPE_CHECKING:
    from torch import nn

    from unhaze.classic.base import HazeModel

__all__ = [
    "create_haze_model",
    "create_model",
    "finds_haze",
    "list_models",
    "load_model",
    "model_info",
    "resolve_model",
]

_HAZE_MODELS = {
    "dcp": "unhaze.classic.dcp:DarkChannelPrior",
    "cap": "unhaze.classic.cap:ColorAttenuationPrior",
    "bccr": "unhaze.classic.bccr:BoundaryConstraint",
    DEFAULT_MODEL: "unhaze.default.model:FieldModel",
}


def list_models(kind: ModelKind | None = None) -> list[str]:
    """Names of all models, sorted; those of installed third-party packages included.

    Args:
        kind: ``"classic"``, ``"default"`` or ``"network"``; all if ``None``. Every network can have a fusion module,
            ``NETWORK+FUSION``; these are not listed.

    Raises:
        UnknownNameError: There is no such kind.

    >>> list_models("default"), "dcp" in list_models("classic"), "sgdnet-base" in list_models()
    (['field-m'], True, True)
    """
    kinds = ("classic", "default", "network")
    if kind is not None and kind not in kinds:
        raise UnknownNameError("kind of model", kind, kinds)
    known = [*_HAZE_MODELS, *network_plugins(finds_haze=True)]
    haze = [name for name in known if kind in (None, _haze_class(name).info.kind)]
    return sorted([*haze, *(list_networks() if kind in (None, "network") else [])])


def finds_haze(name: str) -> bool:
    """Whether a model finds the haze of a picture, and so gives maps; networks restore pictures by themselves.

    An exported file is opened to learn which.
    """
    if name in _HAZE_MODELS:
        return True
    if is_exported(name):
        return read_export(name).kind == "haze"
    return name in network_plugins(finds_haze=True)


def resolve_model(name: str) -> str:
    """The full name of a model whose variant may have been left out, which then is the usual one; files stay.

    Raises:
        UnknownNameError: There is no such model or fusion module; near names are listed.

    >>> resolve_model("dcp"), resolve_model("coa"), resolve_model("sgdnet+hgdf")
    ('dcp', 'coa-deploy_rb8', 'sgdnet-base+hgdf')
    """
    if finds_haze(name):
        return name
    if is_exported(name):
        return name
    backbone, plus, fusion = name.partition("+")
    if plus and fusion not in list_fusions():
        raise UnknownNameError("fusion", fusion, list_fusions())
    try:
        return resolve_network(backbone) + plus + fusion
    except UnknownNameError as error:
        if plus:
            raise
        known = error.known if error.known != list_networks() else list_models()
        raise UnknownNameError("model", name, known) from None


def model_info(name: str) -> ModelInfo:
    """What a model is, where it comes from and what it needs; torch is not needed to ask.

    Raises:
        UnknownNameError: There is no such model; near names are listed.

    >>> model_info("oknet").paper
    'Cui, Ren, Knoll, "Omni-Kernel Network for Image Restoration", AAAI 2024.'
    """
    name = resolve_model(name)
    if finds_haze(name):
        return cast("ModelInfo", _haze_class(name).info)
    network, plus, fusion = name.partition("+")
    card = network_card(network)
    summary, _, header = network_header(network).partition("\n")
    paper = next((line.removeprefix("Paper: ") for line in header.splitlines() if line.startswith("Paper: ")), "")
    source = "" if card is None else card.source.partition(" ")[0]
    return ModelInfo(
        name=name,
        summary=summary + (f" With {fusion}, which is told of depth." if plus else ""),
        paper=paper,
        url=f"https://github.com/{source}" if source else "",
        needs="torch, and a file with trained weights" + (", and depth" if plus else ""),
        kind="network",
        license="" if card is None else card.license,
        parameters=None if card is None or plus else card.parameters,
        weights=() if card is None or plus else card.weights,
    )


def create_haze_model(name: str, *, engine: str = "auto", threads: int | None = None) -> HazeModel:
    """Create a model that finds haze.

    Args:
        name: From :func:`list_models`, not a network; or an exported file of such a model.
        engine: What runs its network, see :data:`~unhaze.restore.engines.onnx.ENGINES`.
        threads: Processor cores for its network; default all that this process may use.

    Raises:
        UnknownNameError: There is no such model; near names are listed.
        MissingError: Something the model needs is not installed.
        UsageError: An engine was chosen for a model that has no network.
    """
    exported = read_export(name) if name not in _HAZE_MODELS and is_exported(name) else None
    found = _haze_class(name if exported is None else exported.name)
    if getattr(found.info, "has_network", False):
        file = () if exported is None else (name,)  # in place of the weights that ship
        return cast("HazeModel", found(*file, engine=engine, threads=threads))
    if exported is not None:
        raise WeightsError(f"{name} says that it holds {exported.name}, which has no network; export it again.")
    if engine != "auto":
        raise UsageError(f"The model {name} has no network, so no engine can be chosen for it; leave the engine out.")
    return cast("HazeModel", found())


def create_model(name: str, depth: Any = None, **options: Any) -> nn.Module:
    """Build a network, or a network with a fusion module, with fresh weights.

    Args:
        name: ``"sgdnet"``, or ``"sgdnet+hgdf"`` for one that is told of depth.
        depth: With a fusion module: name of a depth estimator, an estimator, or its feature levels; ``None`` for one
            that is given a depth map with each picture.
        options: With a fusion module those of :func:`unhaze.models.guided.create_model`; without, arguments of the
            network that differ from its variant's.

    Returns:
        A module whose ``restore`` takes (B, 3, H, W) RGB in [0, 1] of any size and returns
        :class:`~unhaze.types.Restored`.

    Raises:
        UnknownNameError: There is no such network or fusion module.
        UsageError: The model is no network, or an option does not exist.
        MissingDependencyError: torch is not installed.
    """
    if finds_haze(name):
        raise UsageError(f"{name} finds haze by itself and is no network; use unhaze.Dehazer({name!r}).")
    resolve_model(name)
    if "+" in name:
        return cast("nn.Module", _guided().create_model(name, depth, **options))
    if depth is not None:
        raise UsageError(f"{name} is not told of depth; add a fusion module, for example {name}+hgdf.")
    return create_network(resolve_network(name), **options)


def load_model(path: str | Path, name: str | None = None, depth: Any = None, **options: Any) -> nn.Module:
    """Build the network that a weights file belongs to, with or without a fusion module, and fill it.

    Args:
        path: Official weights, or those of unhaze; no code in them is run.
        name: What it should be; recognised from the file if ``None``.
        depth: For a network with a fusion module, see :func:`unhaze.models.guided.load_model`.
        options: Further arguments of that function.

    Returns:
        The model in evaluation mode; its ``name`` is that of the catalogue.

    Raises:
        WeightsNotFoundError: There is no such file.
        UsageError: It does not fit, or it is not known what it belongs to (:class:`~unhaze.errors.WeightsError`).
        MissingDependencyError: torch is not installed.
    """
    _guided()
    from unhaze.models.checkpoints import load_network, read_facts

    if "guided" in read_facts(path) or (name is not None and "+" in name):
        return cast("nn.Module", _guided().load_model(path, name, depth, **options))
    if depth is not None or options:
        raise UsageError(f"{path} holds a network alone, which is not told of depth; leave depth out.")
    network, _ = load_network(path, None if name is None else resolve_network(name))
    return network.eval()


def _guided() -> Any:
    try:
        return import_module("unhaze.models.guided")
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise MissingDependencyError("torch", "torch", "build a network") from error


def _haze_class(name: str) -> Any:
    """The class of a model that finds haze; other packages are asked only for names that are not ours."""
    if name in _HAZE_MODELS:
        module, _, attribute = _HAZE_MODELS[name].partition(":")
        return getattr(import_module(module), attribute)
    plugins = network_plugins(finds_haze=True)
    if name not in plugins:
        raise UnknownNameError("model", name, [*_HAZE_MODELS, *plugins])
    return load_plugin(name)
