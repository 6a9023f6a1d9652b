import json
import pickle
import re

import pytest

torch = pytest.importorskip("torch")

from unhaze.models.catalogue import list_models  # noqa: E402
from unhaze.models.checkpoints import load_network  # noqa: E402
from unhaze.models.networks import create_network, list_networks  # noqa: E402
from unhaze.restore.options import DEFAULT_MODEL  # noqa: E402


@pytest.fixture
def official(tmp_path):
    """A checkpoint with the names of the official code."""
    torch.manual_seed(0)
    state = {f"module.e_{key}": tensor for key, tensor in create_network("aodnet-base").state_dict().items()}
    state["module.e_conv1.bias"] = torch.full((3,), 1e-30)
    torch.save({"state_dict": state, "epoch": 3}, tmp_path / "dehazer.pth")
    return tmp_path / "dehazer.pth"


def test_list_names_everything_with_what_a_user_chooses_by(unhaze):
    result = unhaze("models", "list")
    head, *lines = result.stdout.splitlines()
    assert head.split()[:5] == ["NAME", "KIND", "PARAMETERS", "LICENCE", "WEIGHTS"]
    assert [line.split()[0] for line in lines] == [*list_models("default"), *list_models("classic"), *list_networks()]
    assert all(len(line.split()) > 7 for line in lines), "each says in words what it is"
    assert "--model NAME" in result.stderr
    entries = {entry["name"]: entry for entry in json.loads(unhaze("models", "list", "--json").stdout)}
    assert list(entries) == [*list_models("default"), *list_models("classic"), *list_networks()]
    assert [entries[name]["kind"] for name in ("bccr", DEFAULT_MODEL, "oknet-base")] == [
        "classic",
        "default",
        "network",
    ]
    facts = [entries["oknet-base"][key] for key in ("parameters", "license", "weights")]
    assert facts == [4722857, "MIT", "official"]
    assert entries["sgdnet-base"]["weights"] == "none published"
    assert [entries[name]["weights"] for name in ("dcp", "field-m")] == ["none needed", "shipped"]


def test_info_reports_what_a_user_asks(unhaze):
    reported = unhaze("models", "info", "aodnet-base").stdout
    for fact in ("ICCV 2017", "MIT", "1,761", "overlap of 7 pixels"):
        assert fact in reported
    assert "the whole picture at once" in unhaze("models", "info", "gcanet-base").stdout
    facts = json.loads(unhaze("models", "info", "aodnet-base", "--json").stdout)
    assert facts["contract"]["tiling"] == 7
    assert facts["stages"][0]["name"] == "enc1"
    assert facts["card"]["weights"][0]["files"] == "dehazer.pth"
    assert "Dark channel" in unhaze("models", "info", "dcp").stdout


@pytest.mark.parametrize("name", list_networks())
def test_info_says_where_weights_lie_and_under_which_licence(unhaze, name):
    told = unhaze("models", "info", name).stdout
    assert re.search(r"^Licence of the code: (none stated|MIT|Apache-2.0|CC-BY-NC-SA-4.0)", told, re.MULTILINE)
    assert re.search(r"^Weights: (https://\S+|none published; \w.*)$", told, re.MULTILINE)
    assert ("https://" in told) == ("; licence: " in told)
    assert "recognised by the names and shapes of its tensors" in told
    assert re.search(r"^Measured here: (relative error \de-\d|nothing)", told, re.MULTILINE)
    assert "`" not in told, "a terminal shows no markup"


def test_info_draws_where_depth_is_attached(unhaze):
    reported = unhaze("models", "info", "dehazeformer-t+hgdf").stdout
    lines = {line.split()[0]: line for line in reported.splitlines() if line.startswith("  ")}
    assert set(lines) == {"enc1", "enc2", "mid", "dec2", "dec1"}
    assert [name for name, line in lines.items() if "<- depth" in line] == ["enc1", "enc2"]
    assert "687,404 in the network" in reported
    facts = json.loads(unhaze("models", "info", "dehazeformer-t+hgdf", "--json").stdout)
    assert facts["added"] == sum(stage["added"] or 0 for stage in facts["stages"]) > 0
    assert facts["stages"][0]["depth_feature"] is None  # its adaptor draws on every map of the estimator
    facts = json.loads(unhaze("models", "info", "dehazeformer-t+prompthaze", "--json").stdout)
    assert facts["stages"][0]["depth_feature"] == {"index": 0, "channels": 1}
    wrong = unhaze("models", "info", "dehazeformer-t+hgfd")
    assert wrong.exit_code == 2
    assert "did you mean hgdf" in wrong.stderr


