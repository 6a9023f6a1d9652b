"""The before/after picture at the head of README is what the command makes today."""

from pathlib import Path

import numpy as np
from PIL import Image

import unhaze

IMAGES = Path(__file__).parents[2] / "docs" / "images"


def psnr(one, other):
    return 10 * np.log10(255**2 / np.mean((one.astype(float) - other) ** 2))


def test_the_right_half_is_what_unhaze_makes_of_the_left():
    shown = np.asarray(Image.open(IMAGES / "aitzgorri-compare.jpg").convert("RGB"))
    before = Image.open(IMAGES / "aitzgorri.jpg").convert("RGB")
    after = unhaze.dehaze(before)
    size = shown.shape[1::-1]
    as_taken, restored = (np.asarray(each.resize(size, Image.Resampling.LANCZOS)) for each in (before, after))
    left, right = np.s_[:, : size[0] // 2 - 4], np.s_[:, size[0] // 2 + 4 :]
    assert psnr(shown[left], as_taken[left]) > 34  # JPEG
    assert psnr(shown[right], restored[right]) > 34
    assert psnr(shown[right], as_taken[right]) < 31  # more than twice the error of JPEG, so it can be seen
