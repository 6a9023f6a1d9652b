"""The studies of the two papers in small, from data to tables, on rooms that the test paints."""

import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("matplotlib")

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
# a place to train on, and another one to judge on, as unhaze.default.scenes has them
PLACES = {"more/rgbd/render_aws_house": ("{}.jpg", "{}.depth.png"), "rgbd": ("{}.color.jpg", "{}.depth.png")}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("places")
    rng = np.random.default_rng(0)
    for place, names in PLACES.items():
        (root / place).mkdir(parents=True)
        for number in range(3):
            coarse = rng.integers(0, 256, (6, 8, 3), np.uint8)
            picture = cv2.resize(coarse, (80, 60), interpolation=cv2.INTER_LINEAR)
            depth = cv2.resize(rng.uniform(500, 6000, (3, 4)), (80, 60)).astype(np.uint16)
            cv2.imwrite(str(root / place / names[0].format(f"frame-{number:06d}")), picture)
            cv2.imwrite(str(root / place / names[1].format(f"frame-{number:06d}")), depth)
    return root


@pytest.fixture
def study(monkeypatch):
    """A script of ``benchmarks/``, run with arguments."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))

    def run(name, *arguments):
        module = __import__(name)
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        module.main()
        return module

    from unhaze.models.networks import _catalogue

    known = set(_catalogue().names())
    yield run
    for name in set(_catalogue().names()) - known:  # the small networks are of the scripts alone
        del _catalogue()._all[name]
    for name in ("study", "fusion_study", "fusion_features", "promotion_study", "small_networks"):
        sys.modules.pop(name, None)


SMALL = ("--crop", 32, "--batch", 2, "--held-out", 2, "--steps", 1)


@pytest.mark.parametrize("tables", [("4",), pytest.param(("1", "forms", "3", "4", "6"), marks=pytest.mark.slow)])
def test_the_fusion_study_makes_its_tables(tables, data, study, tmp_path, capsys):
    arguments = ("--data", data, "--out", tmp_path, "--first-steps", 1, "--seeds", 2, *SMALL)
    arguments += ("--backbones", "dehazeformer-small", "--tables", *tables)
    module = study("fusion_study", *arguments)
    written = (tmp_path / "study.md").read_text()
    for table in tables:
        for run in module.rows_of(table, "dehazeformer-small"):
            assert f"| `dehazeformer-small` | {run.row} |" in written
        assert (tmp_path / f"table{table}.svg").is_file()
    trained = sorted(tmp_path.rglob("weights.safetensors"))
    times = [path.stat().st_mtime_ns for path in trained]
    study("fusion_study", *arguments)  # what is done is not done again
    assert [path.stat().st_mtime_ns for path in trained] == times
    assert (tmp_path / "study.md").read_text() == written
    assert written in capsys.readouterr().out


@pytest.mark.parametrize(
    "rows",
    [
        ("de", "dp-error"),
        pytest.param(("baseline", "legm", "mfm", "msaam", "dp", "dp-with", "dp-stop"), marks=pytest.mark.slow),
        pytest.param(("official", "official-2023", "depth"), marks=pytest.mark.slow),
    ],
)
def test_the_promotion_study_makes_its_tables(rows, data, study, tmp_path):
    module = study("promotion_study", "--data", data, "--out", tmp_path, "--seeds", 2, *SMALL, "--rows", *rows)
    written = (tmp_path / "study.md").read_text()
    for row in rows:
        assert f"| {module.ROWS[row].label} |" in written
    if "dp-error" in rows:
        assert "± " in written  # the gain over +DE
    assert (tmp_path / "dehazing.svg").is_file()


@pytest.mark.usefixtures("study")
def test_places_are_trained_on_or_judged_on(data):
    from study import interval, scenes_of_places
    from unhaze.data import create_dataset

    with scenes_of_places():
        train, held = (create_dataset("synthetic", data, split, size=(32, 32)) for split in ("train", "validation"))
        first = train[0]
        assert train[0] is first  # made once
    folders = [{scene.name.rpartition("/")[0] for scene in each.bank.scenes} for each in (train, held)]
    assert folders == [{"more/rgbd/render_aws_house"}, {"rgbd"}]
    assert interval([1.0, 3.0]) == (2.0, pytest.approx(12.706, rel=1e-3))
    assert np.isnan(interval([1.0])[1])


def test_features_of_trained_fusions_are_measured_and_drawn(data, study, tmp_path):
    backbone = ("--backbones", "dehazeformer-small", "--seeds", 2)
    arguments = ("--data", data, "--out", tmp_path / "fusion", "--first-steps", 1, *SMALL)
    study("fusion_study", *arguments, *backbone, "--tables", "4")
    few = ("--count", 2, "--longest", 64, "--levels", 2)
    module = study(
        "fusion_features", "--data", data, "--study", tmp_path / "fusion", "--out", tmp_path, *few, *backbone
    )
    written = (tmp_path / "features.md").read_text()
    for stage in ("enc1", "enc2", "restored"):
        for name in module.NAMES:
            assert f"| `dehazeformer-small` | {stage} | {name} |" in written
    # one step from zero: the fusion hardly changes anything yet
    (line,) = [line for line in written.splitlines() if line.startswith("| fused stages, true depth")]
    change = float(line.split("|")[2].split("±")[0].strip().rstrip("%"))
    assert abs(change) < 5
    assert cv2.imread(str(tmp_path / "features-dehazeformer-small.png")).shape[1] >= 3 * 48
