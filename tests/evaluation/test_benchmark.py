import json
import math
import os
import shutil

import pytest
from PIL import Image

from unhaze.errors import OutputError, UnknownNameError, UsageError
from unhaze.evaluation import _planning, _workers
from unhaze.evaluation.benchmark import (
    RECORDS_FILE,
    Benchmark,
    Run,
    dataset_folders,
    plan_benchmark,
    restored_picture,
    run_benchmark,
)
from unhaze.evaluation.protocols import get_protocol
from unhaze.evaluation.scoring import read_batch, score_picture

METRICS = ("psnr", "ssim", "fade", "clipped")


def benchmark(folder, *labels, **options):
    options = {"targets": folder / "gt", "hazy": folder / "hazy", "metrics": METRICS, **options}
    return Benchmark(tuple(Run(label, results=folder / label) for label in labels), **options)


def messages(outcome):
    return {(failure.run, failure.name): failure.message for failure in outcome.failures}


def test_scores_are_those_of_single_pictures(dataset, tmp_path):
    plan = plan_benchmark(benchmark(dataset, "good", "bad"))
    outcome = run_benchmark(plan, tmp_path / "out")
    assert len(outcome.scores) == len(plan.cases) == 12
    assert not outcome.failures
    case, scores = outcome.scored("bad")[3]
    assert (case.name, case.scene) == ("1_2", "1")
    expected = score_picture(
        read_batch((dataset / "bad/1_2.png").read_bytes()),
        target=read_batch((dataset / "gt/1.png").read_bytes()),
        hazy=read_batch((dataset / "hazy/1_2.png").read_bytes()),
        protocol=get_protocol("full8bit"),
        metrics=METRICS,
    )
    assert scores == expected


def test_no_reference_metrics_need_no_targets(dataset, tmp_path):
    plan = plan_benchmark(Benchmark((Run("good", results=dataset / "good"),), protocol="dcmpnet"))
    assert plan.metrics == ("niqe", "piqe", "fade")
    outcome = run_benchmark(plan, tmp_path / "out")
    scores = outcome.scored("good")[0][1]
    assert set(scores.values) == {"piqe", "fade"}
    assert "256" in scores.errors["niqe"]  # the pictures are too small for it, and that is said


def test_methods_are_run_on_the_hazy_pictures(dataset, tmp_path):
    runs = (Run("dcp", model="dcp", options={"strength": 0.0}), Run("copy", results=dataset / "hazy"))
    plan = plan_benchmark(Benchmark(runs, targets=dataset / "gt", hazy=dataset / "hazy", metrics=METRICS))
    outcome = run_benchmark(plan, tmp_path / "out")
    method, copy = outcome.scored("dcp"), outcome.scored("copy")
    assert [scores.values for _, scores in method] == [scores.values for _, scores in copy]
    assert all(scores.values["clipped"] == 0 for _, scores in method)
    assert restored_picture(method[0][0]).shape == (1, 3, 48, 64)


def test_options_of_a_method_are_part_of_the_key(dataset):
    def key(strength):
        runs = (Run("dcp", model="dcp", options={"strength": strength}),)
        return plan_benchmark(Benchmark(runs, hazy=dataset / "hazy", metrics=("fade",))).cases[0].key

    assert key(0.5) != key(1.0)
    assert key(0.5) == key(0.5)


def test_corrupt_pictures_are_named_and_the_others_go_on(dataset, tmp_path):
    (dataset / "good/0_1.png").write_bytes(b"")
    (dataset / "good/0_2.png").write_bytes((dataset / "good/0_2.png").read_bytes()[:200])
    (dataset / "gt/2.png").write_text("not a picture")
    (dataset / "good/9_1.png").write_bytes((dataset / "good/1_1.png").read_bytes())
    Image.new("RGB", (60, 48)).save(dataset / "good/1_2.png")
    outcome = run_benchmark(plan_benchmark(benchmark(dataset, "good")), tmp_path / "out")
    found = messages(outcome)
    assert [name for _, name in found] == ["0_1", "0_2", "1_2", "2_1", "2_2", "9_1"]
    assert "result" in found["good", "0_1"]
    assert "result" in found["good", "0_2"]
    assert "60x48 px" in found["good", "1_2"]
    assert "64x48 px" in found["good", "1_2"]
    assert "target" in found["good", "2_1"]
    assert "No target belongs to it" in found["good", "9_1"]
    assert [case.name for case, _ in outcome.scored("good")] == ["1_1"]
    assert not any(str(tmp_path) in message for message in found.values())


