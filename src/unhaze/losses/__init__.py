"""Loss functions: functional first, a thin module where one needs memory."""

from __future__ import annotations

from unhaze.losses.adversarial import (
    PatchDiscriminator,
    ProbabilityDiscriminator,
    UNetDiscriminator,
    discriminator_loss,
    generator_loss,
)
from unhaze.losses.contrastive import ContrastiveLoss, FrozenProjections, contrastive_ratio
from unhaze.losses.depth import error_weights, perceived_depth_loss, perceived_image_loss, softmax_weights, weighted_l1
from unhaze.losses.distillation import feature_affinity
from unhaze.losses.frequency import amplitude_loss, frequency_loss, target_with_phase_of
from unhaze.losses.mutual_information import GaussianCodes, frozen_codes, mutual_information_loss
from unhaze.losses.pixel import charbonnier, over_pyramid, pixel_loss, target_of_size
from unhaze.losses.priors import bright_channel_loss, channel_extreme, dark_channel_energy, sky_loss
from unhaze.losses.ssim import ssim_loss
from unhaze.losses.text import TextLoss, load_clip
from unhaze.losses.vgg19 import VGG19Features, load_vgg19, untrained_vgg19

__all__ = [
    "ContrastiveLoss",
    "FrozenProjections",
    "GaussianCodes",
    "PatchDiscriminator",
    "ProbabilityDiscriminator",
    "TextLoss",
    "UNetDiscriminator",
    "VGG19Features",
    "amplitude_loss",
    "bright_channel_loss",
    "channel_extreme",
    "charbonnier",
    "contrastive_ratio",
    "dark_channel_energy",
    "discriminator_loss",
    "error_weights",
    "feature_affinity",
    "frequency_loss",
    "frozen_codes",
    "generator_loss",
    "load_clip",
    "load_vgg19",
    "mutual_information_loss",
    "over_pyramid",
    "perceived_depth_loss",
    "perceived_image_loss",
    "pixel_loss",
    "sky_loss",
    "softmax_weights",
    "ssim_loss",
    "target_of_size",
    "target_with_phase_of",
    "untrained_vgg19",
    "weighted_l1",
]
