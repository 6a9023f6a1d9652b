"""The physics of haze: the scattering model, priors that estimate its unknowns, and edge-aware filters.

Functions only, on numpy arrays; the scattering model and the tone curve take torch tensors as well.
"""

from unhaze.physics.airlight import brightest_dark_pixels, quad_tree
from unhaze.physics.color import Space, linear_to_srgb, luminance, srgb_to_linear
from unhaze.physics.guided_filter import (
    box_mean,
    guided_coefficients,
    guided_filter,
    guided_upsample,
    joint_bilateral_upsample,
)
from unhaze.physics.priors import (
    boundary_transmission,
    color_attenuation_depth,
    color_attenuation_transmission,
    contextual_regularization,
    dark_channel,
    dark_channel_transmission,
)
from unhaze.physics.scattering import (
    add_haze,
    depth_from_transmission,
    remove_haze,
    scale_optical_depth,
    transmission_from_depth,
)
from unhaze.physics.synthesis import DEPTH_KINDS, analytic_depth, haze_field, synthesize_haze

__all__ = [
    "DEPTH_KINDS",
    "Space",
    "add_haze",
    "analytic_depth",
    "boundary_transmission",
    "box_mean",
    "brightest_dark_pixels",
    "color_attenuation_depth",
    "color_attenuation_transmission",
    "contextual_regularization",
    "dark_channel",
    "dark_channel_transmission",
    "depth_from_transmission",
    "guided_coefficients",
    "guided_filter",
    "guided_upsample",
    "haze_field",
    "joint_bilateral_upsample",
    "linear_to_srgb",
    "luminance",
    "quad_tree",
    "remove_haze",
    "scale_optical_depth",
    "srgb_to_linear",
    "synthesize_haze",
    "transmission_from_depth",
]
