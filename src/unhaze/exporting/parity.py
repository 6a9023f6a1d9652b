"""Whether an exported file computes what the network computes, held against float64 at five sizes."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from unhaze.exporting._apart import run_apart
from unhaze.exporting.graph import ExportedGraph, example_inputs
from unhaze.restore.engines.onnx import installed_engines
from unhaze.restore.tiling import rounded_up

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["SIZES", "Parity", "measure_parity", "runners"]

SIZES = ((64, 64), (96, 128), (160, 96), (128, 224), (192, 256))
"""Height and width of the pictures that are compared, before they are rounded up to what the network takes [px]."""

_TOLERANCE = 0.5 / 255  # half a step of 8 bits
_TIMES_TORCH = 4.0  # another order of sums may cost this much more than torch's own


@dataclass(frozen=True, slots=True)
class Parity:
    """How far an engine is from float64 on one picture.

    Attributes:
        engine: ``"torch"`` (float32), ``"onnxruntime"``, ``"openvino"`` or ``"pt2"``.
        height, width: Sides of the picture [px].
        largest: Largest difference of a value in [0, 1].
        rms: Root mean square of the differences.
        agrees: Whether ``largest`` is below half a step of 8 bits, or no more than four times that of torch.
    """

    engine: str
    height: int
    width: int
    largest: float
    rms: float
    agrees: bool


Runner = Callable[[Sequence[Sequence[torch.Tensor]]], "tuple[list[NDArray[np.float32]], str | None]"]
"""From the inputs of several pictures to what is made of them, and why it went no further if it did not."""


def runners(graph: ExportedGraph, path: Path) -> dict[str, Runner]:
    """What can run the network here: torch, and the engines for the exported file, in processes of their own."""

    def in_torch(module: Any) -> Runner:
        def run(pictures: Sequence[Sequence[torch.Tensor]]) -> tuple[list[NDArray[np.float32]], str | None]:
            with torch.inference_mode():
                return [module(*inputs).numpy() for inputs in pictures], None

        return run

    def in_engine(name: str) -> Runner:
        contract = graph.network.contract
        side = rounded_up(max(64, contract.minimum), contract.multiple_of)

        def run(pictures: Sequence[Sequence[torch.Tensor]]) -> tuple[list[NDArray[np.float32]], str | None]:
            named = [
                dict(zip(("image", "nearness"), (each.numpy() for each in inputs), strict=False)) for inputs in pictures
            ]
            return run_apart(path, name, side, named)

        return run

    found = {"torch": in_torch(graph)}
    if path.suffix == ".pt2":
        found["pt2"] = in_torch(torch.export.load(path).module())  # just written by us
    for name in installed_engines() if path.suffix == ".onnx" else ("openvino",) if path.suffix == ".xml" else ():
        found[name] = in_engine(name)
    return found


def measure_parity(
    graph: ExportedGraph, found: dict[str, Runner], sizes: Sequence[tuple[int, int]] = SIZES
) -> tuple[list[Parity], dict[str, str]]:
    """Run pictures of several sizes through everything, and through the network in float64.

    Args:
        graph: What was exported.
        found: Made by :func:`runners`.
        sizes: Height and width of the pictures; rounded up to what fits.

    Returns:
        A row for each picture and engine that ran it; and what failed, with the reason.
    """
    exact = copy.deepcopy(graph).double()
    pictures = [example_inputs(graph, height, width, seed) for seed, (height, width) in enumerate(sizes)]
    outputs, failures = {}, {}
    for name, run in found.items():
        outputs[name], why = run(pictures)
        if why is not None:
            failures[name] = why
    rows = []
    for place, inputs in enumerate(pictures):
        with torch.inference_mode():
            reference = exact(*(each.double() for each in inputs)).numpy()
        of_torch = 0.0
        for name, made in outputs.items():
            if place >= len(made):
                continue
            difference = np.abs(made[place].astype(np.float64) - reference)
            largest = float(difference.max())
            of_torch = largest if name == "torch" else of_torch
            agrees = bool(largest <= max(_TOLERANCE, _TIMES_TORCH * of_torch))
            rms = float(np.sqrt(np.square(difference).mean()))
            rows_of, columns_of = inputs[0].shape[-2:]
            rows.append(Parity(name, rows_of, columns_of, largest, rms, agrees))
    return rows, failures
