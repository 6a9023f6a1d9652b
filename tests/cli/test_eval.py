import hashlib
import json
import os
import subprocess
import sys

import numpy as np
import psutil
import pytest
import typer
from PIL import Image
from tests.patience import HUNG, wait_until

from unhaze.cli._app import exit_code
from unhaze.cli._console import show_log
from unhaze.cli.eval import eval_
from unhaze.cli.metric import metric
from unhaze.errors import UnhazeError


@pytest.fixture
def call(capsys):
    """Runs one sub-command in this process: (exit code, stdout, stderr)."""

    def run(function, *arguments):
        single = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
        single.command()(function)
        command = typer.main.get_command(single)
        try:
            with show_log():
                code = command.main([str(argument) for argument in arguments], standalone_mode=False) or 0
            message = ""
        except UnhazeError as error:
            code, message = exit_code(error), str(error)
        captured = capsys.readouterr()
        return code, captured.out, captured.err + message

    return run


@pytest.fixture
def folders(tmp_path):
    """gt/, hazy/ and two folders of results with 20 pictures of 4 scenes."""
    return fill(tmp_path, (60, 80))


def fill(tmp_path, size):
    rng = np.random.default_rng(0)
    for scene in range(4):
        clear = np.clip(np.cumsum(rng.normal(0, 4, (*size, 3)), axis=1) + 128, 5, 250).astype(np.uint8)
        save(tmp_path / f"gt/{scene}.png", clear)
        for version in range(5):
            name = f"{scene}_{version}.png"
            save(tmp_path / "hazy" / name, (0.5 * clear + 100).astype(np.uint8))
            for folder, sigma in (("good", 3), ("bad", 9)):
                noisy = np.clip(clear + rng.normal(0, sigma, clear.shape), 0, 255)
                save(tmp_path / folder / name, noisy.astype(np.uint8))
    return tmp_path


def save(path, pixels):
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(pixels).save(path)


