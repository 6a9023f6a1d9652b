"""How much of unhaze a reader of a small training has to follow, traced.

The order of the layers is that of import-linter's contract in ``pyproject.toml``: what holds for imports holds for
calls. A call counts from the nearest function of unhaze that is waiting for it, also where torch or the standard
library stand between. Imports are left out.
"""

import re
import sys
import tomllib
from pathlib import Path

import pytest
import torch
import typer
from typer.testing import CliRunner

import unhaze
from unhaze.cli.train import train
from unhaze.recipes import supervised
from unhaze.recipes.presets import list_presets, override, preset
from unhaze.training.distributed import is_main

PACKAGE = Path(unhaze.__file__).parent
PYPROJECT = Path(__file__).parents[2] / "pyproject.toml"
ROOMS = ("unhaze.cli", "unhaze.recipes", "unhaze.training")  # a training's own


def layer_order():
    """Module or package to the number of its layer, 0 the uppermost."""
    contracts = tomllib.loads(PYPROJECT.read_text("utf-8"))["tool"]["importlinter"]["contracts"]
    (layers,) = (contract["layers"] for contract in contracts if contract["type"] == "rooms")
    return {name.strip(): i for i, row in enumerate(layers) for name in row.split("|")}


def layer_of(module, order):
    if f"={module}" in order:
        return order[f"={module}"]
    while module and module not in order:
        module = module.rpartition(".")[0]
    return order.get(module)


class Trace:
    """Calls of functions of unhaze while this lasts.

    Attributes:
        deepest: The longest chain of functions in a training's own rooms, with the one that it calls in another room.
        files: Files of the functions in such chains.
        all_files: Files of all functions.
        upward: Calls from a lower layer to a higher one, as (caller, callee).
    """

    def __init__(self):
        self.order, self.deepest, self.files, self.all_files, self.upward = layer_order(), [], set(), set(), set()

    def __enter__(self):
        sys.setprofile(self._see)
        return self

    def __exit__(self, *_):
        sys.setprofile(None)

    def _see(self, frame, event, _argument):
        code = frame.f_code
        if event != "call" or not code.co_filename.startswith(str(PACKAGE)) or code.co_name == "<module>":
            return
        chain = []
        while frame is not None:
            if frame.f_code.co_filename.startswith("<frozen importlib"):
                return
            if frame.f_code.co_filename.startswith(str(PACKAGE)):
                chain.append((frame.f_globals["__name__"], frame.f_code.co_qualname))
            frame = frame.f_back
        self.all_files.add(code.co_filename)
        if all(module.startswith(ROOMS) for module, _ in chain[1:]):
            self.files.add(code.co_filename)
            self.deepest = max(self.deepest, chain[::-1], key=len)
        if len(chain) > 1:
            callee, caller = chain[:2]
            if layer_of(callee[0], self.order) < layer_of(caller[0], self.order):
                self.upward.add((".".join(caller), ".".join(callee)))


@pytest.fixture(scope="module", autouse=True)
def _torch_is_loaded():
    """What torch imports when an optimiser takes its first step is not traced, which saves half a minute."""
    weight = torch.nn.Parameter(torch.ones(1))
    weight.sum().backward()
    torch.optim.AdamW([weight]).step()


SETTINGS = {
    "network": "aodnet",
    "data.dataset": "folders",
    "data.split": "",
    "data.crop": "32",
    "data.batch": "2",
    "data.held_out": "1",
    "loop.steps": "2",
    "loop.checkpoint_every": "1",
}


def by_recipe(data, out):
    _, config = preset("supervised-small")
    config = override(config, SETTINGS)
    with Trace() as trace:
        supervised.main(config, data, out)
    return trace


def by_command(data, out):
    app = typer.Typer()
    app.command()(train)
    changes = [word for key, value in SETTINGS.items() for word in ("--set", f"{key}={value}")]
    with Trace() as trace:
        result = CliRunner().invoke(app, ["supervised-small", "--data", str(data), "--out", str(out), *changes])
    assert result.exception is None
    return trace


@pytest.mark.parametrize(("enter", "files"), [(by_recipe, 22), (by_command, 29)])
def test_a_training_is_followed_through_few_files_and_calls_downward_only(enter, files, pairs_folder, tmp_path):
    """Two steps with a validation and two checkpoints; the command adds settings by name and the report."""
    trace = enter(pairs_folder, tmp_path / "run")
    assert (tmp_path / "run/weights.safetensors").exists()
    assert not trace.upward
    assert len(trace.deepest) <= 8, trace.deepest
    own = sorted(str(Path(name).relative_to(PACKAGE)) for name in trace.files)
    assert len(own) <= files, own
    assert {"recipes/supervised.py", "training/record.py", "training/steps.py"} <= set(own)
    assert len(trace.all_files) <= 55  # other rooms' ways of their own, such as from a PNG file to pixels


def test_an_upward_call_is_seen():
    """The measure can fail: a callback that a caller of a higher layer hands down."""
    hand_down = type(is_main)(
        compile("def f(call):\n    call()\n", str(PACKAGE / "training/toy.py"), "exec").co_consts[0],
        {"__name__": "unhaze.training.toy"},
    )
    with Trace() as trace:
        hand_down(list_presets)
    assert trace.upward == {("unhaze.training.toy.f", "unhaze.recipes.presets.list_presets")}


def test_every_recipe_is_one_file_that_is_read_from_top_to_bottom():
    for path in (PACKAGE / "recipes").glob("*.py"):
        text = path.read_text("utf-8")
        if path.name != "__init__.py":
            assert text.count("\n") <= 300, path.name
            assert all(f"\ndef {name}(" in text for name in ("step", "train", "main")), path.name
            assert re.search(r"values = step\(state, .+, config\)", text), path.name
            assert "Callable" not in text, path.name
