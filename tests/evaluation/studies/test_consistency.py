import json
import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from tests.evaluation.studies.toy import scenes  # noqa: E402

from unhaze.evaluation.studies.consistency import MEASURES, measure_consistency  # noqa: E402
from unhaze.evaluation.studies.probes import Probe, control_probes  # noqa: E402

PIXELS = Probe("toy", "none", lambda image, depth: {"image": image, "sum": image.sum(1, keepdim=True)})


def test_no_haze_no_distance():
    result = measure_consistency([PIXELS, *control_probes()], scenes(), [0.0])
    assert len(result.stages) == 6
    for stage in result.stages:
        assert stage.relative == stage.scene == ((0.0, 0.0, 0.0),)
        assert max(stage.cosine[0]) < 1e-7 or stage.channels == 1


def test_distance_of_pixels_follows_from_the_scattering_model():
    """h - c = (1 - t) (A - c)."""
    pictures = scenes()
    result = measure_consistency([PIXELS], pictures, [0.1, 0.3], airlight=0.9)
    for level, beta in enumerate(result.betas):
        for i, scene in enumerate(pictures):
            lost = 1 - np.exp(-beta * scene.depth.astype(float))
            moved = np.linalg.norm(lost[..., None] * (0.9 - scene.clear), axis=2).mean()
            expected = moved / np.linalg.norm(scene.clear, axis=2).mean()
            assert result.stages[0].relative[level][i] == pytest.approx(expected, rel=2e-3)  # 8 bits
            other = pictures[(i + 1) % 3].clear
            apart = np.linalg.norm(other - scene.clear, axis=2).mean()
            assert result.stages[0].scene[level][i] == pytest.approx(moved / apart, rel=2e-3)


def test_more_haze_is_farther():
    stage = measure_consistency([PIXELS], scenes(), [0.04, 0.1, 0.2]).stages[0]
    for measure in MEASURES:
        means = [stage.spread(measure, level).mean for level in range(3)]
        assert 0 < means[0] < means[1] < means[2]


def test_local_contrast_hardly_feels_even_haze():
    stages = {s.stage: s for s in measure_consistency(control_probes(), scenes(depth=2.0), [0.2]).stages}
    means = {name: stage.spread("scene", 0).mean for name, stage in stages.items()}
    assert means["contrast"] < 0.5 * means["pixels"]
    assert means["dark channel"] > means["contrast"]


def test_the_depth_of_the_scene_reaches_a_probe():
    probe = Probe("depth", "none", lambda image, depth: {"depth": depth})
    (stage,) = measure_consistency([probe], scenes(), [0.5]).stages
    assert stage.relative == ((0.0, 0.0, 0.0),)
    assert stage.channels == 1


def test_the_result_as_json():
    text = measure_consistency([PIXELS], scenes(), [0.04, 0.2]).to_json()
    assert measure_consistency([PIXELS], scenes(), [0.04, 0.2]).to_json() == text
    facts = json.loads(text)
    assert facts["pictures"] == ["0.png", "1.png", "2.png"]
    image, total = facts["stages"]
    assert (image["stage"], image["channels"], np.shape(image["relative"])) == ("image", 3, (2, 3))
    assert total["cosine"] == [[None] * 3] * 2
    assert image["summary"]["relative"][0]["mean"] == pytest.approx(np.mean(image["relative"][0]), rel=1e-4)


def test_one_picture_has_no_other_scene():
    (image, _) = measure_consistency([PIXELS], scenes(1), [0.1]).stages
    assert math.isnan(image.spread("scene", 0).mean)
    assert image.spread("relative", 0).mean > 0


def test_progress_is_reported_per_picture():
    reported = []
    measure_consistency([PIXELS], scenes(2), [0.1], progress=lambda: reported.append(1))
    assert len(reported) == 2