def report_files(folder):
    """Everything but the records and the times: what has to be the same, byte for byte."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.suffix != ".jsonl"
    }


def test_folders_are_scored_and_compared(call, folders):
    code, out, err = call(
        eval_,
        *("--pred", folders / "good", "--pred", f"worse={folders / 'bad'}", "--target", folders / "gt"),
        *("--metrics", "psnr,ssim", "-o", folders / "out", "-j", 1),
    )
    assert code == 0
    assert out.startswith("| Method | Kind | Source |")
    assert "| good | measured | unhaze, full8bit/2 | 20 |" in out
    assert "worse" in out
    assert "good: The rule reside was detected: it pairs 20 of 20 pictures." in err
    assert (folders / "out/report.md").exists()


def test_methods_are_scored_on_a_data_set_as_json(call, folders):
    code, out, _ = call(
        eval_,
        *("--model", "dcp", "--model", "cap", "--data", folders, "--metrics", "psnr,clipped", "--strength", "0.5"),
        *("-o", folders / "out", "-j", 1, "--limit", 3, "--json", "--no-plots"),
    )
    assert code == 0
    report = json.loads(out)
    assert [(run["model"], run["options"], run["scored"]) for run in report["runs"]] == [
        ("dcp", {"strength": 0.5}, 3),
        ("cap", {"strength": 0.5}, 3),
    ]
    assert json.loads((folders / "out/report.json").read_text()) == report


@pytest.mark.parametrize(
    ("layout", "hazy", "clear"),
    [
        ("o-haze:all", "# O-HAZY NTIRE 2018/hazy/41_outdoor_hazy.png", "# O-HAZY NTIRE 2018/GT/41_outdoor_GT.png"),
        ("o-haze", "# O-HAZY NTIRE 2018/hazy/41_outdoor_hazy.png", "# O-HAZY NTIRE 2018/GT/41_outdoor_GT.png"),
        ("i-haze:train", "I-HAZE/hazy/01_indoor_hazy.png", "I-HAZE/GT/01_indoor_GT.png"),
        ("nh-haze:all", "NH-HAZE/01_hazy.png", "NH-HAZE/01_GT.png"),
        ("dense-haze:all", "Dense-Haze/hazy/01_hazy.png", "Dense-Haze/GT/01_GT.png"),
        ("bedde", "BeDDE/wuhan/fog/wuhan_1.png", "BeDDE/wuhan/gt/wuhan_clear.png"),
        ("exbedde", "exBeDDE/wuhan/fog/wuhan_1.png", "exBeDDE/wuhan/gt/wuhan_clear.png"),
        ("rtts", "RTTS/JPEGImages/AM_Bing_211.png", ""),
        ("urhi", "URHI/0001.png", ""),
        ("fattal", "Fattal/canyon.png", ""),
        ("photographs", "canyon.png", ""),
    ],
)
def test_a_data_set_is_scored_by_its_layout(call, tmp_path, layout, hazy, clear):
    rng = np.random.default_rng(0)
    pixels = {name: rng.integers(0, 256, (20, 24, 3), dtype=np.uint8) for name in (hazy, clear) if name}
    for name, values in pixels.items():
        (tmp_path / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        save(tmp_path / "data" / name, values)
    metric_name = "psnr" if clear else "entropy"
    shared = ("--data", tmp_path / "data", "--layout", layout, "--metrics", metric_name, "--no-plots", "--jobs", 1)
    code, _, err = call(eval_, "-m", "cap", *shared, "-o", tmp_path / "report")
    assert code == 0, err
    (picture,) = json.loads((tmp_path / "report/per_image.json").read_text())
    assert picture["name"] == hazy.rpartition("/")[2].removesuffix(".png")
    # results of another program are found by the names of the hazy pictures
    save(tmp_path / "results" / hazy.rpartition("/")[2], pixels[hazy])
    code, _, err = call(eval_, "--pred", tmp_path / "results", *shared, "-o", tmp_path / "report2")
    assert code == 0, err
    (picture,) = json.loads((tmp_path / "report2/per_image.json").read_text())
    if clear:
        error = np.mean((pixels[hazy] / 255 - pixels[clear] / 255) ** 2)
        assert picture["scores"]["psnr"] == pytest.approx(10 * np.log10(1 / error), abs=1e-6)


def test_the_table_is_written_where_it_is_wanted(call, folders, monkeypatch):
    monkeypatch.chdir(folders)
    arguments = ["-m", "cap", "-m", "dcp", "--hazy", "hazy", "--target", "gt", "--metrics", "psnr,ssim", "--limit", 2]
    arguments += ["--no-plots", "--jobs", 1, "-o", "report", "--dataset", "sots-indoor", "--protocol", "dehazeformer"]
    for name in ("board.md", "board.tex", "board.csv"):
        code, _, err = call(eval_, *arguments, "--table", name)
        assert code == 0, err
        written = (folders / name).read_text()
        assert written == (folders / "report" / f"table{name[5:]}").read_text()
        assert "cap" in written
        assert "dcp" in written
    assert "reported" in (folders / "board.md").read_text()
    code, _, err = call(eval_, *arguments, "--table", "board.txt")
    assert code == 2
    assert "ends in .md, .tex or .csv" in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--layout", "nh-haze"], "--layout says where"),
        (["--data", "x", "--hazy", "y", "--layout", "nh-haze"], "--layout says where"),
        (["--data", "x", "--layout", "nh-hase"], "nh-haze"),
        (["--data", "x", "--layout", "bedde:train"], "no split train"),
        (["--data", "x", "--layout", "rtts"], "There is no folder"),
    ],
)
def test_faults_of_layouts_are_one_sentence(call, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    code, _, err = call(eval_, "-m", "cap", *arguments)
    assert code == 2
    assert words in err


def test_an_engine_is_for_the_methods_with_a_network(call, folders):
    code, out, _ = call(
        eval_,
        *("--model", "dcp", "--model", "field-m", "--engine", "onnxruntime", "--data", folders),
        *("--metrics", "psnr", "-o", folders / "out", "-j", 1, "--limit", 2, "--json", "--no-plots"),
    )
    assert code == 0
    assert [(run["model"], run["options"]) for run in json.loads(out)["runs"]] == [
        ("dcp", {"strength": 1.0}),
        ("field-m", {"strength": 1.0, "engine": "onnxruntime"}),
    ]


def test_a_model_may_be_named_by_the_former_option(call, folders):
    """``--method`` is a hidden synonym, here as in the commands that take one model."""
    common = ("--data", folders, "--metrics", "psnr", "-o", folders / "out", "-j", 1, "--limit", 1, "--json")
    code, out, _ = call(eval_, "--method", "dcp", *common, "--no-plots")
    assert code == 0
    assert [run["model"] for run in json.loads(out)["runs"]] == ["dcp"]


def test_corrupt_pictures_end_with_exit_code_1(call, folders):
    (folders / "good/0_0.png").write_bytes(b"")
    code, out, err = call(
        eval_,
        "--pred",
        folders / "good",
        "--target",
        folders / "gt",
        "--metrics",
        "psnr",
        "-o",
        folders / "out",
        "-j",
        1,
    )
    assert code == 1
    assert "good, 0_0:" in err
    assert "19 pictures scored; 1 failed" in err
    assert "| 19 |" in out


def test_what_befalls_many_pictures_is_one_line(call, folders):
    (folders / "gt/0.png").unlink()
    (folders / "good/1_0.png").write_bytes(b"")
    common = ("--pred", folders / "good", "--target", folders / "gt", "-o", folders / "out", "-j", 1, "--no-plots")
    code, _, err = call(eval_, *common, "--metrics", "psnr,ms_ssim")
    assert code == 1
    lines = err.splitlines()
    assert [line for line in lines if "0_0" in line] == [
        "good: 5 pictures failed, such as 0_0: No target belongs to it by the rule reside."
    ]
    assert [line for line in lines if "good, " in line] == [line for line in lines if "good, 1_0: The result" in line]
    assert sum("good: 14 pictures have no value of MS-SSIM, such as 1_1: MS-SSIM needs" in line for line in lines) == 1
    assert "The report names them all, as does -v." in lines
    report = (folders / "out/report.md").read_text()
    assert all(f"`{scene}_{version}`: MS-SSIM needs" in report for scene in (2, 3) for version in range(5))
    code, _, err = call(eval_, *common, "--metrics", "psnr,ms_ssim", "-v")
    assert sum("MS-SSIM needs" in line for line in err.splitlines()) == 14
    assert sum("No target belongs to it" in line for line in err.splitlines()) == 5


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ([], 2, "--pred"),
        (["--pred", "nowhere"], 2, "not a folder"),
        (["--pred", "good", "--protocol", "dcmnet"], 2, "dcmpnet"),
        (["--pred", "good", "--metrics", "psnr"], 2, "no targets"),
        (["--pred", "good", "--metrics", "nqie"], 2, "niqe"),
        (["--pred", "good", "--target", "gt", "--dataset", "sots"], 2, "sots-indoor"),
        (["--pred", "good", "--target", "gt", "--target-rule", "crop"], 2, "sots-indoor"),
        (["--pred", "good", "--target", "gt", "--metrics", "lpips"], 3, "AlexNet"),
        (["--model", "dpc", "--data", "."], 2, "dcp"),
        (["--model", "dcp", "--engine", "onnxruntime", "--data", "."], 2, "--engine is for models"),
        (["--model", "field-m", "--engine", "onnx", "--data", "."], 2, "did you mean onnxruntime"),
    ],
)
def test_faults_are_one_sentence_and_an_exit_code(call, folders, monkeypatch, arguments, code, words):
    monkeypatch.chdir(folders)
    monkeypatch.delenv("UNHAZE_ALEXNET_WEIGHTS", raising=False)
    found, out, err = call(eval_, *arguments, "-o", folders / "out", "-j", 1)
    assert (found, out) == (code, "")
    assert words in err
    assert "Traceback" not in err


def test_protocols_are_listed(call):
    code, out, _ = call(eval_, "--list-protocols")
    assert code == 0
    assert "dcmpnet/1" in out
    assert json.loads(call(eval_, "--list-protocols", "--json")[1])[0]["name"] == "dcmpnet"


def start_eval(folders, output, jobs, environment):
    program = "import typer; from unhaze.cli.eval import eval_; typer.run(eval_)"
    arguments = ["--pred", "good", "--pred", "bad", "--data", ".", "-o", output, "-j", jobs, "--cases", "1"]
    arguments += ["--metrics", "psnr,fade,piqe"]
    return subprocess.Popen(
        [sys.executable, "-c", program, *arguments],
        cwd=folders,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def test_killed_and_started_again_gives_the_same_report(tmp_path, environment):
    folders = fill(tmp_path, (200, 300))  # large enough for the kill to fall in between
    (folders / "bad/1_1.png").write_bytes(b"")
    (folders / "a").mkdir()
    (folders / "b").mkdir()
    records = folders / "a/out/records.jsonl"

    killed = start_eval(folders, "a/out", "2", environment)
    wait_until(lambda: records.exists() and records.read_bytes().count(b"\n") >= 5, killed)
    workers = psutil.Process(killed.pid).children(recursive=True)
    killed.kill()
    killed.wait()
    _, alive = psutil.wait_procs(workers, timeout=HUNG)
    assert not alive, "workers outlive their parent"
    kept = records.read_bytes()
    assert 5 <= kept.count(b"\n") < 39
    assert not (folders / "a/out/report.md").exists()

    assert start_eval(folders, "a/out", "1", environment).wait() == 1
    assert start_eval(folders, "b/out", "1", environment).wait() == 1
    assert records.read_bytes().startswith(kept[: kept.rindex(b"\n")])
    resumed, direct = report_files(folders / "a/out"), report_files(folders / "b/out")
    assert resumed.keys() == direct.keys()
    for name in direct:
        assert resumed[name].replace(b"a/out", b"b/out") == direct[name], name


def framed_like_sots_indoor(folder):
    """One clear picture of 640x480 px with the white frame of the data set, and a hazy one of 620x460 px without."""
    ramp = np.mgrid[:480, :640].sum(axis=0)[..., None]
    clear = ((ramp // 8 + np.array([0, 40, 90])) % 200 + 20).astype(np.uint8)
    hazy = clear[10:-10, 10:-10]
    clear[:10] = clear[-10:] = clear[:, :10] = clear[:, -10:] = 255
    save(folder / "gt/1400.png", clear)
    save(folder / "hazy/1400_1.png", (0.6 * hazy + 90).astype(np.uint8))
    return folder


@pytest.fixture
def made_like_sots_indoor(tmp_path):
    (tmp_path / "sots").mkdir()
    return framed_like_sots_indoor(tmp_path / "sots")


@pytest.mark.parametrize(
    "samples",
    [
        pytest.param("made_like_sots_indoor", id="made"),
        pytest.param("development_data", id="reside", marks=pytest.mark.development_data),
    ],
)
def test_samples_give_table_plots_and_report(call, tmp_path, request, samples):
    folder = request.getfixturevalue(samples)
    if samples == "development_data":
        folder = folder / "data/reside_samples/SOTS"
    code, out, _ = call(
        eval_,
        *("--model", "dcp", "--data", folder, "--protocol", "dcmpnet"),
        *("--target-rule", "sots-indoor", "--dataset", "sots-indoor", "-o", tmp_path / "out", "-j", 1),
    )
    assert code == 0
    assert "reported: P1, Table 1" in out
    assert (tmp_path / "out/plots/worst-dcp.png").exists()
    without_rule = call(
        eval_,
        "--model",
        "dcp",
        "--data",
        folder,
        "--metrics",
        "psnr",
        "-o",
        tmp_path / "out",
        "-j",
        1,
        "--no-plots",
    )
    assert without_rule[0] == 1
    assert "620x460 px but its target 640x480 px" in without_rule[2]


def test_metric_of_several_pictures(call, folders):
    code, out, _ = call(metric, "fade", "piqe", folders / "good/0_0.png", folders / "hazy/0_0.png")
    assert code == 0
    rows = [line.split("\t") for line in out.splitlines()]
    assert [row[0] for row in rows] == ["fade", "piqe", "fade", "piqe"]
    assert float(rows[0][1]) < float(rows[2][1])
    assert rows[2][2] == str(folders / "hazy/0_0.png")


def test_metric_of_a_pair_as_json(call, folders):
    restored, target = folders / "good/1_0.png", folders / "gt/1.png"
    code, out, _ = call(metric, "psnr", "ssim", restored, target, "--json")
    assert code == 0
    (row,) = json.loads(out)
    first, second = (np.asarray(Image.open(path)).astype(float) for path in (restored, target))
    assert row["scores"]["psnr"] == pytest.approx(20 * np.log10(255 / np.sqrt(np.mean((first - second) ** 2))))
    assert (row["file"], row["target"]) == (str(restored), str(target))
    assert json.loads(call(metric, "psnr", target, target, "--json")[1])[0]["scores"]["psnr"] == "inf"


def test_metric_under_a_protocol(call, folders):
    target = folders / "gt/1.png"
    out = call(metric, "psnr", "ssim", target, target, "--protocol", "dcmpnet")[1]
    assert out.splitlines()[0].startswith("psnr\t100.000000")
    assert out.splitlines()[1].startswith("ssim_dcmpnet\t1.000000")


def test_metric_with_the_hazy_picture(call, folders):
    hazy = folders / "hazy/0_0.png"
    assert call(metric, "clipped", "chroma_shift", hazy, hazy)[1].split("\t")[1] == "0.000000"


def test_metrics_are_listed_and_unavailable_ones_marked(call, monkeypatch):
    monkeypatch.delenv("UNHAZE_ALEXNET_WEIGHTS", raising=False)
    code, out, _ = call(metric, "--list")
    assert code == 0
    assert "psnr_y" in out
    assert "unavailable: LPIPS" in out
    assert {entry["name"] for entry in json.loads(call(metric, "--list", "--json")[1])} >= {"niqe", "fade", "lpips"}


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ([], 2, "--list"),
        (["psrn", "good/0_0.png", "gt/0.png"], 2, "psnr"),
        (["psnr", "ssm", "good/0_0.png", "gt/0.png"], 2, "ssim"),
        (["psnr"], 2, "at least one picture"),
        (["psnr", "good/0_0.png"], 2, "compares two pictures"),
        (["psnr", "clipped", "good/0_0.png", "gt/0.png"], 2, "one kind"),
        (["lpips", "good/0_0.png", "gt/0.png"], 3, "AlexNet"),
        (["psnr", "good/0_0.png", "small.png"], 1, "80x60 px but its target 10x10 px"),
        (["fade", "good/0_0.png", "missing.png"], 1, "missing.png"),
        (["fade", "good/0_0.png", "empty.png"], 1, "empty.png"),
        (["niqe", "good/0_0.png"], 1, "256"),
    ],
)
def test_faults_of_metric(call, folders, monkeypatch, arguments, code, words):
    monkeypatch.chdir(folders)
    monkeypatch.delenv("UNHAZE_ALEXNET_WEIGHTS", raising=False)
    (folders / "empty.png").touch()
    Image.new("RGB", (10, 10)).save("small.png")
    found, _, err = call(metric, *arguments)
    assert found == code
    assert words in err
    assert os.fspath(folders) not in err


@pytest.fixture
def network_weights(tmp_path):
    """Two sets of weights of one network, fresh."""
    torch = pytest.importorskip("torch")
    from unhaze.models.checkpoints import save_weights
    from unhaze.models.networks import create_network

    for seed in (0, 1):
        torch.manual_seed(seed)
        save_weights(create_network("aodnet-base").state_dict(), tmp_path / f"w{seed}.safetensors", "aodnet-base")
    return tmp_path


def test_a_network_is_scored_as_the_folder_that_run_writes(call, unhaze, folders, network_weights):
    file = network_weights / "w0.safetensors"
    done = unhaze("run", folders / "hazy", "-o", folders / "restored", "--model", "aodnet", "--weights", file)
    assert done.exit_code == 0, done.stderr
    code, out, err = call(
        eval_,
        *("--model", "aodnet", "--weights", file, "--model", "dcp", "--pred", folders / "restored"),
        *("--data", folders, "--metrics", "psnr,ssim", "-o", folders / "out", "-j", 1, "--limit", 3, "--json"),
        "--no-plots",
    )
    assert code == 0, err
    report = json.loads(out)
    by_label = {run["label"]: run for run in report["runs"]}
    assert list(by_label) == ["restored", "dcp", "aodnet-base"]
    ours, folder = by_label["aodnet-base"], by_label["restored"]
    assert (ours["kind"], ours["model"], ours["scored"]) == ("model", "aodnet-base", 3)
    assert ours["options"] == {"strength": 1.0, "weights": "w0.safetensors"}
    assert ours["summary"]["psnr"]["mean"] == pytest.approx(folder["summary"]["psnr"]["mean"], abs=0.02)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    assert report["provenance"]["weights"]["aodnet-base, weights"] == f"sha256 {digest}"


def test_scores_of_a_network_belong_to_the_bytes_of_its_weights(call, folders, network_weights):
    first, second = (network_weights / f"w{i}.safetensors" for i in (0, 1))
    common = ("--data", folders, "--metrics", "psnr", "-o", folders / "out", "-j", 1, "--limit", 2, "--no-plots")
    code, out, err = call(eval_, "--weights", first, "--weights", second, *common)
    assert code == 0, err
    assert "| aodnet-base |" in out
    assert "| aodnet-base (w1) |" in out
    moved = network_weights / "elsewhere.safetensors"
    first.rename(moved)
    _, again, err = call(eval_, "--model", "aodnet-base", "--weights", moved, *common)
    assert "2 pictures scored, 2 of them known from before" in err
    moved.write_bytes(second.read_bytes())
    _, changed, err = call(eval_, "--model", "aodnet-base", "--weights", moved, *common)
    assert "2 of them known" in err, "the bytes are those of the second, which were scored"
    assert again != changed


@pytest.mark.parametrize(
    ("options", "code", "reported"),
    [
        (["--model", "aodnet-bse"], 2, "did you mean aodnet-base"),
        (["--model", "dcp", "--weights", "{w}", "--model", "aodnet", "--weights", "{w}"], 2, "belongs to no network"),
        (["--model", "aodnet"], 3, "The network aodnet-base needs trained weights"),
        (["--model", "aodnet", "--weights", "nowhere.pth"], 3, "no weights file nowhere.pth"),
        (["--model", "aodnet", "--weights", "{w}", "--weights", "b.pth"], 2, "b.pth belongs to no network"),
        (["--model", "gcanet", "--weights", "{w}"], 2, "looks like aodnet-base"),
        (["--model", "aodnet", "--weights", "{w}", "--device", "tpu"], 2, "no device named 'tpu'"),
        (["--model", "aodnet", "--weights", "{w}", "--strength", "-1"], 2, "between 0 and 1"),
        (["--model", "aodnet+hgdf", "--weights", "{w}", "--depth", "{w}"], 2, "the depth of one picture"),
        (
            ["--model", "aodnet", "--weights", "{w}", "--depth", "compact"],
            2,
            "--prompts are for networks with a fusion",
        ),
        (["--weights", "{w}", "--prompts", "2"], 2, "--prompts are for networks with a fusion module"),
        (["--model", "dcp", "--device", "cpu", "--tile", "64"], 2, "are for networks; add one with --model"),
    ],
)
def test_networks_that_cannot_be_scored_are_reported(call, folders, network_weights, options, code, reported):
    given = [option.format(w=network_weights / "w0.safetensors") for option in options]
    found, _, err = call(eval_, *given, "--data", folders, "-o", folders / "out", "-j", 1)
    assert found == code, err
    assert reported in err


def test_options_for_fusions_reach_the_networks_that_have_one(call, folders, network_weights):
    pytest.importorskip("onnxruntime")
    from unhaze.models.guided import create_model, save_model

    guided = save_model(create_model("aodnet+concat", "compact"), network_weights / "guided.safetensors")
    code, out, err = call(
        eval_,
        *("--weights", network_weights / "w0.safetensors", "--weights", guided, "--depth", "compact"),
        *("--data", folders, "--metrics", "psnr", "-o", folders / "out", "-j", 1, "--limit", 1, "--json", "--no-plots"),
    )
    assert code == 0, err
    assert [(run["label"], run["options"].get("depth")) for run in json.loads(out)["runs"]] == [
        ("aodnet-base", None),
        ("aodnet-base+concat", "compact"),
    ]


def test_workers_are_as_many_as_have_room(monkeypatch, folders, network_weights):
    from unhaze.evaluation import _workers, benchmark

    run = benchmark.Run("aodnet", model="aodnet-base", options={"weights": network_weights / "w0.safetensors"})
    plan = benchmark.plan_benchmark(benchmark.Benchmark((run,), hazy=folders / "hazy", metrics=("clipped",)))
    monkeypatch.setattr(_workers, "available_memory", lambda: 1 << 50)
    assert _workers._workers_that_fit(plan.cases, 8) == 8
    monkeypatch.setattr(_workers, "available_memory", lambda: 1 << 20)
    assert _workers._workers_that_fit(plan.cases, 8) == 1
