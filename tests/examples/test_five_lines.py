"""The ways of timm, torchmetrics and rembg: each example runs as it stands."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

EXAMPLES = Path(__file__).parents[2] / "examples"


def run(name, monkeypatch, capsys, *arguments):
    monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
    runpy.run_path(str(EXAMPLES / name), run_name="__main__")
    return capsys.readouterr().out


def test_as_in_timm(monkeypatch, capsys):
    pytest.importorskip("torch")
    assert "dehazeformer-t (1, 3, 64, 96)" in run("as_in_timm.py", monkeypatch, capsys)


def test_as_in_torchmetrics(monkeypatch, capsys):
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    *batches, whole = run("as_in_torchmetrics.py", monkeypatch, capsys).splitlines()
    of_batches = [float(line.split()[-2]) for line in batches]
    assert float(whole.split()[2]) == pytest.approx(sum(of_batches) / 2, abs=0.01)


def test_as_in_rembg(monkeypatch, capsys, tmp_path):
    pixels = np.random.default_rng(0).integers(120, 230, (48, 64, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "in.png")
    assert "(64, 48)" in run("as_in_rembg.py", monkeypatch, capsys, tmp_path / "in.png", tmp_path / "out.png")
    with Image.open(tmp_path / "out.png") as written:
        assert written.size == (64, 48)
