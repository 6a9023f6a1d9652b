import math

import numpy as np
import pytest
import torch
from skimage import data
from skimage.color import rgb2ycbcr
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from unhaze.errors import ImageValueError, UnknownNameError
from unhaze.evaluation.protocols import PROTOCOLS, Protocol, get_protocol, list_protocols, match_target
from unhaze.evaluation.scoring import score_picture
from unhaze.metrics import list_metrics
from unhaze.metrics.functional import SSIM_CONVENTIONS, as_batch


def hazed(clear):
    """Haze of the table of conventions: beta 0.5, airlight 0.85, depth falling from 1 at the top to 0.2."""
    transmission = np.exp(-0.5 * np.linspace(1, 0.2, len(clear)))[:, None, None]
    return clear * transmission + 0.85 * (1 - transmission)


def to_8bit(values):
    return np.round(values * 255) / 255


def scores(protocol, restored, clear, metrics=None, rule="equal"):
    recipe = get_protocol(protocol)
    chosen = metrics or ("psnr", recipe.ssim_metric)
    result = score_picture(
        as_batch(restored), target=as_batch(clear), protocol=recipe, metrics=chosen, target_rule=rule
    )
    assert not result.errors
    return [result.values[name] for name in chosen]


@pytest.mark.parametrize(
    ("picture", "protocol", "psnr", "ssim"),
    [
        ("coffee", "dcmpnet", 17.299, 0.79733),
        ("coffee", "dehazeformer", 17.299, 0.80024),
        ("coffee", "basicsr-rgb", 17.299, 0.79590),
        ("coffee", "full8bit", 17.299, 0.79590),
        ("astronaut", "dcmpnet", 18.456, 0.78741),
        ("astronaut", "dehazeformer", 18.456, 0.79109),
        ("astronaut", "depth-fusion", 18.456, 0.77617),
    ],
)
def test_each_protocol_uses_its_own_convention(picture, protocol, psnr, ssim):
    clear = getattr(data, picture)() / 255
    found = scores(protocol, to_8bit(hazed(clear)), clear)
    assert found[0] == pytest.approx(psnr, abs=1e-3)
    assert found[1] == pytest.approx(ssim, abs=1e-4)


def test_psnr_y_is_the_limited_range_kind():
    clear = data.coffee() / 255
    assert scores("depth-fusion", to_8bit(hazed(clear)), clear, ("psnr_y",))[0] == pytest.approx(19.643, abs=1e-3)


def test_protocols_of_8_bits_round_and_the_others_do_not():
    clear = data.coffee() / 255
    restored = hazed(clear)
    for name in list_protocols():
        seen = to_8bit(restored) if get_protocol(name).rounding == "8bit" else restored
        expected = peak_signal_noise_ratio(clear, seen, data_range=1)
        assert scores(name, restored, clear)[0] == pytest.approx(expected, abs=1e-9)
    rounded = peak_signal_noise_ratio(clear, to_8bit(restored), data_range=1)
    assert abs(rounded - peak_signal_noise_ratio(clear, restored, data_range=1)) > 1e-4


def test_basicsr_ssim_agrees_with_scikit_image():
    clear = data.chelsea() / 255
    restored = to_8bit(hazed(clear))
    expected = structural_similarity(
        clear,
        restored,
        channel_axis=2,
        data_range=1,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        full=True,
    )[1][5:-5, 5:-5].mean()
    assert scores("basicsr-rgb", restored, clear)[1] == pytest.approx(expected, abs=1e-5)


def test_rain_is_scored_on_luma_as_scikit_image_has_it():
    clear = data.chelsea() / 255
    restored = to_8bit(hazed(clear))
    luma, seen = rgb2ycbcr(clear)[..., 0], rgb2ycbcr(restored)[..., 0]
    found = scores("deraining-y", restored, clear, get_protocol("deraining-y").metrics)
    assert found[0] == pytest.approx(peak_signal_noise_ratio(luma, seen, data_range=255), abs=1e-4)
    of_windows = structural_similarity(
        luma, seen, data_range=255, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, full=True
    )[1]
    assert found[1] == pytest.approx(of_windows[5:-5, 5:-5].mean(), abs=1e-5)


