import numpy as np
import pytest

torch = pytest.importorskip("torch")

from unhaze.evaluation.studies.pictures import ComponentColors, feature_sheet  # noqa: E402
from unhaze.evaluation.studies.probes import Probe  # noqa: E402
from unhaze.evaluation.studies.scenes import ClearScene  # noqa: E402


def rand(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def test_components_are_those_of_the_covariance():
    features = rand(1, 6, 20, 30) * torch.tensor([9.0, 1, 5, 1, 3, 1]).view(1, 6, 1, 1)
    colors = ComponentColors(features)
    pixels = features.flatten(2)[0].numpy().astype(np.float64)
    values, vectors = np.linalg.eigh(np.cov(pixels))
    for axis, expected in zip(colors.axes.T.numpy(), vectors.T[::-1][:3], strict=True):
        assert abs(axis @ expected) == pytest.approx(1, abs=1e-9)
        assert axis[np.abs(axis).argmax()] > 0
    assert values[-1] > 5


def test_what_does_not_move_keeps_its_colour_and_what_is_shifted_does_not():
    features = rand(1, 5, 12, 14)
    colors = ComponentColors(features)
    assert np.array_equal(colors(features), colors(features.clone()))
    assert not np.array_equal(colors(features), colors(features + 0.3))
    assert colors(features).shape == (12, 14, 3)
    assert (colors(features).min(), colors(features).max()) == (0, 255)


def test_one_channel_is_grey_and_flat_features_are_black():
    found = ComponentColors(rand(1, 1, 5, 6))(rand(1, 1, 5, 6))
    assert np.array_equal(found[..., 0], found[..., 2])
    assert not ComponentColors(torch.ones(1, 4, 5, 6))(torch.ones(1, 4, 5, 6)).any()


def test_a_sheet_has_a_column_for_each_level_and_a_row_for_each_stage():
    scene = ClearScene("s", rand(20, 60, 3).numpy(), np.full((20, 60), 10, np.float32))
    steady = Probe("depth", "none", lambda image, depth: {"nearness": rand(1, 1, 5, 15), "other": rand(1, 4, 5, 15)})
    pixels = Probe("pixels", "none", lambda image, depth: {"pixels": image})
    sheet = feature_sheet([steady, pixels], scene, (0.05, 0.2))
    assert sheet.shape == (4 * (16 + 20), 3 * 60, 3)
    rows = [sheet[16 + 36 * i : 36 + 36 * i].reshape(20, 3, 60, 3) for i in range(4)]
    for row in rows[1:3]:
        assert np.array_equal(row[:, 0], row[:, 2])
    for row in (rows[0], rows[3]):
        assert not np.array_equal(row[:, 0], row[:, 2])
    assert rows[0][:, 2].std() < rows[0][:, 1].std() < rows[0][:, 0].std(), "haze takes the contrast"
