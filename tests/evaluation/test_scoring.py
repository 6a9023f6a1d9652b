import io

import numpy as np
import pytest
import torch
from PIL import Image

from unhaze.errors import ImageError, ImageValueError, MissingError, UnknownNameError, UsageError
from unhaze.evaluation.protocols import get_protocol
from unhaze.evaluation.scoring import metric_label, read_batch, resolve_metrics, score_picture
from unhaze.metrics.functional import as_batch, fade_details


def encoded(picture, **options):
    stream = io.BytesIO()
    picture.save(stream, "PNG", **options)
    return stream.getvalue()


def test_pictures_are_read_as_stored(scene):
    pixels = scene(0)
    assert torch.equal(read_batch(encoded(Image.fromarray(pixels))), as_batch(pixels))


def test_alpha_is_ignored_and_grey_is_spread(scene):
    pixels = scene(0)
    alpha = np.dstack([pixels, np.full(pixels.shape[:2], 7, np.uint8)])
    assert torch.equal(read_batch(encoded(Image.fromarray(alpha))), as_batch(pixels))
    grey = read_batch(encoded(Image.fromarray(pixels[..., 0])))
    assert grey.shape[1] == 3
    assert torch.equal(grey[:, 0], grey[:, 2])


def test_16_bit_pictures_keep_their_levels():
    levels = (np.arange(64 * 48, dtype=np.uint16) * 21).reshape(48, 64)
    assert len(read_batch(encoded(Image.fromarray(levels))).unique()) == 64 * 48


@pytest.mark.parametrize("data", [b"", b"not a picture", encoded(Image.new("RGB", (40, 30)))[:60]])
def test_damaged_pictures_are_image_errors(data):
    with pytest.raises(ImageError):
        read_batch(data)


def test_dropped_share_is_reported(scene):
    pixels = scene(1)
    pixels[:, :32] = 128
    batch = as_batch(pixels)
    scores = score_picture(batch, protocol=get_protocol("full8bit"), metrics=("fade", "piqe"))
    assert scores.dropped == {"fade": pytest.approx(float(fade_details(batch).dropped))}
    assert 0 < scores.dropped["fade"] < 1
    assert set(scores.values) == {"fade", "piqe"}


def test_metric_that_is_not_defined_leaves_the_others_their_values(scene):
    batch = as_batch(scene(2))
    scores = score_picture(batch, target=batch, protocol=get_protocol("full8bit"), metrics=("psnr", "niqe", "ssim"))
    assert set(scores.values) == {"psnr", "ssim"}
    assert "at least" in scores.errors["niqe"]


def test_size_mismatch_is_an_error(scene):
    with pytest.raises(ImageValueError, match=r"64x48 px.*63x48 px"):
        score_picture(
            as_batch(scene(0)), target=as_batch(scene(0)[:, 1:]), protocol=get_protocol("full8bit"), metrics=("psnr",)
        )


def test_metrics_of_a_protocol_follow_what_is_given():
    recipe = get_protocol("dcmpnet")
    assert resolve_metrics(None, recipe, has_target=True, has_hazy=False)[0] == recipe.metrics
    names, lacking = resolve_metrics(None, recipe, has_target=False, has_hazy=False)
    assert names == ("niqe", "piqe", "fade")
    assert set(lacking) == {"psnr", "ssim_dcmpnet"}


def test_lpips_without_weights_is_unavailable_not_replaced(monkeypatch):
    monkeypatch.delenv("UNHAZE_ALEXNET_WEIGHTS", raising=False)
    recipe = get_protocol("depth-fusion")
    names, lacking = resolve_metrics(None, recipe, has_target=True, has_hazy=True)
    assert "lpips" not in names
    assert "unavailable" in lacking["lpips"]
    with pytest.raises(MissingError, match="lpips"):
        resolve_metrics(["lpips"], recipe, has_target=True, has_hazy=True)


def test_ssim_means_that_of_the_protocol():
    names, _ = resolve_metrics(
        ["ssim", "psnr", "ssim_dcmpnet"], get_protocol("dcmpnet"), has_target=True, has_hazy=False
    )
    assert names == ("ssim_dcmpnet", "psnr")
    assert metric_label(names[0]) == "SSIM (dcmpnet)"


@pytest.mark.parametrize(
    ("names", "error", "words"),
    [
        (["pnsr"], UnknownNameError, "psnr"),
        (["psnr"], UsageError, "no targets are given"),
        (["clipped"], UsageError, "hazy pictures"),
    ],
)
def test_metrics_that_cannot_be_scored_are_refused(names, error, words):
    with pytest.raises(error, match=words):
        resolve_metrics(names, get_protocol("full8bit"), has_target=False, has_hazy=False)


def test_nothing_to_score_is_refused():
    with pytest.raises(UsageError, match="Nothing can be scored"):
        resolve_metrics(None, get_protocol("dehazeformer"), has_target=False, has_hazy=True)