def test_hazy_picture_that_is_missing_costs_only_what_needs_it(dataset, tmp_path):
    (dataset / "hazy/0_1.png").unlink()
    outcome = run_benchmark(plan_benchmark(benchmark(dataset, "good")), tmp_path / "out")
    assert "hazy" in messages(outcome)["good", "0_1"]
    scores = outcome.scored("good")[0][1]
    assert set(scores.values) == {"psnr", "ssim", "fade"}
    assert "hazy" in scores.errors["clipped"]


def count_scored(monkeypatch):
    scored = []
    original = _workers._score_case

    def counting(case, *arguments):
        scored.append(case.name)
        return original(case, *arguments)

    monkeypatch.setattr(_workers, "_score_case", counting)
    return scored


def test_what_was_scored_is_not_scored_again(dataset, tmp_path, monkeypatch):
    plan = plan_benchmark(benchmark(dataset, "good"))
    first = run_benchmark(plan, tmp_path / "out")
    scored = count_scored(monkeypatch)
    second = run_benchmark(plan, tmp_path / "out")
    assert scored == []
    assert second.reused == 6
    assert second.scores == first.scores


def test_only_what_changed_is_scored_again(dataset, tmp_path, monkeypatch):
    run_benchmark(plan_benchmark(benchmark(dataset, "good")), tmp_path / "out")
    shutil.copy(dataset / "bad/0_2.png", dataset / "good/0_2.png")
    scored = count_scored(monkeypatch)
    run_benchmark(plan_benchmark(benchmark(dataset, "good")), tmp_path / "out")
    assert scored == ["0_2"]


@pytest.mark.parametrize("change", [{"protocol": "dcmpnet"}, {"metrics": ("psnr", "piqe")}])
def test_another_protocol_or_metric_is_scored_anew(dataset, tmp_path, monkeypatch, change):
    run_benchmark(plan_benchmark(benchmark(dataset, "good")), tmp_path / "out")
    scored = count_scored(monkeypatch)
    outcome = run_benchmark(plan_benchmark(benchmark(dataset, "good", **change)), tmp_path / "out")
    assert len(scored) == 6
    assert all(set(scores.values) == set(outcome.plan.metrics) for scores in outcome.scores.values())


def test_names_of_folders_do_not_matter_to_the_records(dataset, tmp_path, monkeypatch):
    run_benchmark(plan_benchmark(benchmark(dataset, "good")), tmp_path / "out")
    shutil.move(dataset / "good", dataset / "moved")
    scored = count_scored(monkeypatch)
    run_benchmark(plan_benchmark(benchmark(dataset, "moved")), tmp_path / "out")
    assert scored == []


def test_records_that_are_cut_off_or_damaged_are_scored_again(dataset, tmp_path, monkeypatch):
    plan = plan_benchmark(benchmark(dataset, "good"))
    first = run_benchmark(plan, tmp_path / "out")
    path = tmp_path / "out" / RECORDS_FILE
    lines = path.read_bytes().splitlines(keepends=True)
    damaged = json.loads(lines[1])
    damaged["values"] = {"psnr": "thirty"}
    path.write_bytes(lines[0] + json.dumps(damaged).encode() + b"\n" + b"".join(lines[2:-1]) + lines[-1][:30])
    scored = count_scored(monkeypatch)
    second = run_benchmark(plan, tmp_path / "out")
    assert len(scored) == 2
    assert second.scores == first.scores


def test_interruption_keeps_what_was_scored(dataset, tmp_path, monkeypatch):
    plan = plan_benchmark(benchmark(dataset, "good"))
    seen = []

    def stop_after_four():
        seen.append(1)
        if len(seen) == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_benchmark(plan, tmp_path / "out", progress=stop_after_four)
    scored = count_scored(monkeypatch)
    outcome = run_benchmark(plan, tmp_path / "out")
    assert scored == ["2_1", "2_2"]
    assert len(outcome.scores) == 6


def test_infinite_scores_survive_the_records(dataset, tmp_path):
    shutil.copy(dataset / "gt/0.png", dataset / "good/0_1.png")
    plan = plan_benchmark(benchmark(dataset, "good"))
    run_benchmark(plan, tmp_path / "out")
    assert run_benchmark(plan, tmp_path / "out").scored("good")[0][1].values["psnr"] == math.inf
    for line in (tmp_path / "out" / RECORDS_FILE).read_text().splitlines():
        json.loads(line, parse_constant=pytest.fail)


