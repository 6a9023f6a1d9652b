"""Pictures to train and to validate on.

The catalogue of data sets. A layout is a table in a file here; files are loaded when a data set is opened. Other
packages add theirs through the entry-point group ``unhaze.datasets``: an object with the attributes of
:class:`~unhaze.data.layouts.base.Layout` and its method ``open``.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unhaze.catalog import Catalog
from unhaze.errors import UsageError

if TYPE_CHECKING:
    from unhaze.data.dataset import Dataset

__all__ = ["create_dataset", "dataset_info", "list_datasets"]

_ENTRIES = {
    "bedde": "unhaze.data.layouts.bedde:BEDDE",
    "dense-haze": "unhaze.data.layouts.ntire:DENSE_HAZE",
    "did-data": "unhaze.data.layouts.rain:DID_DATA",
    "folders": "unhaze.data.layouts.folders:FOLDERS",
    "haze4k": "unhaze.data.layouts.haze4k:HAZE4K",
    "i-haze": "unhaze.data.layouts.ntire:I_HAZE",
    "nh-haze": "unhaze.data.layouts.ntire:NH_HAZE",
    "o-haze": "unhaze.data.layouts.ntire:O_HAZE",
    "photographs": "unhaze.data.layouts.folders:PHOTOGRAPHS",
    "reside-6k": "unhaze.data.layouts.reside:RESIDE_6K",
    "reside-its": "unhaze.data.layouts.reside:RESIDE_ITS",
    "reside-ots": "unhaze.data.layouts.reside:RESIDE_OTS",
    "rw2ah": "unhaze.data.layouts.rw2ah:RW2AH",
    "sots-indoor": "unhaze.data.layouts.reside:SOTS_INDOOR",
    "sots-outdoor": "unhaze.data.layouts.reside:SOTS_OUTDOOR",
    "spa-data": "unhaze.data.layouts.rain:SPA_DATA",
    "synthetic": "unhaze.data.synthetic.dataset:SYNTHETIC",
}


def list_datasets() -> list[str]:
    """Names of all data sets, sorted; those of other packages included."""
    return _catalogue().names()


def dataset_info(name: str) -> Any:
    """The entry of the catalogue: ``name``, ``summary``, ``splits``, ``paper``, ``source``, ``license``, ``open``.

    Raises:
        UnknownNameError: No data set has this name; near names are listed.
    """
    return _catalogue().load(name)


def create_dataset(name: str, root: str | Path, split: str | None = None, **options: Any) -> Dataset:
    """Open a data set.

    Where ``root`` holds what ``unhaze data pack`` wrote, the shards are read instead of loose files.

    Args:
        name: One of :func:`list_datasets`.
        root: Its folder.
        split: One of its splits; ``None`` for its first, or for that of the shards.
        options: Options of the data set; those of files take ``transform``, ``depth``, ``depth_of``, ``seed``,
            ``on_error`` (see :class:`~unhaze.data.dataset.PairedDataset`) and ``strict``.

    Raises:
        UnknownNameError: No data set, or no split, has this name; near names are listed.
        UsageError: Files or folders are missing, or an option does not exist; the message says which.
    """
    from unhaze.data.shards import is_packed, open_shards

    entry = dataset_info(name)
    try:
        if not is_packed(root):
            dataset: Dataset = entry.open(root, split, **options)
            return dataset
        options.pop("strict", None)
        packed = open_shards(root, **options)
    except TypeError as error:
        if "unexpected keyword argument" not in str(error):
            raise
        raise UsageError(f"The data set {name} has no such option: {error}.") from error
    if packed.name != name or split not in (None, packed.split):
        raise UsageError(
            f"{root} holds {packed.name}, split {packed.split}, packed; ask for that, or give another folder."
        )
    return packed


@cache
def _catalogue() -> Catalog:
    return Catalog("data set", _ENTRIES, group="unhaze.datasets", fits=lambda target: hasattr(target, "open"))
