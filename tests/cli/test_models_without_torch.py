"""What is told of networks where torch is not installed."""

from __future__ import annotations

import json
import subprocess
import sys

from unhaze import list_models
from unhaze.models.networks import list_networks

ASK = """
import json, sys
sys.modules["torch"] = None
from typer.testing import CliRunner
from unhaze.cli import app
told = {}
for line in sys.stdin.read().splitlines():
    result = CliRunner().invoke(app, line.split())
    told[line] = [result.exit_code, result.stdout, result.stderr]
print(json.dumps(told))
"""


def ask(environment, *lines):
    done = subprocess.run(
        [sys.executable, "-c", ASK], input="\n".join(lines), env=environment, capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


def test_all_that_can_be_known_is_told(environment):
    lines = [f"models info {name}" for name in list_models()]
    told = ask(environment, "models list", "models list --json", "models info aodnet --json", *lines)
    assert {line: code for line, (code, _, _) in told.items() if code} == {}
    assert {entry["name"] for entry in json.loads(told["models list --json"][1])} >= set(list_networks())
    facts = json.loads(told["models info aodnet --json"][1])
    assert (facts["parameters"], facts["contract"]["tiling"], facts["stages"][0]["name"]) == (1761, 7, "enc1")
    assert facts["card"]["weights"][0]["files"] == "dehazer.pth"
    for fact in ("Licence of the code: MIT", "Weights: https://", "Tiles: yes, with an overlap of 7 pixels"):
        assert fact in told["models info aodnet-base"][1]


def test_what_needs_torch_names_it(environment):
    told = ask(environment, "models info aodnet-base+hgdf", "models info gcanat", "models verify weights.pth")
    assert [code for code, _, _ in told.values()] == [3, 2, 3]
    assert "pip install 'unhaze[torch]'" in told["models info aodnet-base+hgdf"][2]
    assert "did you mean gcanet-base" in told["models info gcanat"][2]
