"""``unhaze train`` up to where the recipe takes over."""

import json
import shutil
import signal

import cv2
import pytest
import typer
from typer.testing import CliRunner

pytest.importorskip("torch")

from unhaze.cli import _console
from unhaze.cli.train import train
from unhaze.errors import OutputError, UnknownNameError, UsageError


@pytest.fixture(scope="module")
def run():
    app = typer.Typer()
    app.command()(train)

    def call(*arguments):
        with _console.show_log():  # as the whole application does, which would turn errors into exit codes
            result = CliRunner().invoke(app, list(arguments))
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return call


def test_list(run):
    lines = run("--list").stdout.splitlines()
    assert {"field-default", "oknet-its", "sgdnet+hgdf-6k"} <= {line.split()[0] for line in lines}
    assert all(len(line.split()) > 3 for line in lines), "each says what it is"


def test_dry_run_prints_the_resolved_settings(run, tmp_path):
    described = json.loads(run("field-default", "--dry-run", "--set", "optimizer.lr=2e-4", "--set", "seed=9").stdout)
    assert described["config"]["optimizer"]["lr"] == 2e-4
    assert described["config"]["seed"] == 9
    assert described["samples"] == 8 * described["steps"]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((), UsageError, "field-default"),
        (("field-defalt",), UnknownNameError, "did you mean field-default"),
        (("field-default",), UsageError, "--data"),
        (("field-default", "--set", "seed"), UsageError, "KEY=VALUE"),
        (("field-default", "--set", "sed=1", "--dry-run"), UnknownNameError, "did you mean seed"),
        (("field-default", "--data", "/nonexistent/folder"), UsageError, "no folder"),
    ],
)
def test_wrong_usage_is_explained(run, arguments, error, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=message):
        run(*arguments)


def test_a_dry_run_predicts_time_and_memory(run):
    small = ("--set", "network=aodnet", "--set", "data.crop=32", "--set", "data.batch=2", "--set", "loop.steps=7200")
    reported = json.loads(run("supervised-small", "--dry-run", *small).stdout)
    assert reported["samples"] == 14400
    assert reported["estimate"]["seconds_per_step"] > 0
    assert reported["estimate"]["hours"] == pytest.approx(2 * reported["estimate"]["seconds_per_step"], abs=0.01)
    assert reported["estimate"]["peak_memory_mb"] > 50


@pytest.fixture
def pictures(tmp_path, photo):
    """A folder of nine pictures in two folders, one of them broken, and a text."""
    folder = tmp_path / "pictures"
    (folder / "sea").mkdir(parents=True)
    for number in range(8):
        name = f"sea/{number}.jpg" if number % 2 else f"{number}.png"
        cv2.imwrite(str(folder / name), photo[40 : 40 + 64, 40 * number : 40 * number + 80])
    (folder / "sea/broken.jpg").write_bytes(b"this is no picture")
    (folder / "notes.txt").write_text("of no interest")
    return folder


TINY = [
    part
    for setting in ("network=aodnet", "data.crop=32", "data.batch=2", "data.held_out=2", "loop.steps=2")
    for part in ("--set", setting)
]


def test_any_folder_of_pictures_is_trained_on(run, pictures, tmp_path, caplog):
    told = run("supervised-small", "--data", str(pictures), "--out", str(tmp_path / "run"), *TINY)
    assert (tmp_path / "run/weights.safetensors").exists()
    assert "step 2 of 2, 0:00:00 left" in told.stderr
    assert "psnr" in told.stderr
    assert "broken.jpg is not a picture" in caplog.text


def test_a_dry_run_checks_the_data_and_counts(run, pictures, tmp_path):
    reported = json.loads(run("supervised-small", "--dry-run", "--data", str(pictures), *TINY).stdout)["data"]
    assert reported["pictures"] == 7
    assert reported["validation_samples"] == 2
    assert reported["with_depth"] == 0
    assert [str(pictures / "sea/broken.jpg") in message for message in reported["left_out"]] == [True]
    pairs = ("--set", "data.dataset=folders", "--set", "data.split=")
    for name in ("hazy", "clear"):
        (tmp_path / "pairs" / name).mkdir(parents=True)
        for path in (*pictures.glob("*.png"), *pictures.glob("sea/[1-7].jpg")):
            shutil.copy(path, tmp_path / "pairs" / name)
    shutil.copy(pictures / "0.png", tmp_path / "pairs/hazy/alone.png")
    reported = json.loads(
        run("supervised-small", "--dry-run", "--data", str(tmp_path / "pairs"), *TINY, *pairs).stdout
    )["data"]
    assert (reported["pairs"], reported["validation_samples"]) == (6, 2)
    assert "alone.png" in reported["left_out"][0]


def test_a_dry_run_finds_what_would_stop_the_training(run, pictures, tmp_path):
    (tmp_path / "empty").mkdir()
    for data, message in ((tmp_path / "empty", "holds no picture"), (tmp_path / "nowhere", "no folder")):
        with pytest.raises(UsageError, match=message):
            run("supervised-small", "--dry-run", "--data", str(data), *TINY)
    for preset, setting in (("hgdf-small", "depth"), ("dcmpnet-small", "teacher")):
        with pytest.raises(UsageError, match=f"--set {setting}=compact"):
            run(
                preset, "--dry-run", "--data", str(pictures), *([] if setting == "depth" else ["--set", "teacher=true"])
            )
    assert "was not checked" in run("field-default", "--dry-run").stderr


