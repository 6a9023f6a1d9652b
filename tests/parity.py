"""Numerical fixtures of official implementations: deterministic weights, a deterministic input, and the outputs.

A fixture is a manifest (``<name>.json``) and arrays (``<name>.npz``) in ``tests/fixtures/parity``. Weights are not
stored: every tensor follows from its official state-dict key, its shape and a salt, and so does the input image.
"""

from __future__ import annotations

import functools
import hashlib
import json
import math
import zlib
from pathlib import Path

import numpy as np
import torch

FOLDER = Path(__file__).parent / "fixtures" / "parity"


class Fixture:
    def __init__(self, name):
        self.manifest = json.loads((FOLDER / f"{name}.json").read_text())
        self.arrays = dict(np.load(FOLDER / f"{name}.npz"))

    def official_state(self):
        """Filled tensors by official key; constants and counters are left to the network's constructor."""
        manifest = self.manifest
        draw = fill_flax if manifest["network"] == "maxim" else fill
        arrays = {
            key: draw(key, shape, manifest["salt"], manifest["gain"], (manifest["override"] or {}).get(key))
            for key, shape in manifest["filled"].items()
        }
        assert digest(arrays) == manifest["filled_sha256"]
        arrays |= {second: arrays[first] for second, first in manifest["aliases"].items()}
        return {key: torch.from_numpy(array) for key, array in arrays.items()}

    def image(self):
        """The input in [0, 1], before any mapping."""
        array = image(tuple(self.manifest["input_shape"]), self.manifest["salt"])
        assert hashlib.sha256(array.tobytes()).hexdigest() == self.manifest["input_sha256"]
        return torch.from_numpy(array)

    def limit(self, output):
        """Largest relative error that counts as equal: ten times the official code's own rounding, at least 1e-5."""
        floor = (self.manifest["float32_vs_float64"] or {}).get(output) or 0.0
        return max(1e-5, 10 * floor)

    def error(self, output, tensor):
        """||ours - stored|| / ||stored||, over the region that was stored."""
        facts, stored = self.manifest["outputs"].get(output), self.arrays[output].astype(np.float64)
        ours = tensor.detach().double().numpy()
        if facts:
            assert list(ours.shape) == facts["shape"]
            ours = ours[tuple(slice(*span) for span in facts.get("saved_region", ()))]
        assert ours.shape == stored.shape
        return float(np.linalg.norm(ours - stored) / np.linalg.norm(stored))


@functools.cache
def load(name):
    return Fixture(name)


def names():
    return sorted(path.stem for path in FOLDER.glob("*.json"))


def digest(arrays):
    total = hashlib.sha256()
    for key in sorted(arrays):
        total.update(key.encode() + b"\0" + np.ascontiguousarray(arrays[key], "<f4").tobytes())
    return total.hexdigest()


def generator(text):
    return np.random.Generator(np.random.PCG64(zlib.crc32(text.encode())))


def fill(key, shape, salt, gain, override=None):
    """One parameter or running statistic."""
    if override is not None:
        return np.full(shape, override, np.float32)
    normal = np.asarray(generator(f"{salt}:{key}").standard_normal(tuple(shape)))
    *owners, leaf = key.split(".")
    of_a_norm = leaf == "weight" and bool(owners) and "norm" in owners[-1].lower()
    if key.endswith("running_var"):
        filled = 1 + 0.1 * np.abs(normal)
    elif key.endswith("running_mean"):
        filled = 0.1 * normal
    elif of_a_norm:
        filled = 1 + 0.1 * normal
    elif len(shape) > 1:
        filled = normal * (gain / math.sqrt(math.prod(shape[1:])))
    elif len(shape) == 1 and key.endswith(("weight", "gamma", "scale")):
        filled = 1 + 0.1 * normal
    else:
        filled = 0.1 * normal
    return filled.astype(np.float32)


def fill_flax(key, shape, salt, gain, override=None):
    """The same for a network of Flax: kernels are (down, across, in, out) or (in, out), drawn in torch's order."""
    order = {2: (1, 0), 4: (3, 2, 0, 1)}.get(len(shape))
    if order is None:
        return fill(key, shape, salt, gain, override)
    drawn = fill(key, tuple(shape[axis] for axis in order), salt, gain, override)
    return np.ascontiguousarray(drawn.transpose(np.argsort(order)))


def image(shape, salt):
    """A smooth random image with a little noise: 0.9 * enlarged grid + 0.1 * noise."""
    random = generator(f"{salt}:input:{'x'.join(map(str, shape))}")
    height, width = shape[2:]
    coarse = random.random((*shape[:2], *(max(2, math.ceil(side / 8)) for side in (height, width))))
    noise = random.random(shape)
    smooth = enlarge(enlarge(coarse, height, 2), width, 3)
    return np.clip(0.9 * smooth + 0.1 * noise, 0, 1).astype(np.float32)


def enlarge(coarse, size, axis):
    """Linear interpolation with aligned ends."""
    known = coarse.shape[axis]
    where = np.arange(size) * ((known - 1) / max(size - 1, 1))
    left = np.minimum(where.astype(int), max(known - 2, 0))
    share = np.expand_dims(where - left, [other for other in range(coarse.ndim) if other != axis])
    right = np.minimum(left + 1, known - 1)
    return coarse.take(left, axis) * (1 - share) + coarse.take(right, axis) * share