def test_an_unknown_network_names_near_ones(unhaze):
    result = unhaze("models", "info", "dehazformer-t")
    assert result.exit_code == 2
    assert "did you mean dehazeformer-t" in result.stderr


def test_verify_recognises_and_tries(unhaze, official):
    result = unhaze("models", "verify", official)
    assert result.exit_code == 0, result.stderr
    assert "aodnet-base, 1,761 parameters" in result.stdout
    facts = json.loads(unhaze("models", "verify", official, "--json").stdout)
    assert facts["network"] == "aodnet-base"
    assert len(facts["sha256"]) == 64


def test_verify_finds_what_is_wrong(unhaze, official, tmp_path):
    assert unhaze("models", "verify", tmp_path / "nowhere.pth").exit_code == 3
    result = unhaze("models", "verify", official, "--model", "gcanet-base")
    assert result.exit_code == 2
    assert "looks like aodnet-base" in result.stderr
    state = create_network("aodnet-base").state_dict()
    state["conv1.weight"].fill_(float("nan"))
    torch.save(state, tmp_path / "nan.pth")
    result = unhaze("models", "verify", tmp_path / "nan.pth")
    assert result.exit_code == 2
    assert "no numbers" in result.stderr


class Bomb:
    def __reduce__(self):
        return exec, ("raise SystemExit('executed')",)


def test_nothing_in_a_file_is_executed(unhaze, tmp_path):
    (tmp_path / "bomb.pth").write_bytes(pickle.dumps({"weight": Bomb()}))
    for command in (["models", "verify"], ["convert", "-o", tmp_path / "out.safetensors"]):
        result = unhaze(*command, tmp_path / "bomb.pth")
        assert result.exit_code == 2
        assert "executed" not in result.output
    assert not (tmp_path / "out.safetensors").exists()


def test_convert_brings_official_weights_under_our_names(unhaze, official, tmp_path):
    target = tmp_path / "out.safetensors"
    result = unhaze("convert", official, "-o", target)
    assert result.exit_code == 0, result.stderr
    assert "aodnet-base (official names)" in result.stderr
    assert "3 numbers too small" in result.stderr
    converted, name = load_network(target)
    assert name == "aodnet-base"
    expected, _ = load_network(official)
    for key, tensor in expected.state_dict().items():
        assert torch.equal(converted.state_dict()[key], tensor)
    again = unhaze("convert", official, "-o", target)
    assert again.exit_code == 1
    facts = json.loads(unhaze("convert", official, "-o", target, "--overwrite", "--json").stdout)
    assert facts == {
        "network": "aodnet-base",
        "official_names": True,
        "path": str(target),
        "tensors": 10,
        "flushed": 3,
    }


@pytest.mark.parametrize(
    "command",
    [
        ("run", "a.png", "--model", "gcanat"),
        ("run", "a.png", "--model", "gcanat", "--weights", "nowhere.pth"),
        ("watch", ".", "-o", "out", "--model", "gcanat"),
        ("models", "info", "gcanat"),
        ("models", "info", "gcanat+hgdf"),
        ("models", "verify", "nowhere.pth", "--model", "gcanat"),
        ("convert", "nowhere.pth", "-o", "a.safetensors", "--model", "gcanat"),
        ("bench", "models", "gcanat"),
        ("bench", "fusions", "--model", "gcanat"),
        ("analyze", "consistency", "--data", ".", "-o", "out", "--model", "gcanat"),
        ("eval", "--data", ".", "-o", "out", "--model", "gcanat"),
        ("train", "supervised-small", "--dry-run", "--set", "network=gcanat"),
    ],
    ids=" ".join,
)
def test_a_typo_of_a_network_names_the_near_one_in_every_command(unhaze, tmp_path, monkeypatch, command):
    pytest.importorskip("torch")
    monkeypatch.chdir(tmp_path)
    result = unhaze(*command)
    assert result.exit_code == 2, result.stderr
    assert re.search("There is no (?:network|model) named 'gcanat'; did you mean .*gcanet-base", result.stderr)
    assert "weights" not in result.stderr
