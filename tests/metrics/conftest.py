"""Photographs that are installed with the test extras, and the haze of the reference tables."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch
from skimage import data
from sklearn.datasets import load_sample_image

from unhaze.metrics.functional import as_batch

torch.set_num_threads(1)  # on a busy machine, threads that wait for one another take many times longer than one


@cache
def _photo(name):
    return load_sample_image(f"{name}.jpg") if name in ("china", "flower") else getattr(data, name)()


@pytest.fixture(scope="session")
def pixels():
    """Function of a name: (H, W, 3) uint8."""
    return _photo


@pytest.fixture(scope="session")
def batch():
    """Function of a name: (1, 3, H, W) float64."""
    return lambda name: as_batch(_photo(name))


@pytest.fixture(scope="session")
def hazed():
    """Function of a name, beta and airlight: (1, 3, H, W), 8-bit, depth falling from 1 at the top to 0.2."""

    def add_haze(name, beta, airlight):
        clear = _photo(name) / 255
        depth = np.linspace(1, 0.2, len(clear))[:, None, None]
        transmission = np.exp(-beta * depth)
        hazy = clear * transmission + airlight * (1 - transmission)
        return as_batch(np.floor(hazy * 255 + 0.5).astype(np.uint8))

    return add_haze


@pytest.fixture(scope="session")
def noise():
    """Function of a shape and a seed: (H, W, 3) uint8 with smooth and rough parts."""

    def make(height, width, seed=0):
        random = np.random.default_rng(seed)
        ramp = np.linspace(0, 200, height)[:, None, None] * np.ones((1, width, 3))
        strength = np.linspace(0, 60, width)[:, None]
        return np.clip(ramp + random.normal(size=(height, width, 3)) * strength, 0, 255).astype(np.uint8)

    return make
