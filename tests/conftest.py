"""Pictures and haze that several tests share."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

from unhaze.physics.synthesis import analytic_depth, synthesize_haze

# how long an example takes is the machine's affair; where CI is set, hypothesis draws the same examples each time
settings.register_profile("unhaze", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhaze")


@pytest.fixture(scope="session", autouse=True)
def _ctrl_c_is_heard():
    """A shell that starts the tests in the background lets them, and what they start, ignore Ctrl-C."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def _nothing_is_kept_in_the_home_of_who_runs_the_tests(tmp_path_factory):
    """Depth and prepared networks are kept in a temporary folder, also by commands that tests start."""
    before = os.environ.get("UNHAZE_CACHE")
    os.environ["UNHAZE_CACHE"] = str(tmp_path_factory.getbasetemp() / "unhaze-cache")
    yield
    os.environ.pop("UNHAZE_CACHE")
    if before is not None:
        os.environ["UNHAZE_CACHE"] = before


# pictures, texts of papers and official weights of others: no part of the repository, and of use to its developers only
DEVELOPMENT_DATA = Path(os.environ.get("UNHAZE_DEVELOPMENT_DATA", Path(__file__).parents[2] / "shared")).resolve()
_read_outside = []


def _note_what_is_read_outside(event, arguments):
    if event == "open" and isinstance(arguments[0], str) and arguments[0].startswith(f"{DEVELOPMENT_DATA}{os.sep}"):
        _read_outside.append(arguments[0])


if DEVELOPMENT_DATA.is_dir():
    sys.addaudithook(_note_what_is_read_outside)


@pytest.fixture(autouse=True)
def _only_marked_tests_read_development_data(request):
    """What a developer's machine has and a clone has not makes tests that pass here and skip there."""
    _read_outside.clear()
    yield
    if not request.node.get_closest_marker("development_data"):
        assert not _read_outside, f"mark it development_data, or make what it reads: {_read_outside}"


@pytest.fixture(scope="session")
def development_data():
    """The folder of data that are no part of the repository, for tests with the marker of this name."""
    if not DEVELOPMENT_DATA.is_dir():
        pytest.skip("set UNHAZE_DEVELOPMENT_DATA to the folder with the development data")
    return DEVELOPMENT_DATA


@pytest.fixture(scope="session")
def official_weights():
    """The folder of official weights, for tests with the marker development_data."""
    folder = os.environ.get("UNHAZE_OFFICIAL_WEIGHTS")
    if not folder:
        pytest.skip("set UNHAZE_OFFICIAL_WEIGHTS to the folder with the official checkpoints")
    return Path(folder)


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
