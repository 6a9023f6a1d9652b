import csv
import json
import shutil

import pytest
from PIL import Image

from unhaze.evaluation.benchmark import Benchmark, Run, plan_benchmark, run_benchmark
from unhaze.evaluation.report import analyze, report_dict, write_report
from unhaze.evaluation.statistics import compare_paired, summarize

METRICS = ("psnr", "ssim", "fade")


def outcome_of(dataset, output, labels=("good", "bad"), **options):
    runs = tuple(Run(label, results=dataset / label) for label in labels)
    options = {"targets": dataset / "gt", "hazy": dataset / "hazy", "metrics": METRICS, **options}
    return run_benchmark(plan_benchmark(Benchmark(runs, **options)), output)


def values(outcome, label, metric):
    return [scores.values[metric] for _, scores in outcome.scored(label)]


def test_summaries_and_comparisons_are_those_of_the_scores(dataset, tmp_path):
    outcome = outcome_of(dataset, tmp_path / "out")
    analysis = analyze(outcome, seed=3)
    scenes = [case.scene for case, _ in outcome.scored("good")]
    good, bad = values(outcome, "good", "psnr"), values(outcome, "bad", "psnr")
    assert analysis.summaries["good"]["psnr"] == summarize(good, scenes=scenes, seed=3)
    assert analysis.summaries["good"]["psnr"].scenes == 3
    paired = analysis.comparisons[0]
    assert (paired.first, paired.second, paired.metric) == ("good", "bad", "psnr")
    assert paired.comparison == compare_paired(good, bad, higher_is_better=True, scenes=scenes, seed=3)
    assert paired.comparison.win_rate == 1
    assert paired.p_adjusted == pytest.approx(3 * paired.comparison.p_wilcoxon)


def test_report_holds_everything_and_links_to_files_that_exist(dataset, tmp_path):
    pytest.importorskip("matplotlib")
    outcome = outcome_of(dataset, tmp_path / "out")
    report = write_report(
        analyze(outcome, dataset="sots-indoor"), tmp_path / "out", command="unhaze eval", cases_shown=2
    ).read_text()
    for words in ("full8bit/2", "convention `gaussian`", "reside was detected", "*reported*", "P1, Table 1", "sha256"):
        assert words in report
    links = [line.rpartition("(")[2].rstrip(")") for line in report.splitlines() if line.startswith("![")]
    assert len(links) == 5  # one scatter plot, worst and best of two runs
    for link in links:
        Image.open(tmp_path / "out" / link).verify()
    for label in ("good", "bad"):
        assert len(list((tmp_path / "out/error_maps" / label).iterdir())) == 4
    assert str(tmp_path) not in report


def test_files_read_back(dataset, tmp_path):
    outcome = outcome_of(dataset, tmp_path / "out")
    write_report(analyze(outcome), tmp_path / "out", plots=False)
    with (tmp_path / "out/per_image.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [float(row["psnr"]) for row in rows if row["run"] == "bad"] == values(outcome, "bad", "psnr")
    assert rows[0]["fade_dropped"] != ""
    records = json.loads((tmp_path / "out/per_image.json").read_text())
    assert records[0]["scores"] == outcome.scored("good")[0][1].values
    report = json.loads((tmp_path / "out/report.json").read_text())
    assert report["protocol"]["id"] == "full8bit/2"
    assert report["metrics"][1]["label"] == "SSIM (gaussian)"
    assert report["runs"][0]["summary"]["psnr"]["count"] == 6
    assert [entry["role"] for entry in report["inputs"]] == ["target", "hazy", "results of good", "results of bad"]
    assert report["provenance"]["versions"]["torch"]


def test_report_says_nothing_about_the_machine(dataset, tmp_path):
    outcome = outcome_of(dataset, tmp_path / "out")
    write_report(analyze(outcome), tmp_path / "out", plots=False)
    for path in (tmp_path / "out").iterdir():
        assert str(tmp_path) not in path.read_text(), path.name


def test_identical_pictures_are_infinite_in_the_report_and_left_out_of_tests(dataset, tmp_path):
    shutil.copy(dataset / "gt/0.png", dataset / "good/0_1.png")
    analysis = analyze(outcome_of(dataset, tmp_path / "out"))
    write_report(analysis, tmp_path / "out", plots=False)
    report = json.loads((tmp_path / "out/report.json").read_text(), parse_constant=pytest.fail)
    assert report["runs"][0]["summary"]["psnr"]["mean"] == "inf"
    assert analysis.comparisons[0].infinite == 1
    assert analysis.comparisons[0].comparison.count == 5
    assert "∞" in (tmp_path / "out/report.md").read_text()


def test_failures_and_unequal_sets_are_reported(dataset, tmp_path):
    (dataset / "good/0_1.png").write_bytes(b"")
    analysis = analyze(outcome_of(dataset, tmp_path / "out"))
    report = write_report(analysis, tmp_path / "out", plots=False).read_text()
    assert "## Not scored: 1 pictures" in report
    assert "`0_1`" in report
    assert "5 in common" in report
    assert analysis.comparisons[0].comparison.count == 5


def test_metric_without_values_leaves_its_column_empty(dataset, tmp_path):
    outcome = outcome_of(dataset, tmp_path / "out", metrics=("psnr", "niqe"))
    analysis = analyze(outcome)
    assert "niqe" not in analysis.summaries["good"]
    report = write_report(analysis, tmp_path / "out", plots=False).read_text()
    assert "## Without a value: 12" in report


def test_nothing_scored_still_gives_a_report(dataset, tmp_path):
    for path in (dataset / "good").iterdir():
        path.write_bytes(b"")
    outcome = outcome_of(dataset, tmp_path / "out", labels=("good",))
    report = write_report(analyze(outcome), tmp_path / "out").read_text()
    assert "## Not scored: 6 pictures" in report


def test_protocol_that_differs_from_the_papers_is_reported(dataset, tmp_path):
    note = "not comparable"
    for protocol, expected in (("basicsr-rgb", "The rows of P1, P2"), ("dcmpnet", "The rows of P2 ")):
        outcome = outcome_of(dataset, tmp_path / protocol, protocol=protocol, metrics=None, labels=("good",))
        report = write_report(analyze(outcome, dataset="sots-indoor"), tmp_path / protocol, plots=False).read_text()
        assert expected in report
        assert note in report


def test_labels_that_are_no_file_names(dataset, tmp_path):
    runs = tuple(Run(label, results=dataset / "good") for label in ("a/b", "a b", "a_b"))
    plan = plan_benchmark(Benchmark(runs, targets=dataset / "gt", metrics=("psnr",)))
    write_report(analyze(run_benchmark(plan, tmp_path / "out")), tmp_path / "out", cases_shown=1)
    assert len(list((tmp_path / "out/error_maps").iterdir())) == 3


def test_report_is_plain_data(dataset, tmp_path):
    content = report_dict(analyze(outcome_of(dataset, tmp_path / "out")), "unhaze eval")
    assert json.loads(json.dumps(content, allow_nan=False)) == content
    assert content["provenance"]["command"] == "unhaze eval"
