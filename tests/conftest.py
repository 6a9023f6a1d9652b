"""Pictures and haze that several tests share."""

from __future__ import annotations

import signal

import numpy as np
import pytest

from unhaze.physics.synthesis import analytic_depth, synthesize_haze


@pytest.fixture(scope="session", autouse=True)
def _ctrl_c_is_heard():
    """A shell that starts the tests in the background lets them, and what they start, ignore Ctrl-C."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def photo():
    """A clear outdoor photograph, (427, 640, 3) uint8."""
    from sklearn.datasets import load_sample_image

    return load_sample_image("china.jpg")


@pytest.fixture(scope="session")
def hazy_photo(photo):
    """The same photograph behind synthetic haze, with the true transmission: (hazy uint8, transmission)."""
    clear = photo.astype(np.float32) / 255
    depth = analytic_depth("ramp", *clear.shape[:2])
    hazy, transmission = synthesize_haze(clear, depth, beta=0.01, airlight=(0.85, 0.87, 0.9))
    return np.round(hazy * 255).astype(np.uint8), transmission
