import json
import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from scipy.stats import entropy  # noqa: E402
from tests.evaluation.studies.toy import scenes  # noqa: E402

from unhaze.depth.base import DepthEstimator  # noqa: E402
from unhaze.errors import UsageError  # noqa: E402
from unhaze.evaluation.studies.divergence import (  # noqa: E402
    BINS,
    FLOOR,
    PSEUDO_COUNT,
    control_estimators,
    histogram_divergence,
    kl_divergence,
    measure_divergence,
    pixel_divergence,
)
from unhaze.types import DepthMap  # noqa: E402


class Gray(DepthEstimator):
    """Brightness, scaled, as depth of some kind."""

    def __init__(self, kind="relative", scale=1.0, shift=0.0):
        super().__init__()
        self.kind, self.scale, self.shift = kind, scale, shift

    def forward(self, image):
        return DepthMap(self.scale * image.mean(1, keepdim=True) + self.shift, self.kind)


def near(*values):
    return torch.tensor(values).view(1, 1, 1, -1)


def test_divergence_by_hand():
    p, q = torch.tensor([0.5, 0.5]), torch.tensor([0.25, 0.75])
    assert kl_divergence(p, q) == pytest.approx(0.5 * math.log(2) + 0.5 * math.log(2 / 3))
    assert kl_divergence(q, p) == pytest.approx(0.25 * math.log(0.5) + 0.75 * math.log(1.5))
    assert kl_divergence(p, p) == 0


def test_divergence_of_random_distributions_is_that_of_scipy():
    p, q = np.random.default_rng(1).dirichlet(np.ones(50), 2)
    assert kl_divergence(torch.tensor(p), torch.tensor(q)) == pytest.approx(entropy(p, q))


def test_pixels_by_hand():
    clear, hazy = near(1.0, 0.0), near(1.0, 0.5)
    p = np.array([1 + FLOOR, FLOOR]) / (1 + 2 * FLOOR)
    q = np.array([1 + FLOOR, 0.5 + FLOOR]) / (1.5 + 2 * FLOOR)
    assert pixel_divergence(clear, hazy) == pytest.approx(entropy(p, q))
    assert pixel_divergence(clear, clear) == 0


def test_histograms_by_hand():
    clear, hazy = near(0.0, 0.0, 0.0, 1.0), near(0.0, 1.0, 1.0, 1.0)
    p, q = np.full((2, BINS), PSEUDO_COUNT)
    p[[0, -1]] += (3, 1)
    q[[0, -1]] += (1, 3)
    assert histogram_divergence(clear, hazy) == pytest.approx(entropy(p, q))


def test_places_matter_to_pixels_only():
    clear = torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    turned = clear.flip(-1)
    assert histogram_divergence(clear, turned) == 0
    assert pixel_divergence(clear, turned) > 0.01


def test_no_haze_no_divergence():
    result = measure_divergence({"gray": (Gray(), "none")}, scenes(), [0.0, 0.1])
    (entry,) = result.estimators
    assert entry.pixels[0] == entry.histogram[0] == (0.0, 0.0, 0.0)
    assert min(entry.pixels[1]) > 0
    assert min(entry.histogram[1]) > 0
    assert result.transmission[0] == 1 > result.transmission[1]


@pytest.mark.parametrize("twin", [Gray("relative", 3.0, 2.0), Gray("inverse_relative", -0.5, 1.0)])
def test_scale_shift_and_kind_of_depth_do_not_matter(twin):
    result = measure_divergence({"gray": (Gray(), "none"), "twin": (twin, "none")}, scenes(), [0.1])
    first, second = result.estimators
    assert second.pixels[0] == pytest.approx(first.pixels[0], rel=1e-4)
    assert second.other_pixels == pytest.approx(first.other_pixels, rel=1e-4)


def test_controls():
    result = measure_divergence(control_estimators(), scenes(), [0.5])
    dark, ramp = result.estimators
    assert min(dark.histogram[0]) > 0.05
    assert ramp.pixels[0] == ramp.other_pixels == (0.0, 0.0, 0.0)


def test_the_result_as_json():
    estimators = {"gray": (Gray(), "random")}
    text = measure_divergence(estimators, scenes(), [0.04, 0.2]).to_json()
    assert measure_divergence(estimators, scenes(), [0.04, 0.2]).to_json() == text
    facts = json.loads(text)
    assert facts["betas"] == [0.04, 0.2]
    (entry,) = facts["estimators"]
    assert (entry["name"], entry["weights"], entry["parameters"]) == ("gray", "random", 0)
    assert np.shape(entry["pixels"]) == (2, 3)
    assert entry["summary"]["pixels"][1]["mean"] == pytest.approx(np.mean(entry["pixels"][1]), rel=1e-4)


def test_one_picture_has_no_other():
    (entry,) = measure_divergence({"gray": (Gray(), "none")}, scenes(1), [0.1]).estimators
    assert math.isnan(entry.other("pixels").mean)
    assert math.isnan(entry.spread("pixels", 0).std)


@pytest.mark.parametrize(
    ("pictures", "betas", "airlight"), [([], [0.1], 0.8), (scenes(1), [], 0.8), (scenes(1), [0.1], 2)]
)
def test_mistakes(pictures, betas, airlight):
    with pytest.raises(UsageError):
        measure_divergence({"gray": (Gray(), "none")}, pictures, betas, airlight=airlight)
