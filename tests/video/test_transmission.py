"""``--save transmission``: a second video that shows how much of the scene is seen."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from unhaze import Dehazer
from unhaze.cli import app
from unhaze.errors import OutputError, OutputExistsError

av = pytest.importorskip("av", reason="PyAV is not installed (pip install 'unhaze[video]')")

from unhaze.video.dehaze import dehaze_video  # noqa: E402
from unhaze.video.transmission import transmission_target  # noqa: E402


@pytest.fixture(scope="module")
def dehazer():
    with Dehazer(threads=1) as dehazer:
        yield dehazer


def write(path, view, frames):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=10)
        stream.width, stream.height, stream.pix_fmt = view.shape[1], view.shape[0], "bgr0"
        for _ in range(frames):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(view).reformat(format="bgr0")))
        container.mux(stream.encode(None))
    return path


def content(path, layout="gray"):
    with av.open(str(path)) as container:
        return [(frame.pts, frame.to_ndarray(format=layout).astype(int)) for frame in container.decode(video=0)]


@pytest.mark.parametrize("size", [(64, 48), (63, 47)])
def test_the_transmission_is_a_second_video(size, hazy_photo, dehazer, tmp_path):
    view = cv2.resize(hazy_photo[0], size, interpolation=cv2.INTER_AREA)
    source = write(tmp_path / "in.mkv", view, 3)
    result = CliRunner().invoke(app, ["video", str(source), "--save", "transmission", "--temporal", "0"])
    assert result.exit_code == 0, result.stderr
    made = content(tmp_path / "in-transmission.mkv", "rgb24")
    assert [pts for pts, _ in made] == [pts for pts, _ in content(tmp_path / "in-dehazed.mkv")]
    wanted = dehazer(view).transmission * 255
    for _, shown in made:
        assert np.abs(shown - wanted[..., None]).mean() < 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in-dehazed.mkv", "in-transmission.mkv", "in.mkv"]
    (tmp_path / "in-dehazed.mkv").unlink()
    with pytest.raises(OutputExistsError, match=r"in-transmission\.mkv"):
        dehaze_video(source, dehazer=dehazer, save_transmission=True)


def test_both_videos_go_on_where_they_were_stopped(hazy_photo, dehazer, tmp_path):
    source = write(tmp_path / "in.mkv", cv2.resize(hazy_photo[0], (32, 24), interpolation=cv2.INTER_AREA), 130)

    def stop(done, total, moment):
        if done == 125:
            raise OutputError("full")

    options = {"dehazer": dehazer, "save_transmission": True, "lookahead": 3}
    with pytest.raises(OutputError, match="full"):
        dehaze_video(source, progress=stop, **options)
    # as if the power had failed between the pieces of the two
    (tmp_path / "in-dehazed.mkv.parts/00002.json").unlink()
    counted = []
    dehaze_video(source, progress=lambda done, *_: counted.append(done), resume=True, **options)
    assert counted == list(range(61, 131))
    dehaze_video(source, tmp_path / "whole.mkv", **options)
    for stopped, whole in (("in-dehazed.mkv", "whole.mkv"), ("in-transmission.mkv", "whole-transmission.mkv")):
        one, other = content(tmp_path / stopped), content(tmp_path / whole)
        assert len(one) == len(other) == 130
        assert all(a == b and (x == y).all() for (a, x), (b, y) in zip(one, other, strict=True))


def test_where_it_goes(tmp_path):
    assert transmission_target(tmp_path / "a-dehazed.webm").name == "a-transmission.webm"
    assert transmission_target(tmp_path / "a.wmv").name == "a-transmission.mkv"
