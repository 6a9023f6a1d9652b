"""Depth while DCMPNet trains: its error beside that of the pictures, and its strips."""

import dataclasses

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from unhaze.data.dataset import Sample
from unhaze.recipes import mutual_promotion
from unhaze.training.pairs import DataConfig
from unhaze.training.promotion import LossConfig, NetworkConfig
from unhaze.training.promotion_run import score_depth
from unhaze.types import DepthMap

CONFIG = mutual_promotion.Config(
    network=NetworkConfig(
        width=4, num_blocks=(1, 1, 1, 1, 1), unet_width=2, depth_channels=(2, 2, 2, 2), depth_growth=2
    ),
    teacher="true",
    data=DataConfig(crop=32, batch=2),
    loss=LossConfig(contrastive=0.0),
    perception="off",
    device="cpu",
)


class Brightness(nn.Module):
    """Depth is the mean of the colours in [-1, 1]."""

    def forward(self, image):
        return image.mean(1, keepdim=True)


class Same(nn.Module):
    """Restores nothing."""

    def __init__(self):
        super().__init__()
        self.depth = Brightness()

    def restore(self, image):
        return dataclasses.make_dataclass("Restored", ["image"])(image)


@pytest.fixture
def state():
    made = mutual_promotion.setup(CONFIG)
    made.network = Same().train()
    made.depth = made.network.depth
    return made


def sample(hazy, clear, depth):
    pictures = [np.full((40, 48, 3), value, np.uint8) for value in (hazy, clear)]
    found = None if depth is None else DepthMap(np.full((40, 48), depth, np.float32), "inverse_relative")
    return Sample(*pictures, found, "one")


def test_errors_are_those_of_the_maps(state, tmp_path):
    """Brightness .8 is depth .6, on the scale of what the data set has."""
    found = score_depth(state, [sample(204, 128, 0.3)], CONFIG, tmp_path / "depth.png")
    assert found == pytest.approx({"depth_error": 0.3, "depth_error_hazy": 0.3}, abs=1e-6)
    assert cv2.imread(str(tmp_path / "depth.png")).shape == (64, 3 * 32, 3)
    assert state.network.training


def test_pictures_without_depth_do_not_count(state, tmp_path):
    assert score_depth(state, [sample(204, 128, None)], CONFIG, tmp_path / "depth.png") == {}
    assert not (tmp_path / "depth.png").exists()


def test_without_a_depth_network_there_is_no_score(state):
    state.network.depth = None
    assert score_depth(state, [sample(204, 128, 0.3)], CONFIG) == {}


def test_the_real_network_is_scored():
    state = mutual_promotion.setup(CONFIG)
    torch.manual_seed(0)
    found = score_depth(state, [sample(204, 128, 0.3)], CONFIG)
    assert set(found) == {"depth_error", "depth_error_hazy"}
    assert all(np.isfinite(value) for value in found.values())
