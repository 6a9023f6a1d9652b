"""Folders and files that evaluation writes."""

from __future__ import annotations

import re
from pathlib import Path

from unhaze.errors import OutputError
from unhaze.evaluation.provenance import hash_bytes
from unhaze.images.atomic import atomic_output

__all__ = ["file_name", "make_folder", "write_file"]


def make_folder(path: Path) -> None:
    """Make a folder for output, unless it is there.

    Raises:
        OutputError: It cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"The folder {path} cannot be made ({error.strerror}); name another folder for the report."
        ) from error


def write_file(path: Path, content: str | bytes) -> None:
    """Write a whole file or none; one that exists is replaced, a folder that is missing is made.

    Raises:
        OutputError: It cannot be written.
    """
    make_folder(path.parent)
    data = content.encode("utf-8", "surrogateescape") if isinstance(content, str) else content
    with atomic_output(path, overwrite=True) as temporary:
        temporary.write_bytes(data)


def file_name(text: str) -> str:
    """``text`` as one part of a path and of a link; what has to be replaced leaves a trace that keeps names apart."""
    plain = re.sub(r"[^\w.+-]", "_", text)
    return plain if plain == text else f"{plain}-{hash_bytes(text.encode('utf-8', 'surrogateescape'))[:8]}"
