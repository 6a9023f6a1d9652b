"""Parameters out of a TensorFlow.js graph, as npm packages of trained networks carry them.

Such a package has ``model.json`` (a graph whose nodes are named after the modules that made them, and a list of
tensors) and files of raw numbers. Nothing is executed: a tensor is a parameter if a product, a sum or a convolution of
a module takes it as its second operand, and it is named after that module. Names and layouts of the result are those of
Flax, ``"<module>/<module>/kernel"``, for graphs that jax2tf exported.
"""

from __future__ import annotations

import json
import math
import re
import tarfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unhaze.images.budget import Budget, TooMuchError, archive_limit

__all__ = ["TfjsError", "is_tfjs", "read_tfjs"]

_DTYPES = {"float32": "<f4", "int32": "<i4", "bool": "?"}
# operation to what its second operand is
_ROLES = {
    "Conv2D": "kernel",
    "Conv2DBackpropInput": "kernel",
    "Einsum": "kernel",
    "Mul": "scale",
    "AddV2": "bias",
}
# ".../backbone/<module>/<module>/jit_fn_/AddV2" and ".../backbone/<module>/Conv2D"
_MODULE = re.compile(r"^(?:.*/)?backbone/(.+?)(?:/(?:jit_fn_|einsum))?/[^/]+$")


class TfjsError(ValueError):
    """A package is no TensorFlow.js graph, or a damaged one; the message ends a sentence that names the package."""


def is_tfjs(path: Path) -> bool:
    """Whether ``path`` may be a package: a folder, a ``.tgz``, or a ``model.json``; the content decides."""
    if path.is_dir():
        return True
    with path.open("rb") as file:
        start = file.read(2)
    return start == b"\x1f\x8b" or start[:1] == b"{"


def read_tfjs(path: Path) -> dict[str, Tensor]:
    """Parameters of a graph by name.

    Args:
        path: A package (folder or ``.tgz``), or its ``model.json`` beside the other files.

    Returns:
        Tensors as Flax names them and lays them out: kernels (down, across, in, out) or (in, out), transposed
        convolutions turned as Flax does, everything else (C,).

    Raises:
        TfjsError: Something is missing, damaged, or stored in a form that is not supported.
    """
    try:
        with _opened(path) as read:
            model = json.loads(read("model.json"))
            if model["format"] != "graph-model":
                raise TfjsError(f"is a {model['format']}, not a graph-model")
            assert isinstance(model["modelTopology"]["node"], list)
            assert isinstance(model["weightsManifest"], list)
            arrays: dict[str, NDArray[Any]] = {}
            for group in model["weightsManifest"]:
                content = b"".join(read(name) for name in group["paths"])
                arrays |= _split(content, group["weights"])
        return _parameters(model["modelTopology"]["node"], arrays)
    except TfjsError:
        raise
    except TooMuchError as error:
        raise TfjsError("unpacks to far more than a network of its size") from error
    except (Exception, MemoryError) as error:  # whatever a model.json brings about whose parts are of other types
        raise TfjsError("has a model.json that describes no TensorFlow.js graph") from error


@contextmanager
def _opened(path: Path) -> Iterator[Callable[[str], bytes]]:
    """Reads a file that lies beside the package's only ``model.json``; all files together within the budget."""
    if path.is_dir():
        is_archive, files = False, list(path.rglob("*"))
    else:
        with path.open("rb") as start:
            is_archive = start.read(1) != b"{"
        files = [path] if is_archive else [path, *path.parent.iterdir()]
    budget = Budget(archive_limit(sum(file.stat().st_size for file in files if file.is_file())))
    if is_archive:
        try:
            with tarfile.open(path, "r:gz") as archive:
                members = {member.name: member for member in archive.getmembers() if member.isfile()}
                home = _home(members)

                def extract(name: str) -> bytes:
                    member = members.get(str(PurePosixPath(home, name)))
                    file = None if member is None else archive.extractfile(member)
                    if file is None:
                        raise TfjsError(f"lacks {name}, which its model.json names")
                    budget.take(member.size if member is not None else 0)
                    return file.read()

                yield extract
        except (tarfile.TarError, EOFError, OSError) as error:
            raise TfjsError("is no archive, or a damaged one") from error
        return
    folder = (
        path.parent
        if path.is_file()
        else path / _home([file.relative_to(path).as_posix() for file in path.rglob("model.json")])
    )

    def load(name: str) -> bytes:
        file = folder / name
        if not file.resolve().is_relative_to(folder.resolve()) or not file.is_file():
            raise TfjsError(f"lacks {name}, which its model.json names")
        file = path if name == "model.json" and path.is_file() else file
        budget.take(file.stat().st_size)
        return file.read_bytes()

    yield load


def _home(names: Mapping[str, Any] | list[str]) -> str:
    homes = [str(PurePosixPath(name).parent) for name in names if PurePosixPath(name).name == "model.json"]
    if len(homes) != 1:
        raise TfjsError("holds no model.json" if not homes else "holds several model.json; name one of them")
    return homes[0]


def _split(content: bytes, entries: list[dict[str, Any]]) -> dict[str, NDArray[Any]]:
    """Arrays that lie one after the other in ``content``."""
    arrays, start = {}, 0
    for entry in entries:
        if entry["dtype"] not in _DTYPES or "quantization" in entry:
            how = "quantised" if "quantization" in entry else entry["dtype"]
            raise TfjsError(f"holds {how} tensors, and only float32 ones are supported")
        dtype, shape = np.dtype(_DTYPES[entry["dtype"]]), tuple(entry["shape"])
        if not all(isinstance(side, int) and side >= 0 for side in shape):
            raise TfjsError(f"says of a tensor that its shape is {str(shape)[:60]}")
        count = math.prod(shape)
        end = start + count * dtype.itemsize
        if end > len(content):
            raise TfjsError("is cut short: its files hold fewer numbers than its model.json says")
        arrays[entry["name"]] = np.frombuffer(content, dtype, count, start).reshape(shape)
        start = end
    return arrays


def _parameters(nodes: list[dict[str, Any]], arrays: Mapping[str, NDArray[Any]]) -> dict[str, Tensor]:
    uses: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for node in nodes:
        for place, source in enumerate(node.get("input", ())):
            if place == 1 and node.get("op") in _ROLES:
                uses[source.partition(":")[0]].append(node)
    found: dict[str, Tensor] = {}
    for name, array in arrays.items():
        for node in uses[name]:
            module = _MODULE.match(node["name"])
            value = _as_flax(array, node["op"])
            if module is None or value is None:
                continue
            key = f"{module[1]}/{_ROLES[node['op']]}"
            if key in found:
                raise TfjsError(f"has two tensors for {key}, so its graph is not understood")
            found[key] = torch.from_numpy(np.ascontiguousarray(value))
    if not found:
        raise TfjsError("holds no parameters that can be named after a module")
    return found


def _as_flax(array: NDArray[Any], operation: str) -> NDArray[Any] | None:
    """A parameter in the layout of Flax; ``None`` for numbers that are none, such as an epsilon."""
    if array.dtype != np.float32:
        return None
    if _ROLES[operation] != "kernel":
        return array.reshape(-1).copy() if array.ndim == 4 and array.shape[:3] == (1, 1, 1) else None
    if operation == "Einsum":
        return array.copy() if array.ndim == 2 else None
    if array.ndim != 4:
        return None
    # the kernel of a gradient is (down, across, out, in), and turned by half a circle
    return array[::-1, ::-1].swapaxes(2, 3).copy() if operation == "Conv2DBackpropInput" else array.copy()
