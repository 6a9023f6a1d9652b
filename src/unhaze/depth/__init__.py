"""The catalogue of depth estimators.

An estimator is one file here, and one line of the table for each of its sizes: the function that builds it, the licence
of its weights, and whether a user has to bring them. Other packages add theirs through the entry-point group
``unhaze.depth``.
"""

from __future__ import annotations

from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unhaze.catalog import Catalog
from unhaze.errors import MissingDependencyError, UnknownNameError, UsageError
from unhaze.lazy import loads_on_use

if TYPE_CHECKING:
    from unhaze.depth.base import DepthEstimator

__all__ = ["DepthEstimator", "DepthInfo", "create_depth", "depth_info", "list_depth"]

__getattr__ = loads_on_use(__name__, {"DepthEstimator": "unhaze.depth.base"})


_HUB = "from the Hugging Face hub, a folder or a file"
_DISTILLED = "MIT or Apache-2.0 as its authors state, but made from CC-BY-NC-4.0 weights"
_RA_DEPTH = "none stated; code under the Monodepth2 licence (non-commercial)"
_ANYTHING, _DISTILL = "unhaze.depth.depth_anything_v2", "unhaze.depth.distill_any_depth"
_ESTIMATORS = {  # name -> what builds it, licence of the weights, where they come from
    "compact": ("unhaze.depth.compact:compact", "Apache-2.0", "shipped"),
    "compact-v2": ("unhaze.depth.compact_v2:compact_v2", "Apache-2.0", "needed: a file of unhaze train compact-v2"),
    "dcmpnet-de": ("unhaze.depth.dcmpnet_de:dcmpnet_de", "MIT", "needed: a file"),
    "depth-anything-v2-base": (f"{_ANYTHING}:depth_anything_v2_base", "CC-BY-NC-4.0", _HUB),
    "depth-anything-v2-large": (f"{_ANYTHING}:depth_anything_v2_large", "CC-BY-NC-4.0", _HUB),
    "depth-anything-v2-small": (f"{_ANYTHING}:depth_anything_v2_small", "Apache-2.0", _HUB),
    "distill-any-depth-base": (f"{_DISTILL}:distill_any_depth_base", _DISTILLED, _HUB),
    "distill-any-depth-large": (f"{_DISTILL}:distill_any_depth_large", _DISTILLED, _HUB),
    "distill-any-depth-small": (f"{_DISTILL}:distill_any_depth_small", "MIT or Apache-2.0", _HUB),
    "file": ("unhaze.depth.file:file", "that of the file", "none"),
    "ra-depth": ("unhaze.depth.ra_depth:ra_depth", _RA_DEPTH, "needed: a folder of two files"),
}
_CATALOG = Catalog("depth estimator", {name: row[0] for name, row in _ESTIMATORS.items()}, group="unhaze.depth")


@dataclass(frozen=True, slots=True)
class DepthInfo:
    """What is known of a depth estimator without building it.

    Attributes:
        name: In the catalogue.
        license: Licence of the weights.
        weights: Whether a user has to bring them.
    """

    name: str
    license: str
    weights: str


def list_depth() -> list[str]:
    """Names of all depth estimators, sorted; those of other packages included."""
    return _CATALOG.names()


def depth_info(name: str) -> DepthInfo:
    """The card of a depth estimator; torch is not needed.

    Raises:
        UnknownNameError: No estimator has this name.

    >>> depth_info("compact")
    DepthInfo(name='compact', license='Apache-2.0', weights='shipped')
    """
    known = list_depth()
    if name not in known:
        raise UnknownNameError("depth estimator", name, known)
    return DepthInfo(name, *_ESTIMATORS.get(name, ("", "told before first use", "see its package"))[1:])


def create_depth(name: str, **options: Any) -> DepthEstimator:
    """Build a depth estimator, frozen and in evaluation mode.

    Args:
        name: One of :func:`list_depth`, or the path of a depth map that stands for one picture.
        options: Options of the estimator, such as ``weights``, a file or a folder.

    Raises:
        UnknownNameError: No estimator has this name; near names are listed.
        UsageError: It has no such option, or needs one that is not given.
        WeightsNotFoundError: Its weights are not there; the message says what to give.
        MissingDependencyError: It needs a package that is not installed.
    """
    if name not in _CATALOG.names() and Path(name).is_file():
        name, options = "file", {"path": name, **options}
    try:
        build = _CATALOG.load(name)
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise MissingDependencyError("torch", "torch", f"estimate depth with {name}") from error
    try:
        signature(build).bind(**options)
    except TypeError as error:
        raise UsageError(f"The depth estimator {name} cannot be made like this: {error}; see docs/depth.md.") from error
    estimator: DepthEstimator = build(**options)
    estimator.name = name
    return estimator.eval().requires_grad_(False)
