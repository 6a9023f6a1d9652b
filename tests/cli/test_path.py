"""The way of one picture through the house: every call goes down, and it is no longer than it was.

The aim is nine calls deep and 150 functions; the limits here are what is reached, to be lowered, never raised.
Counted are functions with a name: what a comprehension or a lambda does stands where it is read, and whether a
comprehension is a call depends on the version of Python.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

DEEPEST, FUNCTIONS = 9, 178
ROOT = Path(__file__).parents[2]

TRACE = """
import json, sys, threading
import unhaze.cli, unhaze.cli.run, unhaze.batch.workers, unhaze.restore.dehazer, unhaze.default.model
from pathlib import Path
from scripts.house import read_levels, room_of
import tomllib
contracts = tomllib.loads(Path("pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
levels = read_levels(next(each["layers"] for each in contracts if each["type"] == "rooms"))
package = str(Path(unhaze.__file__).parent)
functions, upward, deepest = set(), set(), 0

def see(frame, event, _):
    global deepest
    if event != "call" or not frame.f_code.co_filename.startswith(package) or frame.f_code.co_name == "<module>":
        return
    chain = []
    while frame is not None:
        if frame.f_code.co_filename.startswith(package):
            if frame.f_code.co_name == "<module>":
                return
            if not frame.f_code.co_name.startswith("<"):
                chain.append((frame.f_globals["__name__"], frame.f_code.co_qualname))
        frame = frame.f_back
    if not chain:
        return
    functions.add(chain[0])
    deepest = max(deepest, len(chain))
    if len(chain) > 1:
        callee, caller = (room_of(name, levels) for name, _ in chain[:2])
        if callee and caller and levels[callee] < levels[caller]:
            upward.add(" -> ".join((".".join(chain[1]), ".".join(chain[0]))))

sys.argv = ["unhaze", "run", sys.argv[1], "--quiet"]
threading.setprofile(see)
sys.setprofile(see)
try:
    unhaze.cli.main()
except SystemExit:
    pass
finally:
    sys.setprofile(None)
    threading.setprofile(None)
print(json.dumps([len(functions), deepest, sorted(upward)]))
"""


def test_one_picture_goes_down_through_the_rooms(tmp_path):
    pixels = np.random.default_rng(0).integers(60, 200, (64, 96, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "x.jpg")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "src")])}
    done = subprocess.run(
        [sys.executable, "-c", TRACE, tmp_path / "x.jpg"], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert (tmp_path / "x-dehazed.jpg").exists(), done.stderr
    functions, deepest, upward = json.loads(done.stdout)
    assert not upward
    assert deepest <= DEEPEST
    assert functions <= FUNCTIONS
