import json
import tempfile

import pytest

import unhaze as package
from unhaze.images.files import WRITE_FORMATS


def test_a_sound_installation(unhaze):
    result = unhaze("doctor", "--json")
    assert result.exit_code == 0, result.stdout
    facts = json.loads(result.stdout)
    assert facts["ok"]
    assert facts["unhaze"] == package.__version__
    assert set(facts["formats"]) == set(WRITE_FORMATS)
    assert set(facts["formats"].values()) == {"ok"}
    assert all(facts["packages"].values())
    assert facts["machine"]["processors"] >= 1
    assert facts["temporary_folder"]["path"] == tempfile.gettempdir()


def test_words_for_people(unhaze):
    result = unhaze("doctor")
    assert result.exit_code == 0
    assert result.stderr == ""
    assert result.stdout.splitlines()[-1] == "Everything works."
    for word in (
        "engine",
        "ExecutionProvider" if json_engine(unhaze) == "onnxruntime" else "CPU",
        "numpy",
        "processors",
        "free memory",
        "jpeg ok",
    ):
        assert word in result.stdout


def json_engine(unhaze):
    return json.loads(unhaze("doctor", "--json").stdout)["engine"]["name"]


def test_the_engine_follows_the_environment(unhaze, monkeypatch):
    monkeypatch.setenv("UNHAZE_ENGINE", "onnxruntime")
    reported = json.loads(unhaze("doctor", "--json").stdout)["engine"]
    assert (reported["error"], reported["name"], reported["provider"]) == (None, "onnxruntime", "CPUExecutionProvider")
    monkeypatch.setenv("UNHAZE_ENGINE", "onyx")
    result = unhaze("doctor", "--json")
    assert result.exit_code == 1
    assert "no engine named 'onyx'" in json.loads(result.stdout)["engine"]["error"]


def test_what_works_at_full_resolution_follows_the_environment(unhaze, monkeypatch):
    monkeypatch.setenv("UNHAZE_KERNELS", "off")
    reported = json.loads(unhaze("doctor", "--json").stdout)["kernels"]
    assert reported == {"error": None, "description": "NumPy and OpenCV (switched off by UNHAZE_KERNELS)"}
    monkeypatch.setenv("UNHAZE_KERNELS", "turbo")
    result = unhaze("doctor")
    assert result.exit_code == 1
    assert "UNHAZE_KERNELS is 'turbo', but must be one of auto, off" in result.stdout


def test_a_missing_extra_is_no_fault_and_says_how_to_install_it(unhaze, monkeypatch):
    from unhaze.cli import doctor

    monkeypatch.setattr(doctor, "_EXTRAS", {"no-such-package": "raw"})
    result = unhaze("doctor")
    assert result.exit_code == 0
    assert "not installed; pip install 'unhaze[raw]'" in result.stdout


def broken(*_, **__):
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize(
    ("target", "line"),
    [
        ("unhaze.images.files.encode_image", "formats"),
        ("unhaze.restore.dehazer.Dehazer.__call__", "dehazing"),
        ("tempfile.TemporaryFile", "temporary files"),
    ],
)
def test_what_does_not_work_is_shown_and_is_exit_code_one(unhaze, monkeypatch, target, line):
    monkeypatch.setattr(target, broken)
    result = unhaze("doctor")
    assert result.exit_code == 1
    (reported,) = [text for text in result.stdout.splitlines() if text.startswith(line)]
    assert "No space left" in reported
    assert "does not work" in result.stdout.splitlines()[-1]


def test_a_codec_that_garbles_is_found(unhaze, monkeypatch):
    from unhaze.images import files as images

    read_image = images.read_image

    def garbled(source, **options):
        picture = read_image(source, **options)
        picture.pixels = 255 - picture.pixels
        return picture

    monkeypatch.setattr(images, "read_image", garbled)
    facts = json.loads(unhaze("doctor", "--json").stdout)
    assert not facts["ok"]
    assert set(facts["formats"].values()) == {"what was read is not what was written"}
