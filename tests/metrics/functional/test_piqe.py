import numpy as np
import pytest
import torch

from unhaze.metrics.functional import as_batch, piqe, piqe_details

from ..references import piqe as reference


@pytest.mark.parametrize(
    ("name", "expected"), [("coffee", 27.9108), ("astronaut", 33.6615), ("chelsea", 34.0170), ("flower", 28.3309)]
)
def test_published_code(batch, name, expected):
    assert float(piqe(batch(name))) == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("crop", [np.s_[:112, :96], np.s_[40:151, 100:203], np.s_[:16, :41], np.s_[3:9, 5:10]])
@pytest.mark.parametrize("name", ["chelsea", "rocket"])
def test_reference(pixels, name, crop):
    picture = pixels(name)[crop]
    assert float(piqe(as_batch(picture))) == pytest.approx(reference.piqe(picture), abs=1e-6)


@pytest.mark.parametrize("size", [(64, 64), (67, 90), (130, 31)])
def test_reference_on_noise(noise, size):
    picture = noise(*size)
    assert float(piqe(as_batch(picture))) == pytest.approx(reference.piqe(picture), abs=1e-6)


# what pypiqe 1.2 gives for a part of a photograph, block by block (packed bits)
PORT = {
    "active": "3c0000e0000f0000780003c0001e0100f61367bff73d79fbffe1dffaa6fefc7fdffb80",
    "impaired": "2000002000080000500002000000010006136036770841ea2c210008000a20595d5a80",
    "noisy": "1800008000060000200001c0000a000050000500002c0001e000880002e00012808080",
}


def test_python_port_of_matlab(pixels):
    result = piqe_details(as_batch(pixels("rocket")[:205, :333]))
    assert float(result.value) == pytest.approx(46.54848940462307, abs=1e-6)
    found = {name: np.packbits(getattr(result, name)[0]).tobytes().hex() for name in PORT}
    assert found == PORT


@pytest.mark.parametrize("level", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("size", [1, 16, 50])
def test_constant_picture_is_worst(level, size):
    assert float(piqe(torch.full((1, 3, size, size), level))) == 100


def test_maps_have_one_entry_per_block(batch):
    result = piqe_details(batch("chelsea"))
    assert result.active.shape == result.impaired.shape == result.noisy.shape == (1, 19, 29)
    assert not (result.impaired & ~result.active).any()
    assert not (result.noisy & ~result.active).any()
