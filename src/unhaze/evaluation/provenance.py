"""What a score came from: versions, code, inputs, weights, command."""

from __future__ import annotations

import hashlib
import platform
import shlex
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import unhaze

__all__ = [
    "HAZE_MODEL_CODE",
    "NETWORK_CODE",
    "SCORING_CODE",
    "code_hash",
    "describe_inputs",
    "hash_bytes",
    "hash_file",
    "manifest_hash",
    "portable_command",
    "versions",
]

_PACKAGES = ("numpy", "torch", "onnxruntime", "opencv-python-headless", "pillow", "simplejpeg", "tifffile", "scipy")
SCORING_CODE = ("metrics", "evaluation", "images")
"""Parts of unhaze that a score depends on."""

HAZE_MODEL_CODE = ("restore", "video", "classic", "physics", "images", "default")
"""Parts of unhaze that the result of a method depends on."""

NETWORK_CODE = (*HAZE_MODEL_CODE, "models", "fusion", "depth")
"""Parts of unhaze that the result of a network depends on."""

_CODE_SUFFIXES = {".py", ".toml", ".npz", ".onnx", ".json"}


def versions() -> dict[str, str]:
    """Versions of unhaze, Python and what decodes, scores and tests; "absent" where a package is not installed."""
    found = {"unhaze": unhaze.__version__, "python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "absent"
    return found


@cache
def code_hash(*parts: str) -> str:
    """SHA-256 over files of unhaze (code, parameters, weights), names included.

    Args:
        *parts: Sub-packages or files (``"metrics"``, ``"evaluation/scoring.py"``).
    """
    root = Path(unhaze.__file__).parent
    found = [path for part in map(root.joinpath, parts) for path in ([part] if part.is_file() else part.rglob("*"))]
    files = [path for path in found if path.suffix in _CODE_SUFFIXES]
    return manifest_hash({path.relative_to(root).as_posix(): hash_file(path) for path in files})


def hash_bytes(data: bytes) -> str:
    """SHA-256 of ``data`` in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def hash_file(path: Path) -> str:
    """SHA-256 of a file in hexadecimal.

    Raises:
        OSError: The file cannot be read.
    """
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def manifest_hash(hashes: Mapping[str, str]) -> str:
    """SHA-256 of the listing ``sha256sum`` would print for these files, sorted by name.

    >>> manifest_hash({}) == hash_bytes(b"")
    True
    """
    return hash_bytes("".join(f"{hashes[name]}  {name}\n" for name in sorted(hashes)).encode())


def portable_command(arguments: Sequence[str]) -> str:
    """A command line that says nothing about the machine: of absolute paths only the last part is kept.

    >>> portable_command(["/opt/bin/unhaze", "eval", "--pred", "dcp=/data/out", "--seed", "1"])
    'unhaze eval --pred dcp=…/out --seed 1'
    """
    if not arguments:
        return ""
    shown = [Path(arguments[0]).name]
    for argument in arguments[1:]:
        head, sign, tail = argument.partition("=")
        if sign and Path(tail).is_absolute():
            portable = f"{head}=…/{Path(tail).name}"
        else:
            portable = f"…/{Path(argument).name}" if Path(argument).is_absolute() else argument
        # the ellipsis needs no quotes of its own
        shown.append(portable if "…" in portable and " " not in portable else shlex.quote(portable))
    return " ".join(shown)


def describe_inputs(folders: Iterable[tuple[str, str, Mapping[str, str]]]) -> list[dict[str, Any]]:
    """One entry per input folder for the report: (role, name of the folder, name -> SHA-256)."""
    return [
        {"role": role, "folder": name, "files": len(hashes), "manifest_sha256": manifest_hash(hashes)}
        for role, name, hashes in folders
    ]
