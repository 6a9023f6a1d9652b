"""Tiny data that a recipe can learn from."""

import cv2
import numpy as np
import pytest


@pytest.fixture(scope="session")
def pairs_folder(tmp_path_factory, photo):
    """Ten pairs of 48x56 px in a folder as any tool makes it, and stored depth."""
    root = tmp_path_factory.mktemp("pairs")
    rng = np.random.default_rng(0)
    for name in ("hazy", "clear"):
        (root / name).mkdir()
    for number in range(10):
        top, left = rng.integers(0, photo.shape[0] - 96), rng.integers(0, photo.shape[1] - 112)
        clear = cv2.resize(photo[top : top + 96, left : left + 112], (56, 48), interpolation=cv2.INTER_AREA)
        transmission = np.linspace(0.4, 0.9, 48)[:, None, None]
        hazy = clear * transmission + 220 * (1 - transmission)
        cv2.imwrite(str(root / f"clear/{number}.png"), clear)
        cv2.imwrite(str(root / f"hazy/{number}.png"), hazy.astype(np.uint8))
    return root
