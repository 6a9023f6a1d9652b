"""Exports hold what the network computes, say what they are, and run on pictures like the network itself."""

import errno
import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import unhaze
from unhaze.errors import (
    OutputError,
    OutputExistsError,
    UnknownNameError,
    UsageError,
    WeightsError,
    WeightsNotFoundError,
)
from unhaze.exporting.exporter import ExportRequest, export_model
from unhaze.restore.engines.exports import read_export


def picture(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def test_parity_is_measured_at_five_sizes_against_float64(exported):
    assert {row.engine for row in exported.parity} >= {"torch", "onnxruntime"}
    assert len({(row.height, row.width) for row in exported.parity}) == 5
    assert exported.agrees
    assert max(row.largest for row in exported.parity) < 1e-5
    assert min(row.largest for row in exported.parity) > 0, "float32 cannot equal float64 everywhere"
    report = json.loads(exported.files["report"].read_text())
    assert report["agrees"]
    assert len(report["parity"]) == len(exported.parity)


def test_a_wrong_engine_does_not_agree(weights):
    from unhaze.exporting.graph import ExportedGraph
    from unhaze.exporting.parity import measure_parity
    from unhaze.models import load_model

    graph = ExportedGraph(load_model(weights))

    def wrong(pictures):
        return [graph(*inputs).numpy() + np.float32(0.01) for inputs in pictures], None

    rows, failures = measure_parity(graph, {"wrong": wrong}, [(64, 64)])
    assert not rows[0].agrees
    assert failures == {}
    assert rows[0].largest == pytest.approx(0.01, rel=1e-2)


@pytest.fixture
def broken_openvino(tmp_path, monkeypatch):
    """Makes every process that imports OpenVINO do something else; unhaze takes it for installed."""

    def install(content):
        package = tmp_path / "broken" / "openvino"
        package.mkdir(parents=True)
        (package / "__init__.py").write_text(content)
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(package.parent), os.environ["PYTHONPATH"]])))
        for module in ("parity", "exporter"):
            monkeypatch.setattr(f"unhaze.exporting.{module}.installed_engines", lambda: ["onnxruntime", "openvino"])

    source = str(Path(unhaze.__file__).parents[1])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [source, os.environ.get("PYTHONPATH")])))
    return install


@pytest.mark.skipif(os.name == "nt", reason="Windows has no signals to die of")
def test_an_engine_that_crashes_is_a_line_of_the_report(weights, tmp_path, broken_openvino):
    broken_openvino("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    report = export_model(ExportRequest(None, weights, repeats=0), tmp_path / "out")
    assert report.failures == {"openvino": "crashed (signal 11)"}
    assert not report.agrees
    assert {row.engine for row in report.parity} == {"torch", "onnxruntime"}
    assert all(row.agrees for row in report.parity)
    written = json.loads(report.files["report"].read_text())
    assert (written["failures"], written["agrees"]) == (report.failures, False)
    assert report.files["onnx"].exists()


def test_what_no_engine_runs_leaves_nothing(weights, tmp_path, broken_openvino, monkeypatch):
    broken_openvino("raise RuntimeError('Exception from src/a.cpp:1:\\nit is broken.')")
    monkeypatch.setattr("unhaze.exporting.parity.installed_engines", lambda: ["openvino"])
    (tmp_path / "mine.txt").write_text("mine")
    for folder in (tmp_path, tmp_path / "new" / "out"):
        before = sorted(tmp_path.iterdir())
        with pytest.raises(
            UsageError, match=r"runs aodnet-base as exported \(openvino failed \(.*it is broken.*\)\); fix"
        ):
            export_model(ExportRequest(None, weights, repeats=0), folder)
        assert sorted(tmp_path.iterdir()) == before


def test_a_report_that_fails_leaves_what_was_there(weights, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    (tmp_path / "aodnet-base.onnx").write_bytes(b"of yesterday")
    monkeypatch.setattr("unhaze.exporting.parity.measure_parity", full)
    with pytest.raises(OutputError, match=r"aodnet-base\.onnx cannot be written \(No space"):
        export_model(ExportRequest(None, weights, repeats=0, overwrite=True), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["aodnet-base.onnx"]
    assert (tmp_path / "aodnet-base.onnx").read_bytes() == b"of yesterday"


def test_the_file_says_what_it_holds(exported, weights):
    import hashlib

    import onnx

    path = exported.files["onnx"]
    facts = read_export(path)
    assert (facts.name, facts.kind, facts.precision, facts.size) == ("aodnet-base", "network", "fp32", None)
    assert facts.hashes["weights"] == hashlib.sha256(weights.read_bytes()).hexdigest()
    assert facts.license == unhaze.model_info("aodnet").license
    assert facts.version == unhaze.__version__
    assert facts == exported.facts
    model = onnx.load(str(path))
    assert {each.key for each in model.metadata_props} >= {"unhaze", "name", "license", "sha256 of weights"}
    assert all(not node.doc_string for node in model.graph.node)


@pytest.mark.parametrize("shape", [(75, 101), (64, 64), (1, 1), (40, 7)])
def test_pictures_of_any_size_come_out_as_from_torch(exported, weights, shape):
    hazy = picture(*shape)
    expected = unhaze.dehaze(hazy, weights=weights)
    found = unhaze.dehaze(hazy, model=str(exported.files["onnx"]))
    assert np.abs(expected.astype(int) - found).max() <= 1
    assert (expected == found).mean() > 0.999


def test_tiles_change_nothing(exported):
    hazy = picture(150, 170)
    whole, tiled = (unhaze.Dehazer(str(exported.files["onnx"]), tile=tile)(hazy) for tile in (None, 48))
    assert (whole.info["tiles"], tiled.info["tiles"]) == (1, 16)
    assert np.abs(whole.image.astype(int) - tiled.image).max() <= 1


def test_a_part_of_onnxruntime_that_is_not_there_is_told(exported, caplog):
    dehazer = unhaze.Dehazer(str(exported.files["onnx"]), engine="tensorrt")
    assert dehazer.engine.provider == "CPUExecutionProvider"
    assert "TensorrtExecutionProvider is not there" in caplog.text


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"compile": True}, "compile is decided"),
        ({"device": "cuda"}, "--engine"),
        ({"depth": "compact"}, "takes none"),
        ({"color_blend": 0.5}, "color_blend"),
        ({"engine": "nonsense"}, "no engine"),
    ],
)
def test_options_that_mean_nothing_are_refused(exported, options, words):
    with pytest.raises(UsageError, match=words):
        unhaze.Dehazer(str(exported.files["onnx"]), **options)


