"""NIMA against VGG16 written down layer by layer, and the preparation of its pictures."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from PIL import Image
from torch import nn

from unhaze.metrics.functional import as_batch, nima
from unhaze.metrics.functional.nima import NimaNetwork


@pytest.fixture(scope="module")
def networks():
    """Ours, and the same weights in a plain VGG16 of torchvision's order."""
    torch.manual_seed(0)
    own = NimaNetwork()
    for name, value in own.state_dict().items():
        if name.endswith("weight"):
            nn.init.kaiming_normal_(value) if value.ndim > 2 else nn.init.normal_(value, std=0.01)
    layers, channels = [], 3
    for width in (64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512, "M", 512, 512, 512, "M"):
        layers += [nn.MaxPool2d(2, 2)] if width == "M" else [nn.Conv2d(channels, width, 3, 1, 1), nn.ReLU()]
        channels = channels if width == "M" else width
    features = nn.Sequential(*layers)
    state = own.state_dict()
    features.load_state_dict(
        {k.removeprefix("base_model.features_"): v for k, v in state.items() if k.startswith("base_model")}
    )

    def plain(images):
        mean, std = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])[..., None, None]
        pooled = F.adaptive_avg_pool2d(features((images - mean) / std), 1).flatten(1)
        shares = F.softmax(F.linear(pooled, state["classifier.2.weight"], state["classifier.2.bias"]), -1)
        return (shares * torch.arange(1, 11)).sum(-1)

    return own.eval().requires_grad_(False), plain


def test_a_picture_of_its_size(networks, pixels):
    own, plain = networks
    square = as_batch(pixels("coffee")[:224, :224])
    with torch.no_grad():
        expected = float(plain(square.float()))
    assert 1 < expected < 10
    assert float(nima(square, own)) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("turned", [False, True])
def test_the_shorter_side_is_brought_to_224_px_and_the_middle_judged(networks, pixels, turned):
    own, plain = networks
    photo = pixels("coffee")  # 400 x 600
    photo = photo.transpose(1, 0, 2) if turned else photo
    size = (224, 336) if turned else (336, 224)  # (W, H)
    small = np.asarray(Image.fromarray(np.ascontiguousarray(photo)).resize(size, Image.Resampling.BILINEAR))
    small = small[56:280] if turned else small[:, 56:280]
    with torch.no_grad():
        expected = float(plain(as_batch(small).float()))
        stretched = float(plain(F.interpolate(as_batch(photo).float(), (224, 224))))
    found = float(nima(as_batch(photo), own))
    assert found == pytest.approx(expected, abs=0.02)  # Pillow rounds to 8 bits
    assert abs(found - stretched) > abs(found - expected)
