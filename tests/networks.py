"""Networks as tests use them: small where depth of the network only costs time, built once."""

from __future__ import annotations

import functools

import torch

from unhaze.backbones import create_backbone, list_backbones


@functools.cache
def on_meta(name):
    with torch.device("meta"):
        return create_backbone(name)


def smallest_of_each_family():
    chosen = {}
    for name in list_backbones():
        size = sum(p.numel() for p in on_meta(name).parameters())
        family = name.rsplit("-", 1)[0]
        chosen[family] = min(chosen.get(family, (size, name)), (size, name))
    return sorted(name for _, name in chosen.values())


# fewer blocks where the full number only costs time; a family that is not listed is tested as it is
REDUCED = {
    "aecrnet": {"num_blocks": 1, "channels": 16},
    "c2pnet": {"num_blocks": 1, "channels": 16},
    "convir": {"num_blocks": 1, "channels": 8},
    "deanet": {"num_blocks": 1},
    "dehamer": {"channels": 8},
    "dehazeformer": {"num_blocks": (2, 2, 2, 1, 1)},
    "dnmgdt": {"num_blocks": 2},
    "drsformer": {"num_blocks": (1, 1, 1, 1)},
    "fsnet": {"num_blocks": 4, "channels": 16},
    "ffanet": {"num_blocks": 2},
    "gunet": {"num_blocks": (1, 1, 1, 1, 1, 1, 1)},
    "maxim": {"channels": 8, "num_groups": 1, "num_bottlenecks": 1},
    "mixdehazenet": {"num_blocks": (1, 1, 1, 1, 1)},
    "mb_taylorformer": {"num_blocks": (1, 1, 1, 1), "num_branches": (1, 1, 1, 1)},
    "oknet": {"num_blocks": 1},
    "psd": {"channels": 16},
    "sadnet": {"num_blocks": 1},
    "selfpromer": {"num_blocks": 1, "codebook": 64},
    "sgdnet": {"num_blocks": (1, 1, 1, 1), "decoder_blocks": 1},
}


def create(name):
    torch.manual_seed(0)
    return create_backbone(name, **REDUCED.get(name.rsplit("-", 1)[0], {}))


@functools.cache
def network(name):
    """Shared by tests that change nothing."""
    return create(name).eval()


def image(height, width, batch=1, seed=0):
    return torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(seed))


def fitting_size(contract, at_least=32):
    step = contract.multiple_of
    side = -(-max(at_least, contract.minimum) // step) * step
    return side, side + step * max(1, 8 // step)


def relative(a, b):
    return float((a - b).norm() / b.norm())