@pytest.mark.slow
def test_int8_with_its_loss(weights, tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    for seed in range(5):
        small = Image.fromarray(picture(6, 8, seed)).resize((80, 60), Image.Resampling.BICUBIC)
        small.save(photos / f"{seed}.png")
    (photos / "broken.png").write_bytes(b"no picture")
    report = export_model(ExportRequest(None, weights, calibration=photos, repeats=0), tmp_path / "out")
    assert report.loss.held_out
    assert 25 < report.loss.worst <= report.loss.mean < 99
    assert report.files["onnx, int8"].stat().st_size
    assert read_export(report.files["onnx, int8"]).precision == "int8"
    hazy = np.array(Image.open(photos / "3.png")).astype(np.float32) / 255
    exact, coarse = (unhaze.Dehazer(str(report.files[role]))(hazy) for role in ("onnx", "onnx, int8"))
    assert (exact.info["precision"], coarse.info["precision"]) == ("fp32", "int8")
    error = np.square(exact.image.astype(float) - coarse.image).mean()
    assert -10 * np.log10(error) == pytest.approx(report.loss.mean, abs=1.0)  # 3.png is the one that was kept


@pytest.mark.slow
def test_pt2_gives_what_torch_gives_and_is_not_loaded_by_us(weights, tmp_path):
    import torch

    report = export_model(ExportRequest("aodnet", weights, format="pt2", repeats=0), tmp_path)
    path = report.files["pt2"]
    extra = {"unhaze.json": ""}
    program = torch.export.load(path, extra_files=extra)
    assert json.loads(extra["unhaze.json"])["name"] == "aodnet-base"
    assert program.module()(torch.rand(1, 3, 70, 90)).shape == (1, 3, 70, 90)
    assert {row.engine for row in report.parity} == {"torch", "pt2"}
    assert read_export(path) == report.facts
    with pytest.raises(UsageError, match="could run code"):
        unhaze.Dehazer(str(path))


@pytest.mark.slow
def test_a_fixed_size_is_kept(weights, tmp_path):
    report = export_model(ExportRequest(None, weights, size=(48, 64), repeats=0), tmp_path)
    model = str(report.files["onnx"])
    assert unhaze.dehaze(picture(48, 64), model=model).shape == (48, 64, 3)
    with pytest.raises(UsageError, match="64 x 48 only"):
        unhaze.dehaze(picture(50, 64), model=model)


@pytest.mark.slow
def test_time_and_memory_of_each_engine(weights, tmp_path):
    report = export_model(ExportRequest(None, weights, repeats=1, threads=1), tmp_path)
    rows = {row.engine: row for row in report.cost}
    assert set(rows) >= {"torch", "onnxruntime"}
    assert all(row.seconds > 0 for row in rows.values())
    assert rows["torch"].peak_memory is None or rows["torch"].peak_memory > rows["onnxruntime"].peak_memory


def test_the_default_is_exported_as_it_ships(tmp_path):
    report = export_model(ExportRequest("field-m"), tmp_path)
    hazy = picture(60, 80)
    with unhaze.Dehazer(str(report.files["onnx"])) as dehazer:
        assert dehazer.has_field
        np.testing.assert_array_equal(dehazer(hazy).image, unhaze.dehaze(hazy))


@pytest.mark.parametrize(
    ("request_", "error", "words"),
    [
        ({"model": "dcp"}, UsageError, "rule"),
        ({"model": "aodnet"}, WeightsNotFoundError, "--weights"),
        ({"model": "field-m", "format": "pt2"}, UsageError, "ships as ONNX"),
        ({"model": "aodnet", "format": "coreml"}, UnknownNameError, "format"),
        ({"model": "aodnet", "depth_as": "input"}, UsageError, "not told of depth"),
        ({"model": "aodnet", "depth_as": "beside"}, UnknownNameError, "depth"),
    ],
)
def test_what_cannot_be_exported_is_said_in_a_sentence(weights, tmp_path, request_, error, words):
    given = {} if request_ == {"model": "aodnet"} or request_["model"] in ("dcp", "field-m") else {"weights": weights}
    with pytest.raises(error, match=words):
        export_model(ExportRequest(**request_, **given), tmp_path)


def test_nothing_is_replaced_unasked(exported, weights):
    before = exported.files["onnx"].read_bytes()
    with pytest.raises(OutputExistsError, match="--overwrite"):
        export_model(ExportRequest(None, weights, repeats=0), exported.files["onnx"].parent)
    assert exported.files["onnx"].read_bytes() == before


def test_an_int8_file_is_not_replaced_either_and_that_is_said_before_the_work(weights, tmp_path):
    Image.fromarray(picture(60, 80)).save(tmp_path / "a.png")
    there = tmp_path / "aodnet-base.int8.onnx"
    there.write_bytes(b"mine")
    with pytest.raises(OutputExistsError, match=r"int8\.onnx exists.*--overwrite"):
        export_model(ExportRequest(None, weights, calibration=tmp_path, repeats=0), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", there.name]
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(UsageError, match="no pictures to calibrate with"):
        export_model(ExportRequest(None, weights, calibration=empty, repeats=0), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("content", [b"", b"no network", b"\x08\x07"])
def test_a_file_that_is_no_export_is_refused(tmp_path, content):
    path = tmp_path / "a.onnx"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=r"a\.onnx"):
        unhaze.Dehazer(str(path))
    with pytest.raises(WeightsNotFoundError, match=r"b\.onnx"):
        unhaze.Dehazer(str(tmp_path / "b.onnx"))


@pytest.mark.slow
def test_a_network_with_depth_as_an_input(tmp_path):
    import torch

    from unhaze.models import create_model, save_model

    torch.manual_seed(0)
    model = create_model("aodnet+concat", "compact")
    with torch.no_grad():  # fresh fusions add nothing
        for parameter in model.fusions.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    path = save_model(model, tmp_path / "fused.safetensors")
    report = export_model(ExportRequest(None, path, repeats=0), tmp_path / "out")
    assert report.agrees
    assert report.facts.depth == "input"
    hazy = picture(60, 77)
    expected = unhaze.Dehazer(weights=path)(hazy)
    found = unhaze.Dehazer(str(report.files["onnx"]))(hazy)
    assert np.abs(expected.image.astype(int) - found.image).max() <= 1
    np.testing.assert_array_equal(expected.depth.map, found.depth.map)
    plain = unhaze.dehaze(hazy, model=str(report.files["onnx"]), depth=None)
    np.testing.assert_array_equal(plain, found.image)
    Image.fromarray(hazy).save(tmp_path / "a.png")
    with pytest.raises(UsageError, match="not quantised"):
        export_model(ExportRequest(None, path, calibration=tmp_path, repeats=0), tmp_path / "int8")
    assert not (tmp_path / "int8").exists()


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="only Linux has a folder where nobody may write")
def test_a_folder_where_nothing_can_be_written_is_said_in_a_sentence():
    with pytest.raises(OutputError, match=r"field-m\.onnx cannot be written"):
        export_model(ExportRequest("field-m"), "/proc/self")
