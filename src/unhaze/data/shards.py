"""Data sets packed into a few large files that are read from front to back.

A shard is a plain tar file: ``tar tf`` lists it, and each member can be taken out and opened by itself. ``shards.json``
beside the shards says where in them each picture lies, so that a picture is one read, without a search. Members are
``.npy`` arrays of pixels (nothing to decode: the fastest, and the largest), or the original files, byte for byte.
Either way reading gives back the very pixels that the data set gave.

A clear picture that several hazy ones share is stored once. Depth that the data set gives is stored with it, as
float32.
"""

from __future__ import annotations

import io
import json
import tarfile
import zlib
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from unhaze.data.dataset import Pair, PairedDataset, decode_pixels, read_pixels
from unhaze.data.layouts.base import Report
from unhaze.errors import ImageDecodeError, ImageError, OutputError, UsageError
from unhaze.images.atomic import atomic_output

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["INDEX", "Store", "Stored", "damaged_members", "is_packed", "open_shards", "pack"]

INDEX = "shards.json"
FORMAT = 1
SHARD_SIZE = 1 << 30
_BLOCK = 512  # of a tar file

Store = Literal["pixels", "files"]


@dataclass(frozen=True, slots=True)
class Stored:
    """Where in a shard an array lies.

    Attributes:
        shard: Number of the shard.
        offset, length: Its bytes in the shard.
        crc: CRC-32 of them.
        shape: Shape of the array; empty for the bytes of a picture file.
        dtype: ``"uint8"`` or ``"float32"``.
    """

    shard: int
    offset: int
    length: int
    crc: int
    shape: tuple[int, ...] = ()
    dtype: str = "uint8"


def is_packed(folder: str | Path) -> bool:
    """Whether a folder holds a packed data set."""
    return (Path(folder) / INDEX).is_file()


