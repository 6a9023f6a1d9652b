"""MAXIM as unhaze runs it, beside its TensorFlow.js graph executed node by node: time, and whether they agree.

    python benchmarks/maxim.py --package upscalerjs-maxim-dehazing-indoor-0.1.0.tgz --data DATA [--times 3]

Both run in turns in one process with one thread, on the centre crop of 320x384 of SOTS 1400_1. Times are those of the
processor, so that other work on the machine counts little. The executor does what the graph says with torch's
operations, one after the other; sizes and indices are computed by it, too.
"""

from __future__ import annotations

import argparse
import base64
import json
import tarfile
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from unhaze import Dehazer
from unhaze.models.checkpoints import convert_weights

Node = dict[str, Any]
CROP = (320, 384)


def attribute(node: Node, name: str) -> Any:
    """Value of an attribute of a node, decoded; ``None`` where it has none."""
    value = node.get("attr", {}).get(name)
    if value is None:
        return None
    ((kind, content),) = value.items()
    if kind == "s":
        return base64.b64decode(content).decode()
    return [int(each) for each in content.get("i", ())] if kind == "list" else content


def same(image: Tensor, kernel: tuple[int, int], stride: int) -> Tensor:
    """Zeros around (B, C, H, W) as TensorFlow's "SAME"."""
    pads = []
    for side, taps in zip(reversed(image.shape[-2:]), reversed(kernel), strict=True):
        missing = max((-(-side // stride) - 1) * stride + taps - side, 0)
        pads += [missing // 2, missing - missing // 2]
    return F.pad(image, pads)


def conv(node: Node, image: Tensor, kernel: Tensor) -> Tensor:
    """A convolution of (B, H, W, C)."""
    stride = attribute(node, "strides")[1]
    planes, weight = image.permute(0, 3, 1, 2), kernel.permute(3, 2, 0, 1)
    if attribute(node, "padding") == "SAME":
        planes = same(planes, (weight.shape[2], weight.shape[3]), stride)
    return F.conv2d(planes, weight, stride=stride).permute(0, 2, 3, 1)


def conv_back(node: Node, _size: Tensor, kernel: Tensor, image: Tensor) -> Tensor:
    """A transposed convolution of (B, H, W, C), without overlap."""
    stride = attribute(node, "strides")[1]
    return F.conv_transpose2d(image.permute(0, 3, 1, 2), kernel.permute(3, 2, 0, 1), stride=stride).permute(0, 2, 3, 1)


def strided_slice(node: Node, x: Tensor, begin: Tensor, end: Tensor, step: Tensor) -> Tensor:
    """Slices along the first axes; what is to be shrunk becomes one number."""
    masks = {name: int(attribute(node, name) or 0) for name in ("begin_mask", "end_mask", "shrink_axis_mask")}
    if attribute(node, "new_axis_mask") not in (None, "0", 0) or attribute(node, "ellipsis_mask") not in (None, "0", 0):
        raise NotImplementedError(f"{node['name']} has a mask that this executor does not know.")
    index: list[Any] = []
    for axis, (low, high, stride) in enumerate(zip(begin.tolist(), end.tolist(), step.tolist(), strict=True)):
        if masks["shrink_axis_mask"] >> axis & 1:
            index.append(low)
        else:
            first = None if masks["begin_mask"] >> axis & 1 else low
            index.append(slice(first, None if masks["end_mask"] >> axis & 1 else high, stride))
    return x[tuple(index)]


def total(node: Node, x: Tensor, axes: Tensor) -> Tensor:
    """A sum over axes."""
    return x.sum(tuple(axes.reshape(-1).tolist()), keepdim=bool(attribute(node, "keep_dims")))


def gather(_node: Node, x: Tensor, indices: Tensor, axis: Tensor) -> Tensor:
    """Entries along an axis."""
    place = int(axis)
    found = x.index_select(place, indices.reshape(-1).long())
    return found.reshape(*x.shape[:place], *indices.shape, *x.shape[place + 1 :])


def select(_node: Node, which: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """One or the other, entry by entry."""
    return torch.where(which, first, second)


KINDS = {"DT_FLOAT": torch.float32, "DT_INT32": torch.int32, "DT_BOOL": torch.bool, "DT_INT64": torch.int64}
TWO: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "AddV2": torch.add,
    "Sub": torch.sub,
    "Mul": torch.mul,
    "RealDiv": torch.div,
    "Maximum": torch.maximum,
    "Minimum": torch.minimum,
    "NotEqual": torch.ne,
    "GreaterEqual": torch.ge,
    "LessEqual": torch.le,
    "Greater": torch.gt,
    "Less": torch.lt,
    "LogicalAnd": torch.logical_and,
    "FloorMod": torch.remainder,
    "FloorDiv": torch.floor_divide,
}
ONE: dict[str, Callable[[Tensor], Tensor]] = {
    "Square": torch.square,
    "Rsqrt": torch.rsqrt,
    "Tanh": torch.tanh,
    "Abs": torch.abs,
    "Reciprocal": torch.reciprocal,
    "Neg": torch.neg,
    "Exp": torch.exp,
    "Floor": torch.floor,
    "Sign": torch.sign,
    "Identity": lambda x: x,
}
OTHERS: dict[str, Callable[..., Tensor]] = {
    "Conv2D": conv,
    "Conv2DBackpropInput": conv_back,
    "StridedSlice": strided_slice,
    "Sum": total,
    "GatherV2": gather,
    "SelectV2": select,
    "Pack": lambda _, *x: torch.stack(x),
    "Reshape": lambda _, x, size: x.reshape(size.tolist()),
    "BroadcastTo": lambda _, x, size: x.broadcast_to(size.tolist()),
    "Transpose": lambda _, x, order: x.permute(order.tolist()),
    "Einsum": lambda node, *x: torch.einsum(attribute(node, "equation"), *x),
    "Cast": lambda node, x: x.to(KINDS[attribute(node, "DstT")]),
    "ExpandDims": lambda _, x, axis: x.unsqueeze(int(axis)),
    "Range": lambda _, first, end, step: torch.arange(int(first), int(end), int(step), dtype=torch.int32),
    "ConcatV2": lambda _, *x: torch.cat(x[:-1], int(x[-1])),
    "Squeeze": lambda node, x: x.squeeze(attribute(node, "squeeze_dims") or None),
    "Shape": lambda _, x: torch.tensor(x.shape, dtype=torch.int32),
}


class Graph:
    """A graph of a package, to be executed node by node.

    Args:
        package: The ``.tgz`` of npm.
    """

    def __init__(self, package: Path) -> None:
        with tarfile.open(package) as archive:
            files = {member.name: file for member in archive if (file := archive.extractfile(member)) is not None}
            (home,) = (name for name in files if name.endswith("model.json"))
            model = json.loads(files[home].read())
            self.constants: dict[str, Tensor] = {}
            for group in model["weightsManifest"]:
                content = b"".join(files[f"{home.rpartition('/')[0]}/{path}"].read() for path in group["paths"])
                start = 0
                for entry in group["weights"]:
                    kind = np.dtype(entry["dtype"])
                    count = int(np.prod(entry["shape"], dtype=int))
                    array = np.frombuffer(content, kind, count, start).reshape(entry["shape"])
                    self.constants[entry["name"]] = torch.from_numpy(array.copy())
                    start += count * kind.itemsize
        self.nodes = {node["name"]: node for node in model["modelTopology"]["node"]}
        self.output = next(iter(model["signature"]["outputs"].values()))["name"].partition(":")[0]
        self.order: list[str] = []
        waiting, seen = [self.output], set(self.constants)
        while waiting:  # inputs before what needs them, without recursion: the graph is deep
            name = waiting[-1]
            needed = [each for each in self.inputs(name) if each not in seen]
            if name in seen or not needed:
                waiting.pop()
                if name not in seen:
                    seen.add(name)
                    self.order.append(name)
            waiting += [each for each in needed if name not in seen]
        self.last = {source: name for name in self.order for source in self.inputs(name)}

    def inputs(self, name: str) -> list[str]:
        """Names of the nodes that a node takes."""
        sources = self.nodes[name].get("input", ())
        return [source.partition(":")[0] for source in sources if not source.startswith("^")]

    def __call__(self, image: Tensor) -> Tensor:
        """(B, H, W, 3) in [0, 1] to the restored picture."""
        values: dict[str, Tensor] = dict(self.constants)
        for name in self.order:
            node = self.nodes[name]
            operation, given = node["op"], [values[source] for source in self.inputs(name)]
            if operation == "Placeholder":
                values[name] = image
            elif operation in TWO:
                values[name] = TWO[operation](*given)
            elif operation in ONE:
                values[name] = ONE[operation](*given)
            else:
                values[name] = OTHERS[operation](node, *given)
            for source in self.inputs(name):  # memory, as any executor frees it
                if self.last[source] == name and source not in self.constants:
                    values.pop(source, None)
        return values[self.output]


def psnr(image: Tensor, clear: Tensor) -> float:
    """Of pictures in [0, 1] [dB]."""
    return float(-10 * (image.clamp(0, 1) - clear).square().mean().log10())


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--package", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True, help="folder with reside_samples/SOTS")
    parser.add_argument("--times", type=int, default=3, help="runs of each, in turns")
    given = parser.parse_args()
    torch.set_num_threads(1)
    pictures = []
    for name in ("hazy/1400_1.png", "gt/1400.png"):
        pixels = cv2.imread(str(given.data / "reside_samples" / "SOTS" / name), cv2.IMREAD_COLOR_RGB)
        if pixels is None:
            raise SystemExit(f"{given.data} has no reside_samples/SOTS/{name}; give the folder that has.")
        top, left = ((pixels.shape[axis] - side) // 2 for axis, side in enumerate(CROP))
        pictures.append(torch.from_numpy(pixels[top : top + CROP[0], left : left + CROP[1]] / np.float32(255))[None])
    hazy, clear = pictures
    graph = Graph(given.package)
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "maxim.safetensors"
        convert_weights(given.package, weights)
        dehazer = Dehazer(weights=weights, device="cpu", threads=1)
    seconds: dict[str, list[float]] = {"graph": [], "unhaze": []}
    results: dict[str, Tensor] = {}
    with torch.inference_mode():
        for _ in range(given.times):
            for label in seconds:
                started = time.process_time()
                if label == "graph":
                    results[label] = graph(hazy)
                else:
                    results[label] = torch.from_numpy(dehazer(hazy[0].numpy()).image)[None]
                seconds[label].append(time.process_time() - started)
                print(f"{label}: {seconds[label][-1]:.1f} s, {psnr(results[label], clear):.2f} dB", flush=True)
    apart = float((results["graph"].clamp(0, 1) - results["unhaze"]).abs().max())
    ratio = min(seconds["graph"]) / min(seconds["unhaze"])
    print(f"hazy {psnr(hazy, clear):.2f} dB; {apart:.1e} apart at most; the graph takes {ratio:.2f} times as long")


if __name__ == "__main__":
    main()
