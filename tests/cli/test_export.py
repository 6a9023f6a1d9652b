"""``unhaze export`` as a user takes it."""

import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image


def unhaze(*arguments, cwd):
    command = [sys.executable, "-m", "unhaze", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


def test_a_model_is_exported_and_run(tmp_path):
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)).save(tmp_path / "a.png")
    done = unhaze("export", "field-m", "-o", "out", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["facts"]["kind"] == "haze"
    run = unhaze("run", "a.png", "--model", "out/field-m.onnx", "-o", "b.png", cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    plain = unhaze("run", "a.png", "-o", "c.png", cwd=tmp_path)
    assert plain.returncode == 0, plain.stderr
    assert (tmp_path / "b.png").read_bytes() == (tmp_path / "c.png").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["-o", "out"], 2, "Missing argument MODEL"),
        (["aodnet", "-o", "out"], 3, "--weights"),
        (["aodnet", "-o", "out", "--int8"], 2, "--calibrate"),
        (["aodnet", "-o", "out", "--weights", "w", "--size", "12"], 2, "768x512"),
        (["dcp", "-o", "out"], 2, "nothing to export"),
    ],
)
def test_mistakes_are_told_in_a_sentence(tmp_path, arguments, code, words):
    done = unhaze("export", *arguments, cwd=tmp_path)
    assert (done.returncode, words in done.stderr, "Traceback" in done.stderr) == (code, True, False), done.stderr
