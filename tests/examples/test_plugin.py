"""The sample plug-in is built, installed in an environment of its own, and used through the public doors."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]
PLUGIN = ROOT / "examples" / "plugin"

USE = """
import json, numpy as np, torch, unhaze
from unhaze.models import create_model, list_models, model_info
hazy = np.random.default_rng(0).integers(90, 250, (40, 60, 3), np.uint8)
network = create_model("residual-tiny")
guided = create_model("residual-tiny+depthgain")
image, depth = torch.rand(1, 3, 16, 16), unhaze.DepthMap(torch.rand(1, 1, 16, 16), "relative")
network.load_state_dict(guided.backbone.state_dict())
contrast = unhaze.metrics.create_metric("contrast")
contrast.update(torch.tensor([0.2, 0.8]).view(1, 1, 1, 2).expand(1, 3, 1, 2))
print(json.dumps({
    "listed": sorted({"brightest", "residual-tiny"} & set(list_models())),
    "kinds": [model_info("brightest").kind, model_info("residual-tiny").kind],
    "changed": bool((unhaze.Dehazer("brightest")(hazy).image != hazy).any()),
    "name": network.name,
    "same at first": bool(torch.equal(network.restore(image).image, guided.restore(image, depth).image)),
    "contrast": round(contrast.compute(), 6),
}))
"""


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """A fresh virtual environment that borrows the libraries of this one, with unhaze and the plug-in installed."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False)
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    ask = "import sysconfig; print(sysconfig.get_path('purelib'))"
    site = Path(subprocess.run([python, "-c", ask], capture_output=True, text=True, check=True).stdout.strip())
    pip, plain = [sys.executable, "-m", "pip"], ["--quiet", "--no-deps", "--disable-pip-version-check"]
    wheels = folder / "wheels"
    subprocess.run([*pip, "wheel", *plain, "--no-build-isolation", "-w", wheels, ROOT, PLUGIN], check=True)
    subprocess.run([*pip, "--python", python, "install", *plain, *wheels.glob("*.whl")], check=True)
    # what unhaze and the plug-in need lies in the environment that runs the tests
    (site / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python


def run(python, *arguments):
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run([python, *map(str, arguments)], capture_output=True, text=True, env=clean, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_all_four_are_used_by_name(environment):
    pytest.importorskip("torch")
    assert json.loads(run(environment, "-c", USE)) == {
        "listed": ["brightest", "residual-tiny"],
        "kinds": ["classic", "network"],
        "changed": True,
        "name": "residual-tiny",
        "same at first": True,
        "contrast": 0.3,
    }


def test_commands_take_them(environment, tmp_path):
    picture = tmp_path / "hazy.png"
    Image.fromarray(np.random.default_rng(0).integers(90, 250, (40, 60, 3), np.uint8)).save(picture)
    assert "brightest" in run(environment, "-m", "unhaze", "models", "list")
    run(environment, "-m", "unhaze", "run", picture, "--model", "brightest", "--quiet")
    assert (tmp_path / "hazy-dehazed.png").is_file()
    if pytest.importorskip("torch"):
        assert "contrast" in run(environment, "-m", "unhaze", "metric", "contrast", picture)