@pytest.fixture
def small_run(run, tmp_path, photo):
    """Trains a small network on a few pictures into ``run``."""
    for name in ("hazy", "clear"):
        (tmp_path / name).mkdir()
        for number in range(5):
            cv2.imwrite(str(tmp_path / name / f"{number}.png"), photo[:48, number : number + 48])
    settings = {
        "network": "aodnet",
        "data.dataset": "folders",
        "data.split": "",
        "data.crop": 32,
        "data.batch": 2,
        "data.held_out": 1,
        "loop.steps": 4,
        "loop.log_every": 1,
        "loop.checkpoint_every": 2,
        "seed": 3,
    }
    changes = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
    folder = tmp_path / "run"
    return folder, lambda *more: run(
        "supervised-small", "--data", str(tmp_path), "--out", str(folder), *changes, *map(str, more)
    )


def test_a_run_leaves_weights_and_a_page(small_run):
    folder, train_it = small_run
    train_it()
    assert json.loads((folder / "config.json").read_text())["config"]["seed"] == 3
    assert (folder / "weights.safetensors").exists()
    page = (folder / "report.html").read_text()
    assert "val_psnr" in page
    assert page.count("<svg") >= 2
    assert "data:image/png;base64" in page
    assert "http" not in page, "nothing is loaded from elsewhere"


def test_a_folder_that_holds_a_run_or_is_in_use_is_refused(small_run):
    from tests.images.test_claims import forge

    folder, train_it = small_run
    train_it()
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    for kept in ("log.jsonl", "config.json", "checkpoints/step-0000004.pt"):
        for path in before:
            path.unlink(missing_ok=True)
        (folder / kept).write_bytes(before[folder / kept])
        with pytest.raises(UsageError, match=r"holds a run already; go on with it by --resume auto, .* --out"):
            train_it()
    for path, content in before.items():
        path.write_bytes(content)
    with pytest.raises(UsageError, match="other settings"):
        train_it("--set", "seed=4", "--resume", "auto")
    for path in (folder / "checkpoints").iterdir():
        path.unlink()
    with pytest.raises(UsageError, match=r"holds a run with other settings; .* --out"):
        train_it("--set", "seed=4", "--resume", "auto")
    forge(folder / "log.jsonl")
    with pytest.raises(UsageError, match="Another training writes to"):
        train_it("--resume", "auto")
    assert json.loads((folder / "config.json").read_text())["config"]["seed"] == 3


def test_a_crash_with_a_damaged_checkpoint_and_log_is_mended(small_run, caplog):
    from unhaze.training.checkpoint import load_checkpoint

    folder, train_it = small_run
    train_it()
    newest = folder / "checkpoints/step-0000004.pt"
    whole = load_checkpoint(newest)["network"]
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    newest.write_bytes(newest.read_bytes()[:-100])
    (folder / "checkpoints/.step-0000004.pt.0123abcd.part").write_bytes(b"half")
    (folder / "checkpoints/notes.txt").write_text("mine")
    (folder / "config.json").write_bytes(b'{"config": {"se')
    with (folder / "log.jsonl").open("ab") as file:
        file.write(b'{"step": 5, "lo')
    train_it("--resume", "auto")
    assert "step-0000004.pt: damaged or half-written, so the training goes on from" in caplog.text
    resumed = load_checkpoint(newest)["network"]
    assert all((resumed[key] == value).all() for key, value in whole.items())
    again = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    assert [line.get("loss") for line in again] == [line.get("loss") for line in lines]
    assert json.loads((folder / "config.json").read_text())["config"]["seed"] == 3
    assert sorted(path.name for path in (folder / "checkpoints").iterdir()) == [
        "notes.txt",
        "step-0000002.pt",
        "step-0000004.pt",
    ]


@pytest.mark.skipif(not hasattr(signal, "SIGXFSZ"), reason="needs a limit on the size of files")
def test_a_full_disk_ends_the_training_with_a_sentence_and_keeps_the_checkpoint(small_run):
    import resource

    folder, train_it = small_run
    train_it()
    first = folder / "checkpoints/step-0000002.pt"
    kept = first.read_bytes()
    (folder / "checkpoints/step-0000004.pt").unlink()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(kept) - 100, hard))
    try:
        with pytest.raises(OutputError, match="cannot be written: File too large"):
            train_it("--resume", "auto")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert first.read_bytes() == kept
    assert not [path for path in folder.rglob("*") if path.name.startswith(".")]
    train_it("--resume", "auto")
    assert (folder / "checkpoints/step-0000004.pt").exists()


def test_the_default_is_trained_in_all_its_parts_by_its_command(run, tmp_path, photo):
    (tmp_path / "data/clear/urban100").mkdir(parents=True)
    for number in range(2):
        cv2.imwrite(str(tmp_path / f"data/clear/urban100/{number}.png"), photo[:96, 40 * number : 40 * number + 128])
    small = {"steps": 2, "batch": 1, "short": 32, "long": 64, "boxes": 1, "network.imagenet": False}
    settings = [f"{part}{key}={value}" for part in ("", "first.", "first.first.") for key, value in small.items()]
    changes = [word for setting in settings for word in ("--set", setting)]
    out = tmp_path / "run"
    run("field-default", "--data", str(tmp_path / "data"), "--out", str(out), *changes)
    assert (out / "field.onnx").exists()
    for folder in (out / "first" / "first", out / "first", out):
        assert (folder / "checkpoints/step-0000002.pt").exists()
        assert len((folder / "log.jsonl").read_text().splitlines()) == 1
    from unhaze.default.model import FieldModel

    maps = FieldModel(out / "field.onnx").maps(photo.astype("float32") / 255)
    assert 0 < maps.transmission.min() <= maps.transmission.max() <= 1
