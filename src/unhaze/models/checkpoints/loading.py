"""Weights into networks, and foreign files into our own format."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from unhaze.errors import MissingDependencyError
from unhaze.images.atomic import atomic_output
from unhaze.models.base import Model
from unhaze.models.checkpoints.detect import Match, compare, identify, under_our_names
from unhaze.models.checkpoints.reading import WeightsError, WeightsFile, read_facts, read_weights
from unhaze.models.checkpoints.unfilled import build_unfilled, with_room
from unhaze.models.networks import create_network

__all__ = [
    "Conversion",
    "convert_weights",
    "flush_subnormals",
    "load_network",
    "load_weights",
    "recognise",
    "save_weights",
]

_log = logging.getLogger(__name__)

# far below what float32 arithmetic with ordinary activations can notice, far above its subnormal numbers (1.2e-38):
# products of such weights would be subnormal, which costs a CPU a factor of ten and more
TINY = 1e-20


@dataclass(frozen=True, slots=True)
class Conversion:
    """What :func:`convert_weights` found and did.

    Attributes:
        match: The network, and whether the names were official.
        path: The file that was written.
        tensors: How many tensors it holds.
        flushed: How many numbers were too small to matter and became zero.
    """

    match: Match
    path: Path
    tensors: int
    flushed: int


def load_network(path: str | Path, name: str | None = None) -> tuple[Model, str]:
    """Build the network that a weights file belongs to, and fill it.

    Args:
        path: A ``.safetensors`` file, or an official checkpoint (``.pth``, ``.pt``, ``.ckpt``, ``.pk``).
        name: Name in the catalogue; recognised from the file if ``None``.

    Returns:
        The network, in evaluation mode, and its name.

    Raises:
        WeightsNotFoundError: There is no such file.
        WeightsError: The file is damaged, unsafe, or fits no network.
        UnknownNameError: There is no network named ``name``.
    """
    file = read_weights(path)
    match = _matching(file, name)
    network = with_room(build_unfilled(lambda: create_network(match.name)))
    _fill(network, under_our_names(file.tensors, match))
    return network.eval(), match.name


def recognise(path: str | Path) -> str:
    """Name of the network that a weights file belongs to, ``NETWORK+FUSION`` with a fusion module; it is not built.

    Raises:
        WeightsNotFoundError: There is no such file.
        WeightsError: The file is damaged, unsafe, or fits no network.
    """
    facts = read_facts(path)
    return facts["network"] if {"guided", "network"} <= facts.keys() else _matching(read_weights(path), None).name


def load_weights(network: Model, path: str | Path) -> None:
    """Fill a network, in place; names of the official code are recognised.

    Raises:
        WeightsNotFoundError: There is no such file.
        WeightsError: The file is damaged, unsafe, or does not fit; the message says which keys or shapes.
    """
    file = read_weights(path)
    expected = {key: tuple(tensor.shape) for key, tensor in network.state_dict().items()}
    forms = (file.tensors, network.from_official(file.tensors))
    fits = [compare(state, expected) for state in forms]
    best = max((0, 1), key=lambda i: fits[i].score)
    if not fits[best].perfect:
        raise WeightsError(f"{file.path} does not fit {type(network).__name__}: {fits[best]}{_hint(file)}")
    _fill(network, forms[best])


def convert_weights(
    source: str | Path, destination: str | Path, name: str | None = None, *, overwrite: bool = False
) -> Conversion:
    """Turn a checkpoint of any kind into a ``.safetensors`` file under our names.

    Args:
        source: The checkpoint.
        destination: The file to write.
        name: Name in the catalogue; recognised from the file if ``None``.
        overwrite: Whether an existing file may be replaced.

    Raises:
        WeightsNotFoundError: There is no file ``source``.
        WeightsError: It is damaged, unsafe, or fits no network.
        OutputError: ``destination`` cannot be written.
        MissingDependencyError: safetensors is not installed.
    """
    file = read_weights(source)
    if "guided" in file.metadata:
        raise WeightsError(f"{source} is in the form of unhaze already; it can be used as it is.")
    match = _matching(file, name)
    state = under_our_names(file.tensors, match)
    state, flushed = flush_subnormals(state)
    path = save_weights(state, destination, match.name, overwrite=overwrite)
    return Conversion(match, path, len(state), flushed)


def save_weights(
    state: Mapping[str, Tensor],
    path: str | Path,
    name: str,
    facts: Mapping[str, str] | None = None,
    *,
    overwrite: bool = False,
) -> Path:
    """Write tensors as ``.safetensors``, with the name of their network.

    Args:
        state: Tensor by key, under our names.
        path: The file to write.
        name: Name of the network in the catalogue.
        facts: What else the file should say about itself.
        overwrite: Whether an existing file may be replaced.

    Raises:
        OutputError: The file cannot be written.
        MissingDependencyError: safetensors is not installed.
    """
    try:
        from safetensors.torch import save
    except ModuleNotFoundError as error:
        raise MissingDependencyError("safetensors", "torch", "write weights") from error
    path = Path(path)
    tensors = {key: tensor.detach().cpu().contiguous() for key, tensor in state.items()}
    content = save(tensors, {"network": name, **(facts or {})})
    with atomic_output(path, overwrite=overwrite) as temporary:
        temporary.write_bytes(content)
    return path


def flush_subnormals(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], int]:
    """Weights smaller than 1e-20 set to zero, and how many there were.

    Old checkpoints hold many of them where a rectifier died in training. They do not change a result, but arithmetic on
    subnormal numbers slows a CPU down by a factor of ten and more.
    """
    flushed, count = {}, 0
    for key, tensor in state.items():
        if tensor.is_floating_point():
            tiny = (tensor.abs() < TINY) & (tensor != 0)
            found = int(tiny.sum())
            tensor, count = (tensor.masked_fill(tiny, 0.0) if found else tensor), count + found
        flushed[key] = tensor
    return flushed, count


def _matching(file: WeightsFile, name: str | None) -> Match:
    stated = file.metadata.get("network") if name is None else name
    try:
        match = identify(file.tensors, among=None if stated is None else [stated])
    except WeightsError as error:
        message = str(error) if stated is None else f"It does not resemble {stated}{_hint(file)}"
        raise WeightsError(f"{file.path} cannot be used. {message}") from error
    if not match.fit.perfect:
        hint = "" if stated is None else _hint(file, besides=stated)
        raise WeightsError(f"{file.path} does not fit {match}: {match.fit}{hint}")
    if match.alike:
        _log.warning(
            "%s fits %s just as well as %s, which it is taken for; choose with --model.",
            file.path,
            " and ".join(match.alike),
            match.name,
        )
    return match


def _hint(file: WeightsFile, besides: str | None = None) -> str:
    """What the file looks like instead, as the end of a sentence."""
    try:
        other = identify(file.tensors)
    except WeightsError:
        return "; it looks like no network that unhaze knows."
    if other.name == besides:
        return "."
    return f"; it looks like {other}." if other.fit.perfect else f"; the nearest network is {other}."


@torch.no_grad()
def _fill(network: Model, state: Mapping[str, Tensor]) -> None:
    clean, _ = flush_subnormals(state)
    missing, unexpected = network.load_state_dict(clean, strict=False)
    assert not unexpected
    assert all(key.endswith("num_batches_tracked") for key in missing)