def test_processes_give_the_same_scores_as_one(dataset, tmp_path):
    for copy in range(3):
        shutil.copytree(dataset / "good", dataset / "many" / str(copy))
    plan = plan_benchmark(Benchmark((Run("many", results=dataset / "many"),), targets=None, metrics=("fade", "piqe")))
    assert len(plan.cases) >= _workers._FEWEST_FOR_POOL
    alone = run_benchmark(plan, tmp_path / "one", workers=1)
    together = run_benchmark(plan, tmp_path / "two", workers=2)
    assert together.scores == alone.scores


def test_limit_takes_the_first_pictures_of_each_run(dataset):
    plan = plan_benchmark(benchmark(dataset, "good", "bad", limit=2))
    assert [(case.run.label, case.name) for case in plan.cases] == [
        ("good", "0_1"), ("good", "0_2"), ("bad", "0_1"), ("bad", "0_2"),
    ]  # fmt: skip


def test_files_and_targets_that_are_not_used_are_noted(dataset):
    (dataset / "good/readme.txt").touch()
    shutil.copy(dataset / "gt/0.png", dataset / "gt/7.png")
    notes = " ".join(plan_benchmark(benchmark(dataset, "good")).notes)
    assert "1 files that are not pictures" in notes
    assert "1 targets have no result: 7.png" in notes


def test_unreadable_file_is_a_failure_of_its_picture(dataset, monkeypatch):
    original = _planning.hash_file

    def failing(path):
        if path.name == "1_1.png" and path.parent.name == "good":
            raise PermissionError(13, "Permission denied", os.fspath(path))
        return original(path)

    monkeypatch.setattr(_planning, "hash_file", failing)
    plan = plan_benchmark(benchmark(dataset, "good"))
    assert [failure.name for failure in plan.failures] == ["1_1"]
    assert len(plan.cases) == 5


@pytest.mark.parametrize(
    ("layout", "expected"),
    [
        (("hazy", "gt"), ("hazy", "gt")),
        (("hazy", "clear"), ("hazy", "clear")),
        (("HAZY", "GT"), ("HAZY", "GT")),
        (("SOTS/indoor/hazy", "SOTS/indoor/gt"), ("SOTS/indoor/hazy", "SOTS/indoor/gt")),
        (("hazy",), ("hazy", None)),
    ],
)
def test_layouts_of_data_sets(tmp_path, layout, expected):
    for name in layout:
        (tmp_path / name).mkdir(parents=True)
    hazy, clear = dataset_folders(tmp_path)
    assert hazy == tmp_path / expected[0]
    assert clear == (None if expected[1] is None else tmp_path / expected[1])


def test_pictures_alone_are_hazy_without_targets(dataset):
    assert dataset_folders(dataset / "good") == (dataset / "good", None)


def test_data_sets_that_cannot_be_distinguished_or_found(tmp_path):
    with pytest.raises(UsageError, match="no folder named hazy"):
        dataset_folders(tmp_path)
    with pytest.raises(UsageError, match="not a folder"):
        dataset_folders(tmp_path / "nowhere")
    for name in ("indoor", "outdoor"):
        (tmp_path / name / "hazy").mkdir(parents=True)
    with pytest.raises(UsageError, match="indoor, outdoor"):
        dataset_folders(tmp_path)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"runs": ()}, UsageError, "Nothing to score"),
        ({"runs": (Run("a", model="dcp"), Run("a", model="cap"))}, UsageError, "same label"),
        ({"runs": (Run("a", model="dcpp"),)}, UnknownNameError, "dcp"),
        ({"runs": (Run("a", model="dcp", options={"strength": 3.0}),)}, UsageError, "strength"),
        ({"runs": (Run("a", model="dcp"),), "hazy": None}, UsageError, "needs hazy pictures"),
        ({"runs": (Run("a"),)}, UsageError, "either"),
        ({"protocol": "dcm"}, UnknownNameError, "dcmpnet"),
        ({"target_rule": "sots"}, UsageError, "sots-indoor"),
        ({"limit": 0}, UsageError, "at least 1"),
        ({"pairing": "raside"}, UsageError, "pairing rule"),
    ],
)
def test_faults_of_a_benchmark_are_named(dataset, change, error, words):
    options = {"runs": (Run("good", results=dataset / "good"),), "targets": dataset / "gt", "hazy": dataset / "hazy"}
    with pytest.raises(error, match=words):
        plan_benchmark(Benchmark(**{**options, **change}))


def test_output_that_is_no_folder_is_refused(dataset, tmp_path):
    (tmp_path / "out").touch()
    with pytest.raises(OutputError, match="another folder"):
        run_benchmark(plan_benchmark(benchmark(dataset, "good")), tmp_path / "out")
