"""Files by address, ``s3://bucket/a.jpg`` as well as ``photos/a.jpg``, through fsspec.

What is written is there whole or not at all: an object store shows an object when its last byte has come, and a local
file is moved into place (:mod:`unhaze.images.atomic`).
"""

from __future__ import annotations

import re
import shutil
from importlib import import_module
from pathlib import Path
from typing import Any

from unhaze.errors import ImageDecodeError, MissingDependencyError, OutputError, UsageError
from unhaze.images.atomic import atomic_output, make_folder

__all__ = ["exists", "is_address", "join", "list_files", "read_file", "upload", "write_file"]

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")  # two letters at least: C: is a drive


def is_address(name: str | Path) -> bool:
    """Whether a name is an address rather than a path.

    >>> is_address("s3://bucket/a.jpg"), is_address("C:/a.jpg"), is_address("a.jpg")
    (True, False, False)
    """
    return _ADDRESS.match(str(name)) is not None


def join(folder: str, name: str) -> str:
    """The address of a file below a folder.

    >>> join("s3://bucket/clear/", "a.jpg")
    's3://bucket/clear/a.jpg'
    """
    return f"{folder.rstrip('/')}/{name}" if name else folder.rstrip("/")


def list_files(folder: str, *, recursive: bool = True) -> dict[str, int]:
    """Names below a folder, with slashes, and their sizes [bytes]; empty where there is no such folder.

    Raises:
        ImageDecodeError: The storage cannot be reached, or does not let us look.
    """
    filesystem, root = _open(folder)
    try:
        found = filesystem.find(root, maxdepth=None if recursive else 1, detail=True)
    except FileNotFoundError:
        return {}
    except Exception as error:  # each kind of storage has errors of its own
        raise ImageDecodeError(
            f"{folder} cannot be looked through ({_reason(error)}); check name and access."
        ) from error
    prefix = root.rstrip("/") + "/"
    return {
        path.removeprefix(prefix): int(facts.get("size") or 0)
        for path, facts in sorted(found.items())
        if path.startswith(prefix) and facts.get("type", "file") == "file"
    }


def exists(address: str) -> bool:
    """Whether there is a file.

    Raises:
        OutputError: The storage cannot be reached, or does not let us look.
    """
    filesystem, path = _open(address)
    try:
        return bool(filesystem.isfile(path))
    except Exception as error:
        raise OutputError(f"{address} cannot be looked at ({_reason(error)}); check name and access.") from error


def read_file(address: str, limit: int) -> bytes:
    """The content of a file of at most ``limit`` bytes.

    Raises:
        ImageDecodeError: It is not there, cannot be read, or is longer.
    """
    filesystem, path = _open(address)
    try:
        with filesystem.open(path, "rb") as file:
            data: bytes = file.read(limit + 1)
    except FileNotFoundError as error:
        raise ImageDecodeError(f"{address} does not exist; check the name.") from error
    except Exception as error:
        raise ImageDecodeError(f"{address} cannot be read ({_reason(error)}); check name and access.") from error
    if len(data) > limit:
        raise ImageDecodeError(f"{address} is longer than {limit} bytes, which no picture here may be.")
    return data


def write_file(address: str, data: bytes) -> None:
    """Write a file, whole or not at all; one that exists is replaced.

    Raises:
        OutputError: It cannot be written.
    """
    filesystem, path = _open(address)
    if _is_local(filesystem):
        target = Path(path)
        make_folder(target.parent)
        with atomic_output(target, overwrite=True) as temporary:
            temporary.write_bytes(data)
        return
    try:
        filesystem.pipe_file(path, data)
    except Exception as error:
        raise OutputError(f"{address} cannot be written ({_reason(error)}); check name, access and room.") from error


def upload(path: Path, address: str) -> None:
    """Copy a file of this machine to an address, whole or not at all.

    Raises:
        OutputError: It cannot be written.
    """
    filesystem, target = _open(address)
    try:
        if _is_local(filesystem):
            Path(target).parent.mkdir(parents=True, exist_ok=True)
            with atomic_output(target, overwrite=True) as temporary:
                shutil.copyfile(path, temporary)
        else:
            filesystem.put_file(str(path), target)
    except OutputError:
        raise
    except Exception as error:
        raise OutputError(f"{address} cannot be written ({_reason(error)}); check name, access and room.") from error


def _open(address: str) -> tuple[Any, str]:
    """The file system of an address, and the path in it."""
    try:
        fsspec = import_module("fsspec")
    except ImportError as error:
        raise MissingDependencyError("fsspec", "cloud", f"reach {address}") from error
    try:
        filesystem, path = fsspec.core.url_to_fs(address)
    except ImportError as error:  # that of the storage, such as s3fs
        package = (re.search(r"\b(s3fs|gcsfs|adlfs)\b", str(error)) or ["a package"])[0]
        raise MissingDependencyError(package, "cloud", f"reach {address}") from error
    except ValueError as error:  # nothing knows the scheme
        raise UsageError(
            f"{address} is no storage that is known ({_reason(error)}); use s3://, gs://, az://."
        ) from error
    return filesystem, str(path)


def _is_local(filesystem: Any) -> bool:
    protocol = filesystem.protocol
    return "file" in ((protocol,) if isinstance(protocol, str) else protocol)


def _reason(error: Exception) -> str:
    return (str(error).strip().partition("\n")[0] or type(error).__name__)[:200].rstrip(".")
