"""Metrics as functions: (B, 3, H, W) batches in, one float64 value per picture out. Needs torch."""

from __future__ import annotations

import unhaze.metrics._torch  # noqa: F401, a clear error without torch
from unhaze.metrics.functional._common import as_batch
from unhaze.metrics.functional.brisque import brisque
from unhaze.metrics.functional.ciede2000 import ciede2000, ciede2000_map
from unhaze.metrics.functional.clip_iqa import clip_iqa
from unhaze.metrics.functional.damage import chroma_shift, clipped, lightness_change, ring
from unhaze.metrics.functional.entropy import entropy
from unhaze.metrics.functional.fade import FadeDetails, fade, fade_details
from unhaze.metrics.functional.lpips import lpips
from unhaze.metrics.functional.ms_ssim import ms_ssim
from unhaze.metrics.functional.musiq import musiq
from unhaze.metrics.functional.nima import nima
from unhaze.metrics.functional.niqe import NiqeDetails, niqe, niqe_details
from unhaze.metrics.functional.piqe import PiqeDetails, piqe, piqe_details
from unhaze.metrics.functional.psnr import psnr, psnr_y
from unhaze.metrics.functional.ssim import SSIM_CONVENTIONS, ssim, ssim_map
from unhaze.metrics.functional.visibility import ri, vi

__all__ = [
    "SSIM_CONVENTIONS",
    "FadeDetails",
    "NiqeDetails",
    "PiqeDetails",
    "as_batch",
    "brisque",
    "chroma_shift",
    "ciede2000",
    "ciede2000_map",
    "clip_iqa",
    "clipped",
    "entropy",
    "fade",
    "fade_details",
    "lightness_change",
    "lpips",
    "ms_ssim",
    "musiq",
    "nima",
    "niqe",
    "niqe_details",
    "piqe",
    "piqe_details",
    "psnr",
    "psnr_y",
    "ri",
    "ring",
    "ssim",
    "ssim_map",
    "vi",
]
