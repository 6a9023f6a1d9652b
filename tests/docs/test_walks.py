"""The walks that show a newcomer how to add something: their code is taken from the page and used."""

from __future__ import annotations

import importlib
import re
import sys
import textwrap

import numpy as np
import pytest
from tests.docs.blocks import ROOT

from unhaze.models import networks


def block_with(page, words):
    """The Python block of a page that holds ``words``."""
    text = (ROOT / page).read_text(encoding="utf-8")
    found = [block for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if words in block]
    assert len(found) == 1, f"{page} has {len(found)} blocks with {words}"
    return textwrap.dedent(" " * (len(found[0]) - len(found[0].lstrip())) + found[0].lstrip())


@pytest.fixture
def write_module(tmp_path, monkeypatch):
    """Puts a module into a room of unhaze for the time of a test."""

    def write(room, name, code):
        (tmp_path / f"{name}.py").write_text(code)
        package = importlib.import_module(room)
        monkeypatch.setattr(package, "__path__", [*package.__path__, str(tmp_path)])
        monkeypatch.delitem(sys.modules, f"{room}.{name}", raising=False)
        return f"{room}.{name}"

    yield write
    for name in [name for name in sys.modules if name.endswith((".newnet", ".newfusion"))]:
        del sys.modules[name]


def test_a_model_that_finds_haze():
    names = {"transmission": np.full((4, 6), 0.5, np.float32), "airlight": np.full(3, 0.9, np.float32)}
    exec(block_with("CONTRIBUTING.md", "class MyPrior"), names)
    assert names["MyPrior"].info.name == "mine"
    assert names["MyPrior"]().estimate(np.zeros((4, 6, 3), np.float32)).transmission.shape == (4, 6)


def test_a_network(write_module, monkeypatch):
    torch = pytest.importorskip("torch")
    module = write_module("unhaze.models", "newnet", block_with("CONTRIBUTING.md", "class NewNet"))
    monkeypatch.setitem(networks._NETWORKS, "newnet-s", f"{module}:newnet_s")
    networks._catalogue.cache_clear()
    import unhaze

    network = unhaze.create_model("newnet")
    networks._catalogue.cache_clear()
    assert network.name == "newnet-s"
    assert network.restore(torch.rand(1, 3, 9, 7)).image.shape == (1, 3, 9, 7)


def test_a_fusion_module(write_module):
    torch = pytest.importorskip("torch")
    from unhaze.types import DepthLevel, DepthMap

    module = importlib.import_module(
        write_module("unhaze.fusion", "newfusion", block_with("docs/fusion.md", "class NewFusion"))
    )
    from unhaze.models.guided import GuidedDehazer

    backbone = networks.create_network("aodnet-base")
    fusion = module.NewFusion(backbone.stages, (DepthLevel(1, 1),))
    image, depth = torch.rand(1, 3, 8, 8), DepthMap(torch.rand(1, 1, 8, 8), "relative")
    guided = GuidedDehazer(backbone, fusion).eval()
    assert torch.equal(guided.restore(image, depth).image, backbone.restore(image).image)
