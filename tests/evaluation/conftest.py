"""Small folders of pictures to score."""

import numpy as np
import pytest
from PIL import Image


def save(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def make_scene(seed, height=48, width=64):
    """Smooth random colours with some grain, (height, width, 3) uint8."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(30, 220, (6, 8, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC)).astype(np.float64)
    return np.clip(smooth + rng.normal(0, 3, smooth.shape), 1, 254).round().astype(np.uint8)


def degraded(pixels, seed, sigma):
    noisy = pixels + np.random.default_rng(seed).normal(0, sigma, pixels.shape)
    return np.clip(noisy, 0, 255).round().astype(np.uint8)


@pytest.fixture
def scene():
    """Function: seed -> (48, 64, 3) uint8."""
    return make_scene


@pytest.fixture
def dataset(tmp_path):
    """RESIDE-like: gt/ with 3 scenes, hazy/ with 2 versions of each, and two folders of results, good/ and bad/."""
    for index in range(3):
        clear = make_scene(index)
        save(tmp_path / "gt" / f"{index}.png", clear)
        for version in (1, 2):
            name = f"{index}_{version}.png"
            hazy = np.round(0.5 * clear + 100).astype(np.uint8)
            save(tmp_path / "hazy" / name, hazy)
            save(tmp_path / "good" / name, degraded(clear, 10 * index + version, 4))
            save(tmp_path / "bad" / name, degraded(clear, 10 * index + version, 12))
    return tmp_path