@pytest.mark.parametrize(
    ("protocol", "value"), [("dcmpnet", 100.0), ("dehazeformer", math.inf), ("full8bit", math.inf)]
)
def test_identical_pictures(protocol, value):
    clear = data.chelsea() / 255
    assert scores(protocol, clear, clear) == [value, pytest.approx(1.0)]


def test_rounding_is_half_up_and_values_are_clamped():
    values = torch.tensor([-0.2, 0.5 / 255, 1.4999 / 255, 1.5 / 255, 1.2], dtype=torch.float64)
    picture = values.expand(1, 3, 2, 5)
    assert (get_protocol("full8bit").prepare(picture)[0, 0, 0] * 255).tolist() == pytest.approx([0, 1, 1, 2, 255])
    assert get_protocol("dcmpnet").prepare(picture)[0, 0, 0, 1:4].tolist() == values[1:4].tolist()
    assert get_protocol("dcmpnet").prepare(picture).max() == 1


def test_border_is_cut_off_all_sides():
    recipe = Protocol("x", 1, "", "", "none", 2, "gaussian", math.inf, ("psnr",))
    picture = torch.rand(1, 3, 9, 12)
    assert torch.equal(recipe.prepare(picture), picture[..., 2:7, 2:10])
    with pytest.raises(ImageValueError, match=r"12x4 px.*border of 2 px"):
        recipe.prepare(picture[..., :4, :])


@pytest.mark.parametrize("name", list(PROTOCOLS))
def test_protocols_are_complete_and_name_real_things(name):
    recipe = get_protocol(name)
    assert recipe.name == name
    assert recipe.id == f"{name}/{recipe.version}"
    assert recipe.ssim in SSIM_CONVENTIONS
    assert recipe.ssim_metric in recipe.metrics
    assert set(recipe.metrics) <= set(list_metrics())
    assert recipe.summary
    assert recipe.source


def test_protocols_of_the_papers_say_what_is_unknown():
    assert get_protocol("dcmpnet").open_points
    assert get_protocol("depth-fusion").open_points


def test_unknown_protocol_lists_near_ones():
    with pytest.raises(UnknownNameError, match="dcmpnet"):
        get_protocol("dcmp-net")


def test_sots_indoor_takes_the_middle_of_the_target():
    target = torch.rand(1, 3, 480, 640)
    cut = match_target(torch.zeros(1, 3, 460, 620), target, "sots-indoor")
    assert torch.equal(cut, target[:, :, 10:470, 10:630])
    assert torch.equal(match_target(cut, cut, "sots-indoor"), cut)


@pytest.mark.parametrize(
    ("result", "target", "rule", "words"),
    [
        ((460, 620), (480, 640), "equal", "620x460 px.*640x480 px.*choose the target rule sots-indoor"),
        ((460, 620), (461, 620), "equal", "620x460 px.*620x461 px"),
        ((480, 640), (480, 640), "sots-indoor", "640x480 px.*640x480 px.*620x460"),
        ((100, 100), (120, 120), "sots-indoor", "100x100 px.*120x120 px"),
        ((640, 480), (620, 460), "sots-indoor", "480x640 px.*460x620 px"),
    ],
)
def test_other_size_mismatches_are_errors_that_say_both_sizes(result, target, rule, words):
    with pytest.raises(ImageValueError, match=words):
        match_target(torch.zeros(1, 3, *result), torch.zeros(1, 3, *target), rule)


def test_unknown_target_rule():
    with pytest.raises(UnknownNameError, match="sots-indoor"):
        match_target(torch.zeros(1, 3, 4, 4), torch.zeros(1, 3, 4, 4), "sots")
