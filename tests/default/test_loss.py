"""The loss is that of the dehazer, least for the truth, and blind to what nobody sees."""

import dataclasses

import cv2
import numpy as np
import torch

from unhaze.data.synthetic.scenes import Scene
from unhaze.default import _loss
from unhaze.default._loss import losses
from unhaze.default.constants import GUIDE_EPS
from unhaze.default.network import FieldOutput
from unhaze.default.recipe import Config, make_batch
from unhaze.default.scenes import SceneBank
from unhaze.default.synthesis import SynthesisConfig
from unhaze.physics.guided_filter import guided_coefficients


def test_the_filter_of_the_loss_is_that_of_the_dehazer():
    rng = np.random.default_rng(0)
    guide, source = rng.random((30, 40), np.float32), rng.random((30, 40), np.float32)
    expected = guided_coefficients(guide, source, 3, GUIDE_EPS)
    found = _loss._guided_coefficients(torch.from_numpy(guide)[None, None], torch.from_numpy(source)[None, None], 3)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one[0, 0].numpy(), other, atol=2e-4)


def batch_of(config):
    rng = np.random.default_rng(1)
    image = cv2.GaussianBlur(rng.integers(0, 256, (96, 128, 3)).astype(np.uint8), (0, 0), 6)
    image = cv2.normalize(image, None, 0, 255, cv2.NORM_MINMAX)
    bank = SceneBank([Scene("a", "outdoors", image, None, np.zeros(image.shape[:2], np.uint8))])
    return make_batch(bank, config, 0)


CLEAN = SynthesisConfig(
    clear=0, linear_light=0, noise=0, blur=0, shrink=0, jpeg=0, patchy=0, uneven_light=0, dark=0, thin=0, plain=0
)


def true_output(batch, density=1.0, tint=1.0):
    half = torch.nn.functional.avg_pool2d(batch.transmission, 2)
    light = torch.nn.functional.interpolate(batch.airlight, size=half.shape[-2:], mode="bilinear", align_corners=True)
    blank = torch.zeros_like(half)
    return FieldOutput(-half.log() * density, light * tint, batch.gain, blank, blank)


def test_the_true_field_has_the_least_loss():
    data = dataclasses.replace(CLEAN, optical_depth=(0.2, 0.5))
    batch = batch_of(Config(batch=3, short=64, long=96, data=data))

    def loss(density, tint):
        terms, _ = losses(true_output(batch, density, tint), batch)
        return {name: float(value) for name, value in terms.items()}

    true = loss(1.0, 1.0)
    assert true["airlight"] < 1e-6
    assert true["optical_depth"] < 1e-6
    assert true["gain"] == 0
    for other in (loss(0.8, 1.0), loss(1.25, 1.0), loss(1.0, 0.9)):
        assert other["restored"] > true["restored"]
        assert other["decibel"] > true["decibel"]


def test_the_target_of_fog_that_hides_everything_is_the_fog():
    """Where no light comes through, leaving the picture as it is costs nothing, whatever lies behind."""
    data = dataclasses.replace(CLEAN, optical_depth=(40.0, 50.0), clear_front=0, even=1)
    batch = batch_of(Config(batch=2, short=64, long=96, data=data))
    assert batch.transmission.max() < 0.15
    terms, restored = losses(true_output(batch), batch)
    hazy = torch.nn.functional.avg_pool2d(batch.hazy, 2)
    assert float(terms["restored"]) < 0.02
    assert (restored - hazy).abs().mean() < 0.2 * (batch.clear.mean() - batch.hazy.mean()).abs()


def test_a_blob_in_fog_costs_and_an_even_change_does_not():
    generator = torch.Generator().manual_seed(0)
    sky = 0.7 + 0.002 * torch.rand(1, 3, 48, 64, generator=generator)
    y, x = torch.meshgrid(torch.linspace(-1, 1, 48), torch.linspace(-1, 1, 64), indexing="ij")
    blob = sky - 0.2 * torch.exp(-(x * x + y * y) / 0.1)
    assert float(_loss._false_edges(sky - 0.2, sky, sky)) < 1e-6
    assert float(_loss._false_edges(blob, sky, sky)) > 1e-3
    tinted = sky + torch.tensor([0.1, 0.0, -0.1]).view(1, 3, 1, 1)
    assert float(_loss._false_tint(sky * 0.8, sky, sky)) == 0
    assert float(_loss._false_tint(tinted, sky, sky)) > 0.05
