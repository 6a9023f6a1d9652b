import hashlib
import subprocess
from importlib.resources import files
from pathlib import Path

import pytest

import unhaze
from unhaze.evaluation.provenance import (
    HAZE_MODEL_CODE,
    code_hash,
    describe_inputs,
    hash_file,
    manifest_hash,
    portable_command,
    versions,
)


def test_manifest_hash_is_that_of_sha256sum(tmp_path):
    for name in ("b.png", "a.png"):
        (tmp_path / name).write_text(name)
    hashes = {path.name: hash_file(path) for path in tmp_path.iterdir()}
    listing = subprocess.run(["sha256sum", "a.png", "b.png"], cwd=tmp_path, capture_output=True, check=True).stdout
    assert manifest_hash(hashes) == hashlib.sha256(listing).hexdigest()


def test_renaming_a_file_changes_the_manifest():
    assert manifest_hash({"a": "0"}) != manifest_hash({"b": "0"})


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        (["unhaze", "eval", "--pred", "/home/me/out"], "unhaze eval --pred …/out"),
        (["unhaze", "--pred=/home/me/out", "x y"], "unhaze --pred=…/out 'x y'"),
        (["unhaze", "label=/srv/a b"], "unhaze 'label=…/a b'"),
        (["unhaze", "--pairing", "regex:(.*)_x"], "unhaze --pairing 'regex:(.*)_x'"),
        ([], ""),
    ],
)
def test_commands_name_no_folder_of_the_machine(arguments, shown):
    assert portable_command(arguments) == shown


def test_versions_name_what_scores():
    found = versions()
    assert found["unhaze"] == unhaze.__version__
    assert {"python", "numpy", "torch", "opencv-python-headless", "pillow"} <= set(found)


def test_code_hash_is_of_the_parts_asked_for():
    assert len(code_hash("metrics")) == 64
    assert code_hash("metrics") != code_hash("evaluation/scoring.py") != code_hash("metrics", "evaluation/scoring.py")
    assert code_hash("evaluation/reported.toml") != code_hash("nowhere")  # data counts as well


def test_other_weights_are_another_method():
    """Scores of a trained method must not be taken for those of the same method trained again."""
    weights = Path(str(files("unhaze.default") / "field-m.onnx"))
    root = Path(unhaze.__file__).parent
    assert any(weights.is_relative_to(root / part) for part in HAZE_MODEL_CODE)
    assert code_hash("default/field-m.onnx") != code_hash("nowhere")


def test_inputs_are_described_without_paths():
    entries = describe_inputs([("target", "gt", {"a.png": "0" * 64})])
    assert entries == [
        {"role": "target", "folder": "gt", "files": 1, "manifest_sha256": manifest_hash({"a.png": "0" * 64})}
    ]
