"""From a file to tensors by name, without running anything that the file contains."""

from __future__ import annotations

import math
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.lib import format as npy
from torch import Tensor

from unhaze.errors import MissingDependencyError, UnhazeError, WeightsError, WeightsNotFoundError
from unhaze.images.budget import PART_LIMIT, archive_limit
from unhaze.models.checkpoints._torch_files import Inert, TorchFileError, UnreadTensor, UnsafeFileError, read_torch_file
from unhaze.models.checkpoints.tfjs import TfjsError, is_tfjs, read_tfjs

__all__ = ["WeightsError", "WeightsFile", "read_facts", "read_weights", "unwrap_state"]

# under which keys training scripts keep the weights; averaged ones first, as their authors evaluate with them
WRAPPERS = (
    "params_ema",
    "ema_state_dict",
    "state_dict_ema",
    "ema",
    "params",
    "state_dict",
    "model_state_dict",
    "model",
    "network",
    "net",
    "netG",
    "net_h2c",
    "generator",
    "weights",
)
# what wrappers around a network put before every key
PREFIXES = ("module.", "_orig_mod.", "model.", "network.", "net.", "netG.", "net_g.", "generator.")

_TORCH_STARTS = (b"PK", b"\x80", b"\0")  # an archive, a pickle, or either of which the beginning was lost

# what zipfile and numpy raise for damaged archives
_ZIP_ERRORS = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    KeyError,
    OSError,
    RuntimeError,  # encrypted, or of a kind that is not supported
    ValueError,
)


@dataclass(frozen=True, slots=True)
class WeightsFile:
    """What a weights file holds.

    Attributes:
        path: Where it lies.
        tensors: Tensor by key, wrappers and common prefixes removed, on the CPU.
        metadata: Text that the file states about itself; ``"network"`` is ours.
    """

    path: Path
    tensors: dict[str, Tensor]
    metadata: Mapping[str, str] = field(default_factory=dict)


def read_facts(path: str | Path) -> dict[str, str]:
    """What a ``.safetensors`` file says about itself, without reading its tensors; empty for other files.

    Raises:
        WeightsNotFoundError: There is no such file.
        WeightsError: The file is damaged.
        MissingDependencyError: safetensors is not installed.
    """
    path = _regular(path)
    if not _is_safetensors(path):
        return {}
    with _open_safetensors(path) as file:
        return dict(file.metadata() or {})


def read_weights(path: str | Path) -> WeightsFile:
    """Read ``.safetensors``, a file of ``torch.save`` as data, or a network of JAX.

    Objects beside the tensors, such as the options of a training script, are passed over; nothing of theirs is imported
    or run. Networks of JAX are ``.npz`` files of Flax parameters, and TensorFlow.js packages: a folder, a ``.tgz`` or a
    ``model.json``. The content decides, not the name.

    Raises:
        WeightsNotFoundError: There is no such file.
        WeightsError: The file is damaged, asks for code to be run, unpacks to far more than its size, or holds no
            tensors.
        MissingDependencyError: It is a safetensors file, and that package is not installed.
    """
    path = Path(path)
    if not (path.is_dir() and next(path.rglob("model.json"), None) is not None):  # no folder of TensorFlow.js
        path = _regular(path)
    metadata: Mapping[str, str] = {}
    if path.is_file() and _is_safetensors(path):
        with _open_safetensors(path) as safe:
            tensors = {key: safe.get_tensor(key) for key in safe.keys()}  # noqa: SIM118 - it is not a mapping
            metadata = dict(safe.metadata() or {})
    elif is_tfjs(path):
        try:
            tensors = read_tfjs(path)
        except TfjsError as error:
            raise WeightsError(f"{path} {error}; give a package as npm pack brings it.") from error
    elif _is_npz(path):
        tensors = _read_npz(path)
    else:
        tensors = unwrap_state(_unpickle(path), path)
    if not tensors:
        raise WeightsError(f"{path} holds no tensors by name; give a file with a network's state dict.")
    # tensors that repeat a few bytes without end, and kinds that no network has
    files = [path] if path.is_file() else [each for each in path.rglob("*") if each.is_file()]
    limit = archive_limit(sum(each.stat().st_size for each in files))
    if sum(tensor.numel() * tensor.element_size() for tensor in tensors.values()) > limit:
        raise WeightsError(f"{path} unpacks to far more than a network of its size; get the file elsewhere.")
    for key, tensor in tensors.items():
        if str(tensor.dtype).startswith("torch.float8"):
            raise WeightsError(f"{path} holds numbers of 8 bits ({key[:100]}), which no network here has; give others.")
    for key, tensor in tensors.items():
        if tensor.is_complex():
            raise WeightsError(
                f"{path} holds complex numbers ({key[:100]}), which no network here has; give real ones."
            )
    return WeightsFile(path, tensors, metadata)


def _regular(path: str | Path) -> Path:
    path = Path(path)
    try:
        status = path.stat()
    except (OSError, ValueError) as error:  # ValueError: a null byte in the name
        raise WeightsNotFoundError(f"There is no weights file {path}; check the path.") from error
    if stat.S_ISREG(status.st_mode):
        return path
    kind = "a folder that holds no model.json" if stat.S_ISDIR(status.st_mode) else "a device or a pipe"
    raise WeightsNotFoundError(f"{path} is {kind}, not a weights file; check the path.")


