"""The engines behind trained methods: which one is taken, and that they agree."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from tests.patience import HUNG

from unhaze.errors import MissingDependencyError, MissingError, UnknownNameError
from unhaze.restore.engines import onnx as onnx_engine
from unhaze.restore.engines.onnx import ENGINE_VARIABLE, OnnxEngine, close_engines, installed_engines, resolve_engine

WEIGHTS = Path(str(files("unhaze.default") / "field-m.onnx"))

needs_openvino = pytest.mark.skipif(
    find_spec("openvino") is None, reason="OpenVINO is not installed: pip install 'unhaze[openvino]'"
)
ALL = ["onnxruntime", pytest.param("openvino", marks=needs_openvino)]


@pytest.fixture(autouse=True)
def _no_wish_of_the_environment(monkeypatch):
    monkeypatch.delenv(ENGINE_VARIABLE, raising=False)


@pytest.fixture
def installed(monkeypatch):
    """Sets which engines seem to be installed."""
    return lambda *names: monkeypatch.setattr(onnx_engine, "find_spec", lambda name: name if name in names else None)


def view(seed=0, rows=96, columns=128):
    return np.random.default_rng(seed).random((1, 3, rows, columns), np.float32)


@pytest.mark.parametrize(
    ("there", "wish", "variable", "expected"),
    [
        (("onnxruntime",), "auto", None, "onnxruntime"),
        (("onnxruntime", "openvino"), "auto", None, "openvino"),
        (("onnxruntime", "openvino"), "onnxruntime", None, "onnxruntime"),
        (("onnxruntime", "openvino"), "auto", "onnxruntime", "onnxruntime"),
        (("onnxruntime", "openvino"), "auto", "auto", "openvino"),
        (("onnxruntime", "openvino"), "auto", "", "openvino"),
        (("onnxruntime", "openvino"), "openvino", "onnxruntime", "openvino"),
        (("openvino",), "auto", None, "openvino"),
    ],
)
def test_which_engine_is_taken(installed, monkeypatch, there, wish, variable, expected):
    installed(*there)
    if variable is not None:
        monkeypatch.setenv(ENGINE_VARIABLE, variable)
    assert resolve_engine(wish) == expected


def test_unknown_and_missing_engines_are_reported(installed, monkeypatch):
    with pytest.raises(UnknownNameError, match="did you mean openvino"):
        resolve_engine("openvno")
    installed("onnxruntime")
    with pytest.raises(MissingDependencyError, match=r"pip install 'unhaze\[openvino\]'"):
        OnnxEngine(WEIGHTS, engine="openvino")
    installed()
    with pytest.raises(MissingError, match="pip install onnxruntime"):
        resolve_engine()
    monkeypatch.setenv(ENGINE_VARIABLE, "tvm")
    with pytest.raises(UnknownNameError, match="no engine named 'tvm'"):
        resolve_engine()


def test_nothing_is_imported_before_the_first_picture():
    code = (
        "import sys; from unhaze import Dehazer; d = Dehazer('field-m');"
        "import numpy as np; found = {'onnxruntime', 'openvino', 'torch'} & set(sys.modules); assert not found, found;"
        "d(np.zeros((8, 8, 3), np.uint8)); assert {'onnxruntime', 'openvino'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=HUNG)


@pytest.mark.parametrize("name", ALL)
def test_what_runs_is_reported(name):
    info = OnnxEngine(WEIGHTS, engine=name, threads=1).info
    assert info.name == name
    assert info.version[0].isdigit()
    assert info.provider == {"onnxruntime": "CPUExecutionProvider", "openvino": "CPU, f32"}[name]
    assert str(info) == f"{name} {info.version} ({info.provider})"


@needs_openvino
@pytest.mark.parametrize("size", [(32, 32), (96, 128), (160, 224)])
def test_openvino_agrees_with_onnxruntime(size):
    """To the precision of float32; with the precision that OpenVINO prefers on new processors this fails by far."""
    expected, found = (
        OnnxEngine(WEIGHTS, engine=name).run(view=view(1, *size)) for name in ("onnxruntime", "openvino")
    )
    assert list(expected) == list(found)
    for name, each in expected.items():
        np.testing.assert_allclose(found[name], each, atol=2e-5, err_msg=name)


@needs_openvino
def test_openvino_reports_nothing_to_its_maker(tmp_path):
    code = (
        "import sys; from pathlib import Path; from unhaze.restore.engines.onnx import OnnxEngine;"
        "OnnxEngine(Path(sys.argv[1]), engine='openvino').info; assert 'openvino_telemetry' not in sys.modules"
    )
    environment = {"HOME": str(tmp_path), "PYTHONPATH": str(Path(onnx_engine.__file__).parents[3])}
    subprocess.run([sys.executable, "-c", code, str(WEIGHTS)], check=True, timeout=HUNG, env=environment)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("threads", [1, 2])
def test_threads_get_what_one_call_gets(name, threads):
    engine = OnnxEngine(WEIGHTS, engine=name, threads=threads)
    views = [view(seed) for seed in range(3)]
    expected = [engine.run(view=each)["transmission"] for each in views]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda i: engine.run(view=views[i % 3])["transmission"], range(12)))
    for i, each in enumerate(found):
        np.testing.assert_array_equal(each, expected[i % 3])


@pytest.mark.parametrize("name", ALL)
def test_first_calls_may_come_from_several_threads(name):
    """In a process of its own, as only the first calls are at risk, and with an end while threads may still live."""
    code = (
        "import sys, threading; from pathlib import Path; import numpy as np;"
        "from unhaze.restore.engines.onnx import OnnxEngine;"
        "engine = OnnxEngine(Path(sys.argv[1]), engine=sys.argv[2], threads=1);"
        "x = np.zeros((1, 3, 64, 96), np.float32);"
        "work = [threading.Thread(target=lambda: engine.run(view=x), daemon=True) for _ in range(4)];"
        "[each.start() for each in work]; [each.join() for each in work]"
    )
    subprocess.run([sys.executable, "-c", code, str(WEIGHTS), name], check=True, timeout=HUNG)


def test_a_file_is_opened_once_until_it_changes(tmp_path):
    first, second = (OnnxEngine(WEIGHTS, engine="onnxruntime", threads=1) for _ in range(2))
    assert first.open() is second.open()
    assert first.open() is not OnnxEngine(WEIGHTS, engine="onnxruntime", threads=2).open()
    copy = tmp_path / "copy.onnx"
    copy.write_bytes(WEIGHTS.read_bytes())
    before = OnnxEngine(copy, engine="onnxruntime", threads=1).open()
    copy.write_bytes(b"not a network")
    with pytest.raises(MissingError, match=r"copy\.onnx cannot be run \(onnxruntime"):
        OnnxEngine(copy, engine="onnxruntime", threads=1).run(view=view())
    assert before is not None


def broken(*_):
    raise ImportError("libtbb is broken\nin detail")


def test_a_broken_openvino_gives_way_unless_it_was_asked_for(installed, monkeypatch):
    installed("openvino", "onnxruntime")
    monkeypatch.setitem(onnx_engine._OPENERS, "openvino", broken)
    close_engines()
    engine = OnnxEngine(WEIGHTS)
    assert engine.name == "openvino"
    assert engine.info.name == engine.name == "onnxruntime"
    with pytest.raises(MissingError, match=r"\(openvino: libtbb is broken\); install openvino again") as caught:
        OnnxEngine(WEIGHTS, engine="openvino").info  # noqa: B018
    assert "\n" not in str(caught.value)
    monkeypatch.setenv(ENGINE_VARIABLE, "openvino")
    with pytest.raises(MissingError, match="libtbb"):
        OnnxEngine(WEIGHTS).info  # noqa: B018
    close_engines()


def test_onnxruntime_is_always_there():
    """It is a dependency of the core."""
    assert "onnxruntime" in installed_engines()


def test_onnxruntime_neither_reports_nor_leaves_an_id(tmp_path):
    """It has telemetry, on by default, whose session file lies in the folder of temporary files."""
    code = "import unhaze, numpy, os; unhaze.dehaze(numpy.zeros((8, 8, 3), 'uint8'), engine='onnxruntime')"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ORT_")}
    environment |= {"TMPDIR": str(tmp_path), "HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    code += "; assert os.environ['ORT_DISABLE_TELEMETRY'] == '1'"
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)
    assert list(tmp_path.rglob("*")) == []


def test_engines_are_opened_again_after_they_were_closed():
    engine = OnnxEngine(WEIGHTS, engine="onnxruntime", threads=1)
    before = engine.run(view=view())
    opened = engine.open()
    close_engines()
    again = OnnxEngine(WEIGHTS, engine="onnxruntime", threads=1)
    assert again.open() is not opened
    after = again.run(view=view())
    assert all(np.array_equal(before[name], after[name]) for name in before)
    assert engine.run(view=view()).keys() == before.keys()  # one that is in use stays
