"""Which network do these tensors belong to?"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from functools import cache

from torch import Tensor

from unhaze.errors import WeightsError
from unhaze.models.base import Model
from unhaze.models.checkpoints.cards import network_shape
from unhaze.models.checkpoints.unfilled import build_unfilled
from unhaze.models.networks import create_network, list_networks

__all__ = ["Fit", "Match", "compare", "expected_tensors", "identify", "under_our_names"]

Shape = tuple[int, ...]

_CLOSEST = 5  # networks whose keys and shapes are compared one by one
_WEAKEST = 0.1  # share of keys, or of sizes, that must agree for a network to be worth a word


@dataclass(frozen=True, slots=True)
class Fit:
    """How tensors compare with what a network has.

    Attributes:
        missing: Keys of the network that are not there.
        unexpected: Keys that the network does not have.
        reshaped: Keys whose shapes differ: (shape of the tensor, shape in the network).
        shared: How many keys have the right shape.
    """

    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    reshaped: Mapping[str, tuple[Shape, Shape]]
    shared: int

    @property
    def perfect(self) -> bool:
        """Whether every tensor has its place and every place its tensor."""
        return not (self.missing or self.unexpected or self.reshaped)

    @property
    def score(self) -> float:
        """Share of keys that fit, 0 to 1."""
        return self.shared / max(self.shared + len(self.missing) + len(self.unexpected) + len(self.reshaped), 1)

    def __str__(self) -> str:
        shapes = [f"{key} is {list(ours)} instead of {list(wanted)}" for key, (ours, wanted) in self.reshaped.items()]
        parts = (
            _some("missing", self.missing),
            _some("unexpected", self.unexpected),
            _some("of another shape", shapes),
        )
        return ", ".join(filter(None, parts)) or "everything fits"


@dataclass(frozen=True, slots=True)
class Match:
    """A network of the catalogue and how tensors fit it.

    Attributes:
        name: Name in the catalogue.
        official: Whether the tensors have the names of the official code.
        fit: How they compare.
        alike: Names of further networks that the tensors fit just as perfectly.
    """

    name: str
    official: bool
    fit: Fit
    alike: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.name} ({'official' if self.official else 'unhaze'} names)"


def identify(state: Mapping[str, Tensor], among: Collection[str] | None = None) -> Match:
    """The network that fits best.

    Those that have tensors of the most alike sizes are compared key by key, with at most as many built as ``_CLOSEST``.

    Args:
        state: Tensor by key.
        among: Names to consider; all networks if ``None``.

    Returns:
        The best match; look at ``match.fit.perfect``. Ties go to the first name in the alphabet; ``match.alike`` names
        the others.

    Raises:
        WeightsError: Nothing in the catalogue resembles the tensors.
    """
    sizes = Counter(tensor.numel() for tensor in state.values())
    common: dict[str, float] = {}  # share of sizes, by number; kernels of other libraries differ in the order of axes
    for name in sorted(among or list_networks()):
        theirs = _sizes(name)
        common[name] = (sizes & theirs).total() / max((sizes | theirs).total(), 1)
    promising = sorted((name for name in common if among or common[name] >= _WEAKEST), key=lambda name: -common[name])
    best: Match | None = None
    for name in promising[: None if among else _CLOSEST]:
        match = _match(state, name)
        if best is None or match.fit.score > best.fit.score:
            best = match
        if best.fit.perfect:
            break
    if best is None or best.fit.score < _WEAKEST:
        raise WeightsError("The weights belong to no network that unhaze knows; see: unhaze models list")
    if best.fit.perfect:
        twins = (name for name in promising if name != best.name and _sizes(name) == _sizes(best.name))
        best = replace(best, alike=tuple(name for name in twins if _match(state, name).fit.perfect))
    return best


def _sizes(name: str) -> Counter[int]:
    """How many tensors of each number of elements a network has; known without building it but for plug-ins."""
    shape = network_shape(name)
    if shape is not None:
        return Counter(shape.sizes)
    return Counter(math.prod(shape) for shape in expected_tensors(name)[0].values())


def _match(state: Mapping[str, Tensor], name: str) -> Match:
    expected, network = expected_tensors(name)
    ours = compare(state, expected)
    if ours.perfect:
        return Match(name, False, ours)
    official = compare(network.from_official(state), expected)
    return Match(name, True, official) if official.score > ours.score else Match(name, False, ours)


def under_our_names(state: Mapping[str, Tensor], match: Match) -> dict[str, Tensor]:
    """The tensors as the network of ``match`` names them."""
    return expected_tensors(match.name)[1].from_official(state) if match.official else dict(state)


@cache
def expected_tensors(name: str) -> tuple[Mapping[str, Shape], type[Model]]:
    """Key to shape of a network of the catalogue, and its class; no memory is filled."""
    network = build_unfilled(lambda: create_network(name))
    return {key: tuple(tensor.shape) for key, tensor in network.state_dict().items()}, type(network)


def compare(state: Mapping[str, Tensor], expected: Mapping[str, Shape]) -> Fit:
    """How ``state`` compares with the keys and shapes that a network has.

    Counters of batch normalisation may be absent: they do not matter for running a network.
    """
    common = [key for key in expected if key in state]
    reshaped = {
        key: (tuple(state[key].shape), expected[key]) for key in common if tuple(state[key].shape) != expected[key]
    }
    missing = (key for key in expected if key not in state and not key.endswith("num_batches_tracked"))
    unexpected = (key for key in state if key not in expected)
    return Fit(tuple(missing), tuple(unexpected), reshaped, len(common) - len(reshaped))


def _some(what: str, items: Collection[str], shown: int = 3) -> str:
    if not items:
        return ""
    listed = ", ".join(list(items)[:shown])
    more = f" and {len(items) - shown} more" if len(items) > shown else ""
    return f"{len(items)} {what} ({listed}{more})"
