"""MUSIQ against the port of IQA-PyTorch, on weights that follow from the names of the tensors."""

import zlib

import numpy as np
import pytest
import torch

from unhaze.errors import ImageValueError
from unhaze.metrics.functional import musiq
from unhaze.metrics.functional.musiq import MusiqNetwork


def filled(network):
    """Small normal weights around 0, or around 1 for those of normalisations."""
    state = {}
    for name, value in network.state_dict().items():
        noise = np.random.default_rng(zlib.crc32(name.encode())).standard_normal(tuple(value.shape)).astype(np.float32)
        scale = value[0].numel() ** -0.5 if value.ndim > 1 else 0.1
        scale = 1.0 if name.endswith(("_emb", "cls")) else scale
        middle = 1.0 if name.endswith(".weight") and value.ndim == 1 else 0.0
        state[name] = torch.from_numpy(noise * np.float32(scale) + np.float32(middle))
    network.load_state_dict(state)
    return network.eval().requires_grad_(False)


def picture(height, width):
    codes = np.random.default_rng(height * 1000 + width).integers(0, 256, (1, 3, height, width))
    return torch.from_numpy(codes.astype(np.float32) / 255)


@pytest.mark.parametrize(
    ("size", "expected"),
    [((70, 91), 1.095511556), ((33, 200), 0.981899977), ((256, 256), 1.119398952), ((500, 300), 0.615339458)],
)
def test_the_port_of_iqa_pytorch(size, expected):
    network = filled(MusiqNetwork(48, 2, 3, 64))
    assert float(musiq(picture(*size), network)) == pytest.approx(expected, abs=2e-5)


def test_the_network_of_the_published_file():
    network = MusiqNetwork()
    assert sum(value.numel() for value in network.state_dict().values()) == 27_125_825
    names = network.state_dict()
    assert names["transformer_encoder.posembed_input.position_emb"].shape == (1, 100, 384)
    assert names["transformer_encoder.transformer.encoderblock_13.attention.query.weight"].shape == (384, 384)
    assert names["embedding.weight"].shape == (384, 16_384)


def test_pictures_that_are_too_small():
    with pytest.raises(ImageValueError, match="MUSIQ needs pictures of at least 16 pixels"):
        musiq(torch.zeros(1, 3, 15, 40), filled(MusiqNetwork(24, 1, 2, 16)))
