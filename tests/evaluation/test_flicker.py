"""Figures of flicker on videos whose flicker is known."""

import itertools

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from unhaze import Dehazer
from unhaze.cli import app
from unhaze.errors import ImageError

av = pytest.importorskip("av", reason="PyAV is not installed (pip install 'unhaze[video]')")

from unhaze.evaluation.flicker import flicker_table, measure_flicker  # noqa: E402


def write(path, frames):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "bgr0"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame).reformat(format="bgr0")))
        container.mux(stream.encode(None))
    return path


@pytest.fixture(scope="module")
def still(hazy_photo):
    return cv2.resize(hazy_photo[0], (144, 96), interpolation=cv2.INTER_AREA)


@pytest.fixture(scope="module")
def dehazer():
    with Dehazer(threads=1) as dehazer:
        yield dehazer


def test_a_still_scene_does_not_flicker(still, dehazer, tmp_path):
    figures = measure_flicker(write(tmp_path / "still.mkv", [still] * 3), dehazer)
    assert [each.name for each in figures] == ["input", "frame by frame", "smoothed"]
    for each in figures:
        assert each.warping_error < 1e-6
        assert each.brightness < 1e-6


def test_light_that_flickers_is_measured_and_smoothing_calms_the_haze(still, dehazer, tmp_path):
    frames = [np.clip(still.astype(int) + 6 * (number % 2), 0, 255).astype(np.uint8) for number in range(6)]
    source, alone, smoothed = measure_flicker(write(tmp_path / "light.mkv", frames), dehazer, temporal=0.9)
    assert source.warping_error == pytest.approx(6 / 255, rel=0.1)
    assert source.brightness == pytest.approx(3 / 255, rel=0.1)
    assert source.airlight is None
    assert smoothed.airlight < 0.5 * alone.airlight


def test_motion_is_no_flicker(still, dehazer, tmp_path):
    frames = [np.ascontiguousarray(still[:, 2 * number :][:, :128]) for number in range(4)]
    moving = measure_flicker(write(tmp_path / "pan.mkv", frames), dehazer)[0]
    unmoved = np.mean([np.abs(b.astype(float) - a).mean() / 255 for a, b in itertools.pairwise(frames)])
    assert moving.warping_error < 0.5 * unmoved


def test_the_command_prints_a_table(still, dehazer, tmp_path):
    path = write(tmp_path / "in.mkv", [still, still, still])
    result = CliRunner().invoke(app, ["eval", "--video", str(path), "--limit", "2"])
    assert result.exit_code == 0, result.stderr
    assert result.stdout == flicker_table(measure_flicker(path, dehazer, limit=2))
    assert result.stdout.count("\n") == 5


def test_one_picture_cannot_flicker(still, dehazer, tmp_path):
    with pytest.raises(ImageError, match="has 1 frame"):
        measure_flicker(write(tmp_path / "one.mkv", [still]), dehazer)
