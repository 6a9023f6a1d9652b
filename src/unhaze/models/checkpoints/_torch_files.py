"""Files of ``torch.save`` read as data: nothing that a file names is imported, and nothing it asks for is called.

``torch.load(weights_only=True)`` keeps code out too, but refuses a file for a namespace of options beside the weights,
does not compare what a file claims with what it holds (a storage may be said to be longer than its bytes), and
unpacks whatever an archive unpacks to. Here a name in the file stands for an inert class of our own, tensors are views
of bytes that are there, checksums are compared, and all that is held is counted.

Formats: the zip archive of torch 1.6 and later (``NAME/data.pkl`` and ``NAME/data/KEY``), and the chain of pickles
before it (magic number, protocol, machine, content, keys, then the storages), as written by ``torch/serialization.py``.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from unhaze.images.budget import METADATA_LIMIT, Budget, TooMuchError, archive_limit
from unhaze.models.checkpoints._unpickling import (
    Inert,
    Storage,
    TorchFileError,
    Unpickler,
    UnreadTensor,
    UnsafeFileError,
)

__all__ = ["Inert", "TorchFileError", "UnreadTensor", "UnsafeFileError", "read_torch_file"]

_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
_CHUNK = 1 << 20
_ZIP = b"PK\x03\x04"


def read_torch_file(path: Path) -> Any:
    """The content of a file of ``torch.save``: dictionaries, lists, plain values, tensors, and inert objects.

    Raises:
        UnsafeFileError: The file asks for code to be run.
        TorchFileError: It is damaged, no file of ``torch.save``, or unpacks to far more than its size.
        OSError: The file system refuses it.
    """
    with path.open("rb") as file:
        size = file.seek(0, io.SEEK_END)
        file.seek(0)
        try:
            if file.read(len(_ZIP)) == _ZIP:
                return _read_archive(file, size)
            file.seek(0)
            return _read_chain(file, size)
        except (TorchFileError, OSError):
            raise
        except (TooMuchError, MemoryError) as error:
            raise TorchFileError("unpacks to far more than a network of its size; get the file elsewhere") from error
        except Exception as error:  # an altered byte can bring about any error of the unpickler and of torch
            raise TorchFileError("is no weights file, or a damaged one; get the file again") from error


def _read_archive(file: io.BufferedReader, size: int) -> Any:
    """The zip archive of torch 1.6 and later."""
    with zipfile.ZipFile(file) as archive:
        members = {info.filename: info for info in archive.infolist()}
        contents = [name for name in members if name.count("/") == 1 and name.endswith("/data.pkl")]
        if len(contents) != 1:
            raise TorchFileError("is a zip archive, but not one of torch.save; give a file with a state dict")
        root = contents[0].removesuffix("data.pkl")
        if f"{root}constants.pkl" in members:
            raise TorchFileError("is a TorchScript program, not weights; save its state dict (model.state_dict())")
        room, metadata = Budget(archive_limit(size)), Budget()

        def read(name: str, budget: Budget) -> bytearray:
            """A member, its checksum compared; never more than the size that was counted."""
            budget.take(members[name].file_size)
            content = bytearray(members[name].file_size)
            view, filled = memoryview(content), 0
            with archive.open(members[name]) as stream:
                while block := stream.read(_CHUNK):
                    view[filled : filled + len(block)] = block
                    filled += len(block)
            if filled != len(content):
                raise TorchFileError("is damaged: it ends too early; get the file again")
            return content

        order = f"{root}byteorder"
        if order in members and bytes(read(order, metadata)) != b"little":
            raise TorchFileError("was written on a big-endian machine, which is not read; save it anew on another")
        storages: dict[str, Storage] = {}

        def load_storage(identity: Any) -> Storage:
            kind, dtype, key, _, count = identity
            if kind != "storage" or not isinstance(dtype, torch.dtype) or not isinstance(key, str):
                raise TorchFileError("is damaged: it refers to something that is no storage")
            if key not in storages:
                content = read(f"{root}data/{key}", room)
                if len(content) < count * dtype.itemsize:
                    raise TorchFileError("is damaged: a tensor is longer than its bytes; get the file again")
                storages[key] = Storage(
                    torch.frombuffer(content, dtype=torch.uint8) if content else torch.empty(0, dtype=torch.uint8),
                    dtype,
                )
            return Storage(storages[key].bytes, dtype)

        return Unpickler(io.BytesIO(read(contents[0], metadata)), load_storage, metadata).load()


class _Bounded:
    """A file for the unpickler, which asks for as many bytes as the file says."""

    def __init__(self, file: io.BufferedReader, size: int) -> None:
        self._file, self._size, self._budget = file, size, Budget(METADATA_LIMIT)

    def read(self, count: int) -> bytes:
        """Up to ``count`` bytes."""
        count = min(count, self._size - self._file.tell())
        self._budget.take(max(count, 0))
        return self._file.read(count)

    def readline(self) -> bytes:
        """Up to and with the next line feed."""
        line = self._file.readline(1 + self._budget.left)
        self._budget.take(len(line))
        return line

    def readinto(self, buffer: Any) -> int:
        """As of a file; the unpickler looks for it."""
        content = self.read(len(buffer))
        buffer[: len(content)] = content
        return len(content)


def _read_chain(file: io.BufferedReader, size: int) -> Any:
    """The format before torch 1.6."""
    stream, budget, storages = _Bounded(file, size), Budget(), _Chain(size)

    def load(load_storage: Callable[[Any], Any] | None = None) -> Any:
        return Unpickler(stream, load_storage, budget).load()

    if load() != _MAGIC or load() != _PROTOCOL:
        raise TorchFileError("is no weights file, or a damaged one; get the file again")
    machine = load()
    if not machine["little_endian"]:
        raise TorchFileError("was written on a big-endian machine, which is not read; save it anew on another")
    content = load(storages.load)
    storages.fill(file, load())
    return content


class _Chain:
    """The storages of the old format, whose bytes come after the content that looks at them."""

    def __init__(self, size: int) -> None:
        self._room = Budget(size)
        self._storages: dict[str, Storage] = {}

    def load(self, identity: Any) -> Any:
        """What a persistent identity stands for."""
        if identity[0] == "module":  # a class and its source code
            return identity[1]
        kind, dtype, key, _, count, view = identity
        if kind != "storage" or not isinstance(dtype, torch.dtype) or not isinstance(key, str) or count < 0:
            raise TorchFileError("is damaged: it refers to something that is no storage")
        if key not in self._storages:
            self._room.take(count * dtype.itemsize)  # the bytes must be in the file
            self._storages[key] = Storage(torch.zeros(count * dtype.itemsize, dtype=torch.uint8), dtype)
        whole = self._storages[key].bytes
        if view is not None:
            _, start, length = view
            whole = whole[start * dtype.itemsize : (start + length) * dtype.itemsize]
        return Storage(whole, dtype)

    def fill(self, file: io.BufferedReader, keys: Any) -> None:
        """Read the bytes of all storages, in the order of ``keys``."""
        if not isinstance(keys, list) or set(keys) != self._storages.keys() or len(keys) != len(self._storages):
            raise TorchFileError("is damaged: its storages are not those it speaks of; get the file again")
        for key in keys:
            storage = self._storages[key]
            count = int.from_bytes(file.read(8), "little")
            if count * storage.dtype.itemsize != storage.bytes.numel():
                raise TorchFileError("is damaged: a tensor is longer than its bytes; get the file again")
            view = storage.bytes.numpy().data if count else memoryview(b"")
            filled = 0
            while filled < len(view):
                got = file.readinto(view[filled : filled + _CHUNK])
                if not got:
                    raise TorchFileError("is truncated; get the file again")
                filled += got
