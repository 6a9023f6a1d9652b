"""Networks as onnxruntime has prepared them for this processor, kept on disk: they open in half the time.

They lie in ``engines`` of the folder that ``UNHAZE_CACHE`` names, else of ``~/.cache/unhaze``, and are read only where
they are the user's own. Where nothing can be kept nothing is said, for nothing is lost but time.
"""

from __future__ import annotations

import os
import platform
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from typing import Any

__all__ = ["CACHE_VARIABLE", "kept_place", "open_session"]

CACHE_VARIABLE = "UNHAZE_ENGINE_CACHE"  # "off": nothing is kept, and what is kept is not used
_MOST_KEPT = 4  # files; each takes twice the room of its network
_STALE = 3600.0  # [s] after which no process can still be preparing a network
_LARGEST = 1 << 26  # [bytes]; larger networks take so long to run that opening them does not matter


def open_session(weights: Path, place: Path | None, options: Any, providers: Sequence[str]) -> Any:
    """An ``onnxruntime.InferenceSession`` on the processor, from what is kept of a network, else from its file.

    Args:
        weights: The ONNX file.
        place: What is prepared of it is kept here for the next time; ``None`` keeps nothing.
        options: ``onnxruntime.SessionOptions``; changed here.
        providers: As onnxruntime takes them.
    """
    onnxruntime = import_module("onnxruntime")
    if place is not None:
        with suppress(Exception):  # whatever is wrong with a kept file, there is the network's own
            if not hasattr(os, "geteuid") or place.stat().st_uid == os.geteuid():
                usual = options.graph_optimization_level
                options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL  # it was done
                try:
                    return onnxruntime.InferenceSession(str(place), options, providers=providers)
                finally:
                    options.graph_optimization_level = usual
        with suppress(Exception):  # neither a full disk nor a folder that cannot be written may keep a picture hazy
            place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            number, name = tempfile.mkstemp(".part", f".{place.stem}.", place.parent)
            os.close(number)
            temporary = Path(name)
            try:
                options.optimized_model_filepath = str(temporary)
                session = onnxruntime.InferenceSession(str(weights), options, providers=providers)
                temporary.replace(place)
            finally:
                temporary.unlink(missing_ok=True)
            with suppress(OSError):  # another process may tidy, too
                kept = sorted(place.parent.glob("*.onnx"), key=lambda each: each.stat().st_mtime, reverse=True)
                begun = (each for each in place.parent.glob(".*.part") if time.time() - each.stat().st_mtime > _STALE)
                for old in (*kept[_MOST_KEPT:], *begun):  # begun by processes that were killed
                    old.unlink(missing_ok=True)
            return session
        options.optimized_model_filepath = ""
    return onnxruntime.InferenceSession(str(weights), options, providers=providers)


def kept_place(weights: Path, version: str) -> Path | None:
    """Where a network is kept, or is to be; ``None`` where it is not to be.

    The name follows from the file and its state, the version of onnxruntime and the processor: what was prepared for
    one need not run on another.

    Args:
        weights: The ONNX file.
        version: onnxruntime's.
    """
    if os.environ.get(CACHE_VARIABLE, "").lower() in ("off", "0", "no"):
        return None
    try:
        state = weights.stat()
        home = Path(os.environ.get("UNHAZE_CACHE") or Path.home() / ".cache" / "unhaze").expanduser()
        processor = os.environ.get("PROCESSOR_IDENTIFIER", "")  # of Windows
        if sys.platform == "linux":
            with Path("/proc/cpuinfo").open("rb") as stream:  # the first core speaks for all
                told = stream.read(4096).partition(b"\n\n")[0].splitlines()
            known = (b"vendor_id", b"model name", b"flags", b"Features", b"CPU part")
            processor = str([line for line in told if line.startswith(known)])
    except (OSError, RuntimeError):  # no file, or no home
        return None
    if state.st_size > _LARGEST:
        return None
    facts = (str(weights.resolve()), state.st_size, state.st_mtime_ns, version, platform.machine(), processor)
    return home / "engines" / f"{weights.stem}-{sha256(repr(facts).encode()).hexdigest()[:24]}.onnx"