def pack(
    dataset: PairedDataset,
    folder: str | Path,
    *,
    store: str = "pixels",
    shard_size: int = SHARD_SIZE,
    webdataset: bool = False,
    overwrite: bool = False,
    progress: Callable[[], None] = lambda: None,
) -> Path:
    """Pack a data set into shards, in its order.

    Args:
        dataset: What to pack; its transform is not applied. Pairs that cannot be read are left out, and noted in
            ``dataset.skipped``, where its ``on_error`` is ``"skip"``.
        folder: Where to; made if it is missing. The index is written last: without it a folder is no data set.
        store: ``"pixels"`` or ``"files"``.
        shard_size: A shard is closed when it exceeds this [bytes].
        webdataset: Whether the members of a pair lie one after another under one key, ``KEY.hazy.npy`` and
            ``KEY.clear.npy``, as loaders of WebDataset want them; a shared clear picture is then stored with each pair.
        overwrite: Whether a data set that lies in ``folder`` may be replaced.
        progress: Called after each pair.

    Returns:
        The index.

    Raises:
        UsageError: ``store`` is unknown, or the data set is packed already.
        ImageError: A picture cannot be read; nothing is left behind but finished shards without an index.
        OutputError: The folder cannot be written, or holds a packed data set.
    """
    if store not in get_args(Store):
        raise UsageError(f"store is {store!r}; choose {' or '.join(get_args(Store))}.")
    if dataset.reader is not read_pixels:
        raise UsageError(f"{dataset.root} is packed already; pack from the loose files.")
    folder = Path(folder)
    if is_packed(folder) and not overwrite:
        raise OutputError(f"{folder} holds a packed data set already; allow overwriting or choose another folder.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / INDEX).unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"{folder} cannot be written: {error.strerror}; choose another folder.") from error
    with ExitStack() as files:
        writer = _Writer(folder, shard_size, files)
        packed = []
        for index in range(len(dataset)):
            try:
                packed.append(_pack_pair(dataset, index, store, writer, webdataset))
            except ImageError as error:
                if dataset.on_error == "stop":
                    raise
                dataset.skipped[dataset.pairs[index].name] = str(error)
            progress()
        writer.close()
    kinds = {kind for _, kind in packed if kind is not None}
    table = {
        "format": FORMAT,
        "dataset": dataset.name,
        "split": dataset.split,
        "store": store,
        "border": dataset.border,
        "depth_kind": min(kinds, default=None),
        "shards": [{"name": name, "bytes": (folder / name).stat().st_size} for name in writer.names],
        "pairs": [entry for entry, _ in packed],
    }
    with atomic_output(folder / INDEX, overwrite=True) as temporary:
        temporary.write_text(json.dumps(table), "utf-8")
    return folder / INDEX


def open_shards(folder: str | Path, **options: Any) -> PairedDataset:
    """Open what :func:`pack` wrote.

    Args:
        folder: The one that holds the index.
        options: Options of :class:`~unhaze.data.dataset.PairedDataset`.

    Raises:
        UsageError: There is no index, it is of a later version, or a shard is missing or has another size.
    """
    folder = Path(folder)
    try:
        index = json.loads((folder / INDEX).read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{folder / INDEX} cannot be read ({error}); pack the data set again.") from error
    if index.get("format") != FORMAT:
        raise UsageError(f"{folder / INDEX} is of format {index.get('format')}, not {FORMAT}; update unhaze.")
    names = [each["name"] for each in index["shards"]]
    for each in index["shards"]:
        path = folder / each["name"]
        size = each["bytes"]
        if not path.is_file():
            raise UsageError(f"The shard {path} is missing; copy it again, or pack the data set again.")
        if path.stat().st_size != size:
            raise UsageError(f"The shard {path} has {path.stat().st_size} bytes instead of {size}; copy it again.")
    entries: dict[tuple[Any, ...], Stored] = {}

    def stored(raw: dict[str, Any] | None) -> tuple[str, Stored] | None:
        if raw is None:
            return None
        key = (raw["shard"], raw["offset"])
        entry = entries.setdefault(key, Stored(**{**raw, "shape": tuple(raw["shape"])}))
        return names[entry.shard], entry

    pairs = [Pair(p["name"], stored(p["hazy"]), stored(p["clear"]), stored(p["depth"])) for p in index["pairs"]]
    shared = len({id(pair.clear[1]) for pair in pairs})
    report = Report(index["dataset"], index["split"], ".", len(pairs), shared, len(pairs), rule="packed")
    options = {"border": index["border"], "depth_kind": index["depth_kind"] or "relative", **options}
    return PairedDataset(
        pairs, folder, name=index["dataset"], split=index["split"], report=report, reader=_read_stored, **options
    )


def damaged_members(dataset: PairedDataset) -> dict[str, str]:
    """Pairs of a packed data set whose bytes are not those that were packed, and what is wrong."""
    wrong: dict[str, str] = {}
    for pair in dataset.pairs:
        for what, place in (("hazy", pair.hazy), ("clear", pair.clear), ("depth", pair.depth)):
            if place is None:
                continue
            shard, entry = place
            content = _map(dataset.root / shard)[entry.offset : entry.offset + entry.length]
            if zlib.crc32(content.data) != entry.crc:
                wrong[pair.name] = f"The {what} picture in {shard} is damaged; pack the data set again."
    return wrong


class _Writer:
    """Writes members into one shard after the other.

    A member is written as tar says: a header, the content, zeros up to the next full block.
    """

    def __init__(self, folder: Path, shard_size: int, files: ExitStack) -> None:
        self.folder, self.shard_size, self.files = folder, shard_size, files
        self.names: list[str] = []
        self.once: dict[Any, dict[str, Any]] = {}
        self._closes_anywhere = True
        self._open: ExitStack | None = None
        self._stream: IO[bytes] | None = None

    def add_pixels(self, name: str, array: NDArray[Any]) -> dict[str, Any]:
        """Store an array; the place that is returned is that of its values, behind the header of the ``.npy``."""
        buffer = io.BytesIO()
        np.save(buffer, np.ascontiguousarray(array))
        content = buffer.getvalue()
        return self._append(f"{name}.npy", content, len(content) - array.nbytes, array.shape, str(array.dtype))

    def add_file(self, name: str, path: Path) -> dict[str, Any]:
        """Store a file as it is."""
        return self._append(name + path.suffix.lower(), path.read_bytes(), 0, (), "uint8")

    def start_group(self) -> None:
        """Begin members that lie in one shard, up to the next group."""
        if self._stream is not None and self._stream.tell() >= self.shard_size:
            self.close()
        self._closes_anywhere = False

    def close(self) -> None:
        """Finish the last shard."""
        if self._open is not None and self._stream is not None:
            self._stream.write(bytes(2 * _BLOCK))  # the end of a tar file
            self._open.close()
            self._open = self._stream = None

    def _append(self, name: str, content: bytes, header: int, shape: tuple[int, ...], dtype: str) -> dict[str, Any]:
        """Write a member; returns the place of what follows its own header of so many bytes."""
        if self._closes_anywhere and self._stream is not None and self._stream.tell() >= self.shard_size:
            self.close()
        if self._stream is None:
            self.names.append(f"shard-{len(self.names):05d}.tar")
            self._open = self.files.enter_context(ExitStack())
            temporary = self._open.enter_context(atomic_output(self.folder / self.names[-1], overwrite=True))
            self._stream = self._open.enter_context(temporary.open("wb"))
        assert self._stream is not None
        info = tarfile.TarInfo(name)
        info.size, info.mode = len(content), 0o644
        self._stream.write(info.tobuf(tarfile.PAX_FORMAT))
        offset, values = self._stream.tell() + header, content[header:]
        self._stream.write(content)
        self._stream.write(bytes(-len(content) % _BLOCK))
        return asdict(Stored(len(self.names) - 1, offset, len(values), zlib.crc32(values), shape, dtype))


def _pack_pair(
    dataset: PairedDataset, index: int, store: str, writer: _Writer, webdataset: bool
) -> tuple[dict[str, Any], str | None]:
    pair, sample = dataset.pairs[index], dataset.load(index)
    sides = {"hazy": (pair.hazy, sample.hazy), "clear": (pair.clear, sample.clear)}
    entry: dict[str, Any] = {"name": pair.name, "depth": None}
    key = f"{index:08d}"  # what the members have in common: names of pairs may hold dots, at which WebDataset cuts
    if webdataset:
        writer.once.clear()
        writer.start_group()
    for side, (file, pixels) in sides.items():
        content = (side, file, pixels.shape)
        if content not in writer.once:
            name = f"{key}.{side}" if webdataset else f"{side}/{str(file).rpartition('.')[0]}"
            if store == "pixels":
                writer.once[content] = writer.add_pixels(name, pixels)
            else:
                writer.once[content] = writer.add_file(name, dataset.root / file)
        entry[side] = writer.once[content]
    if sample.depth is not None:
        name = f"{key}.depth" if webdataset else f"depth/{pair.name}"
        entry["depth"] = writer.add_pixels(name, sample.depth.map)
    return entry, None if sample.depth is None else sample.depth.kind


def _read_stored(root: Path, place: tuple[str, Stored]) -> NDArray[Any]:
    name, entry = place
    content = _map(root / name)[entry.offset : entry.offset + entry.length]
    if entry.shape:
        return content.view(entry.dtype).reshape(entry.shape)
    try:
        return decode_pixels(content.tobytes())
    except ImageDecodeError as error:
        raise ImageDecodeError(f"A picture in {root / name} is damaged ({error}) Pack the data set again.") from error


def _map(path: Path) -> NDArray[np.uint8]:
    status = path.stat()
    return _mapped(path, status.st_ino, status.st_mtime_ns)


@lru_cache(maxsize=256)
def _mapped(path: Path, inode: int, modified: int) -> NDArray[np.uint8]:
    """The file as an array; another file of the same name is another entry."""
    return np.asarray(np.memmap(path, np.uint8, "r"))