def _is_safetensors(path: Path) -> bool:
    """Eight bytes of header size, then a JSON object."""
    try:
        with path.open("rb") as file:
            start = file.read(9)
    except OSError as error:
        raise WeightsError(f"{path} cannot be read ({error.strerror}); check its permissions.") from error
    size = int.from_bytes(start[:8], "little")
    if len(start) < 9 or start[8:] != b"{":
        return False
    if size > PART_LIMIT and size < path.stat().st_size:
        raise WeightsError(f"{path} has a header of {size:,} bytes, far more than a network's; get the file elsewhere.")
    return size < path.stat().st_size


@contextmanager
def _open_safetensors(path: Path) -> Iterator[Any]:
    try:
        from safetensors import safe_open
    except ModuleNotFoundError as error:
        raise MissingDependencyError("safetensors", "torch", f"read {path.name}") from error
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            yield file
    except UnhazeError:
        raise
    except (Exception, MemoryError) as error:  # besides its own error whatever torch raises for the shapes and types
        reason = str(error).partition("\n")[0][:200].rstrip(". ")
        raise WeightsError(f"{path} is damaged: {reason}; get the file again.") from error


def _is_npz(path: Path) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith(".npy") for name in archive.namelist())
    except _ZIP_ERRORS:
        return False  # a damaged archive; the reader of torch's archives says so


def _read_npz(path: Path) -> dict[str, Tensor]:
    """Parameters of a Flax checkpoint, without those of its optimiser."""
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(each.file_size for each in archive.infolist()) > archive_limit(path.stat().st_size):
                raise WeightsError(f"{path} unpacks to far more than a network of its size; get the file elsewhere.")
            for member in (each for each in archive.infolist() if each.filename.endswith(".npy")):
                with archive.open(member) as file:
                    version = npy.read_magic(file)
                    read_header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
                    shape, _, dtype = read_header(file)
                if math.prod(shape) * dtype.itemsize > member.file_size:  # before numpy makes room for it
                    raise WeightsError(f"{path} is damaged: an array is longer than its bytes; get the file again.")
        with np.load(path, allow_pickle=False) as arrays:
            names = [name for name in arrays.files if name.startswith("opt/target/")] or list(arrays.files)
            parameters = {name.removeprefix("opt/target/"): arrays[name] for name in names}
    except WeightsError:
        raise
    except (Exception, MemoryError) as error:  # whatever numpy makes of a header of nonsense
        raise WeightsError(f"{path} is a damaged .npz file, or holds more than numbers; get the file again.") from error
    return {name: torch.from_numpy(array) for name, array in parameters.items() if array.dtype == np.float32}


def _unpickle(path: Path) -> Any:
    try:
        with path.open("rb") as file:
            start = file.read(4)
        if start and not start.startswith(_TORCH_STARTS):
            raise WeightsError(f"{path} is no weights file; give a .safetensors file, or one that torch.save wrote.")
        return read_torch_file(path)
    except UnsafeFileError as error:
        raise WeightsError(
            f"{path} asks to run code ({str(error)[:60]}) when it is opened, and was not; "
            "let whoever made it save only the state dict (torch.save(model.state_dict(), ...))."
        ) from error
    except TorchFileError as error:
        raise WeightsError(f"{path} {error}.") from error
    except OSError as error:
        raise WeightsError(f"{path} cannot be read ({error.strerror or error}); check the disk.") from error


def unwrap_state(content: Any, path: Path | str = "the file") -> dict[str, Tensor]:
    """The state dict inside whatever a training script saved, without prefixes that every key shares.

    Args:
        content: What the file holds.
        path: For error messages.

    Raises:
        WeightsError: There is no state dict inside.

    >>> import torch
    >>> unwrap_state({"epoch": 3, "state_dict": {"module.a.weight": torch.ones(1)}})
    {'a.weight': tensor([1.])}
    """
    seen: set[int] = set()
    while (wrapped := _mapping(content)) is not None:
        content = wrapped
        if id(content) in seen:
            raise WeightsError(f"{path} is damaged: it holds itself; get the file again.")
        seen.add(id(content))
        inner = next((content[key] for key in WRAPPERS if _mapping(content.get(key)) is not None), None)
        if inner is None:
            break
        content = inner
    if not isinstance(content, Mapping):
        kind = type(content).__name__[:60]
        raise WeightsError(f"{path} holds {kind}, not tensors by name; give a state dict (model.state_dict()).")
    for key, value in content.items():
        if isinstance(value, UnreadTensor):
            raise WeightsError(
                f"{path} holds {value.kind} tensors ({key!s:.100}), which are not read; give dense ones."
            )
    state = {
        str(key): value for key, value in content.items() if isinstance(key, str | int) and isinstance(value, Tensor)
    }
    while (
        prefix := next((p for p in PREFIXES if state and all(key.startswith(p) for key in state)), None)
    ) is not None:
        state = {key.removeprefix(prefix): tensor for key, tensor in state.items()}
    return state


def _mapping(value: Any) -> Mapping[Any, Any] | None:
    """``value`` as a mapping, if it is one; also one of a class that was not imported."""
    if isinstance(value, Inert):
        return value.entries or None
    return value if isinstance(value, Mapping) else None
