"""Fail if an installed package drags in CUDA or torchvision, or if light commands import torch.

Run by continuous integration, on machines without a GPU.
"""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import distributions

FORBIDDEN = {"torchvision", "timm", "basicsr", "mmcv", "lightning", "pytorch-lightning", "pyiqa", "triton"}
FORBIDDEN_PREFIXES = ("nvidia-", "cuda-")
LIGHT = ("import unhaze", "from unhaze.cli import main; import sys; sys.argv = ['unhaze', '--help']; main()")
PROBE = """
import atexit, os, sys
def check():
    heavy = sorted({"torch", "cv2", "numpy", "PIL", "onnxruntime", "openvino"} & set(sys.modules))
    if heavy:
        print("imported:", *heavy, file=sys.stderr, flush=True)
        os._exit(9)
atexit.register(check)
"""


def main() -> int:
    """Print what is wrong; 0 if nothing is."""
    names = {(distribution.metadata["Name"] or "").lower() for distribution in distributions()}
    found = sorted(name for name in names if name in FORBIDDEN or name.startswith(FORBIDDEN_PREFIXES))
    problems = [f"forbidden package installed: {name}" for name in found]
    for command in LIGHT:
        run = subprocess.run([sys.executable, "-c", PROBE + command], capture_output=True, text=True, check=False)
        if run.returncode:
            problems.append(f"{command!r} fails or imports something heavy: {run.stderr.strip()}")
    print("\n".join(problems) or "environment is clean")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
