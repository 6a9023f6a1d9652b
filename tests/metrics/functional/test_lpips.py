import hashlib
import sys

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from unhaze.errors import ImageValueError, MissingError, WeightsNotFoundError
from unhaze.metrics.functional import lpips
from unhaze.metrics.functional._common import load_parameters
from unhaze.metrics.functional.lpips import WEIGHTS_VARIABLE, LpipsNetwork, load_lpips

LIPS = sys.modules["unhaze.metrics.functional.lpips"]


def alexnet():
    """The convolutional part of AlexNet (one weird trick), random."""
    torch.manual_seed(0)
    relu = nn.ReLU
    return nn.Sequential(
        *(nn.Conv2d(3, 64, 11, 4, 2), relu(), nn.MaxPool2d(3, 2)),
        *(nn.Conv2d(64, 192, 5, padding=2), relu(), nn.MaxPool2d(3, 2)),
        *(nn.Conv2d(192, 384, 3, padding=1), relu()),
        *(nn.Conv2d(384, 256, 3, padding=1), relu()),
        *(nn.Conv2d(256, 256, 3, padding=1), relu(), nn.MaxPool2d(3, 2)),
    )


@pytest.fixture(scope="module")
def weights():
    return {f"features.{name}": value for name, value in alexnet().state_dict().items()}


@pytest.fixture(scope="module")
def network(weights):
    return LpipsNetwork(weights).double()


@pytest.fixture
def weights_file(tmp_path, weights, monkeypatch):
    path = tmp_path / "alexnet.pth"
    torch.save(weights | {"classifier.1.weight": torch.zeros(3)}, path)
    monkeypatch.setattr(LIPS, "WEIGHTS_SHA256", hashlib.sha256(path.read_bytes()).hexdigest()[:8])
    return path


def test_reference_layer_by_layer(network):
    first, second = torch.rand(2, 1, 3, 63, 71, dtype=torch.float64)
    layers, total = alexnet().double(), 0.0
    mean = torch.tensor([-0.030, -0.088, -0.188], dtype=torch.float64).view(3, 1, 1)
    scale = torch.tensor([0.458, 0.448, 0.450], dtype=torch.float64).view(3, 1, 1)
    x, y = ((2 * images - 1 - mean) / scale for images in (first, second))
    taps = iter(range(5))
    with torch.no_grad():
        for i, layer in enumerate(layers):
            x, y = layer(x), layer(y)
            if i in (1, 4, 7, 9, 11):
                head = torch.from_numpy(load_parameters("lpips")[f"head{next(taps)}"]).double()
                difference = (functional.normalize(x) - functional.normalize(y)) ** 2
                total += float((difference.mean(dim=(0, 2, 3)) * head).sum())
    assert float(lpips(first, second, network)) == pytest.approx(total, abs=1e-9)


def test_reference_package(network):
    """What the package lpips 0.1.4 gives with the random backbone of this test."""
    first, second = torch.from_numpy(np.random.default_rng(0).random((2, 2, 3, 64, 80)))
    expected = torch.tensor([0.0972425912248268, 0.09280792672598918], dtype=torch.float64)
    torch.testing.assert_close(lpips(first, second, network), expected, rtol=0, atol=1e-8)


def test_heads_are_those_of_torchmetrics():
    import torchmetrics.functional.image as package

    path = next(iter(package.__path__)) + "/lpips_models/alex.pth"
    heads = torch.load(path, map_location="cpu", weights_only=True)
    for i in range(5):
        assert np.array_equal(heads[f"lin{i}.model.1.weight"].flatten(), load_parameters("lpips")[f"head{i}"])


def test_gradient(network):
    first, second = torch.rand(2, 1, 3, 31, 33, dtype=torch.float64)
    amount = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda a: lpips(first + a * (second - first), second, network), amount)


def test_equal_pictures(network):
    photo = torch.rand(2, 3, 40, 40).requires_grad_()
    value = lpips(photo, photo.detach(), network)
    value.sum().backward()
    assert value.tolist() == [0, 0]
    assert photo.grad.isfinite().all()


def test_weights_of_the_right_file_are_used(weights_file, network, monkeypatch):
    first, second = torch.rand(2, 1, 3, 40, 40)
    expected = lpips(first, second, network)
    torch.testing.assert_close(lpips(first, second, load_lpips(weights_file)), expected, rtol=0, atol=1e-6)
    monkeypatch.setenv(WEIGHTS_VARIABLE, str(weights_file))
    torch.testing.assert_close(lpips(first, second, load_lpips()), expected, rtol=0, atol=1e-6)


def test_another_file_is_never_used(tmp_path, weights):
    path = tmp_path / "alexnet-owt-7be5be79.pth"
    torch.save(weights, path)
    with pytest.raises(WeightsNotFoundError, match="SHA-256"):
        load_lpips(path)


def test_damaged_file(weights_file, monkeypatch):
    weights_file.write_bytes(b"no weights")
    monkeypatch.setattr(LIPS, "WEIGHTS_SHA256", hashlib.sha256(b"no weights").hexdigest()[:8])
    with pytest.raises(WeightsNotFoundError, match="not a file of torch weights"):
        load_lpips(weights_file)


def test_unavailable_without_weights(tmp_path, monkeypatch):
    monkeypatch.delenv(WEIGHTS_VARIABLE, raising=False)
    with pytest.raises(MissingError, match="unavailable"):
        load_lpips()
    for place in (tmp_path, tmp_path / "absent.pth"):
        with pytest.raises(WeightsNotFoundError, match="unavailable"):
            load_lpips(place)


def test_small_pictures_are_refused(network):
    with pytest.raises(ImageValueError, match="at least 31 pixels"):
        lpips(torch.rand(1, 3, 30, 50), torch.rand(1, 3, 30, 50), network)
    assert lpips(torch.rand(1, 3, 31, 31), torch.rand(1, 3, 31, 31), network).isfinite()
