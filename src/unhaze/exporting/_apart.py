"""An exported file in an engine, in a process of its own: an engine that crashes ends that one, and not the report.

OpenVINO does so with some networks.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from unhaze.errors import UnhazeError
from unhaze.restore.engines.onnx import OnnxEngine

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["run_apart"]

_LONGEST = 900  # [s]


def run_apart(
    path: Path, engine: str, side: int, pictures: Sequence[Mapping[str, NDArray[np.float32]]]
) -> tuple[list[NDArray[np.float32]], str | None]:
    """What an engine makes of pictures, and why it went no further.

    Args:
        path: ``.onnx`` or ``.xml``.
        engine: What runs it.
        side: A side that inputs of free size can have [px].
        pictures: Inputs of the network by name.

    Returns:
        ``restored`` of each picture, up to the first that fails; and in that case the reason, of a few words.
    """
    with tempfile.TemporaryDirectory(prefix="unhaze-export-") as folder:
        scratch = Path(folder)
        for place, inputs in enumerate(pictures):
            np.savez(scratch / f"in{place}.npz", **inputs)  # type: ignore[arg-type]  # none is named allow_pickle
        order = json.dumps([str(path), engine, side, len(pictures), folder])
        why: str | None = None
        try:
            done = subprocess.run(
                [sys.executable, "-m", "unhaze.exporting._apart", order], capture_output=True, timeout=_LONGEST
            )
        except subprocess.TimeoutExpired:
            why = f"took longer than {_LONGEST} s"
        else:
            if done.returncode < 0:
                why = f"crashed (signal {-done.returncode})"
            elif done.returncode:
                told = scratch / "reason"
                reason = told.read_text(encoding="utf-8") if told.exists() else f"exit code {done.returncode}"
                why = f"failed ({reason})"
        outputs = []
        for place in range(len(pictures)):
            made = scratch / f"out{place}.npy"
            if made.exists():
                outputs.append(np.load(made))
        return outputs, why


def _main(path: str, engine: str, side: int, count: int, folder: str) -> int:
    scratch = Path(folder)
    try:
        opened = OnnxEngine(Path(path), engine=engine, side=side)
        for place in range(count):
            with np.load(scratch / f"in{place}.npz") as inputs:
                restored = opened.run(**inputs)["restored"]
            unfinished = scratch / "unfinished.npy"
            np.save(unfinished, restored)
            unfinished.replace(scratch / f"out{place}.npy")
    except UnhazeError as error:
        # the engine's own words: those around them advise people who were given a file
        lines = [line.strip() for line in str(error.__cause__ or error).splitlines()]
        said = [line for line in lines if line and not line.startswith(("Exception from ", "Check '"))]
        reason = said[0][:300].rstrip(".") if said else type(error).__name__
        (scratch / "reason").write_text(reason, encoding="utf-8")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(_main(*json.loads(sys.argv[1])))
