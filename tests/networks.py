"""Networks as tests use them: small where depth of the network only costs time, built once."""

from __future__ import annotations

import functools

import torch

from unhaze.models.networks import create_network, list_networks


@functools.cache
def on_meta(name):
    with torch.device("meta"):
        return create_network(name)


def smallest_of_each_family():
    chosen = {}
    for name in list_networks():
        size = sum(p.numel() for p in on_meta(name).parameters())
        family = name.rsplit("-", 1)[0]
        chosen[family] = min(chosen.get(family, (size, name)), (size, name))
    return sorted(name for _, name in chosen.values())


# fewer blocks where the full number only costs time; a family that is not listed is tested as it is
REDUCED = {
    "aecrnet": {"num_blocks": 1, "channels": 16},
    "c2pnet": {"num_blocks": 1, "channels": 16},
    "convir": {"num_blocks": 1, "channels": 8},
    "dcmpnet": {
        "width": 8,
        "num_blocks": (1, 2, 2, 1, 1),
        "unet_width": 6,
        "depth_channels": (3, 4, 5, 6),
        "depth_growth": 2,
    },
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
    return create_network(name, **REDUCED.get(name.rsplit("-", 1)[0], {}))


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


@torch.no_grad()
def trained_like(net, seed=0):
    """A network as training leaves it: no weight at its start, means far from zero, outputs like pictures.

    Weights of convolutions get a mean of their own per output, which in fresh ones is zero; biases, scales and running
    statistics move; the last convolution is scaled so that the results are not all clamped.
    """
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in net.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if parameter.dim() > 1 and parameter.numel() > len(parameter):
            length = parameter.norm()
            parameter += 0.2 * parameter.std() * noise.flatten(1)[:, 0].view(-1, *[1] * (parameter.dim() - 1))
            parameter *= length / parameter.norm().clamp(min=1e-12)
        elif name.endswith(("weight", "gamma", "scale")):
            parameter *= 1 + 0.2 * noise
        else:
            parameter += 0.3 * noise
    smooth = torch.nn.functional.interpolate(image(5, 6, seed=seed), (40, 48), mode="bicubic").clamp(0, 1)
    _settle_statistics(net, smooth, generator)
    before = net.restore(smooth).image
    if ((before > 0) & (before < 1)).float().mean() > 0.3:
        return net
    last = _last_convolution(net, smooth)
    last.weight *= 0.2 / before.std()
    if last.bias is not None and len(last.bias) == 3:
        low, high = net.contract.value_range
        last.bias += (0.5 - net.restore(smooth).image.mean((0, 2, 3))) * (high - low)
    return net


def _settle_statistics(net, smooth, generator):
    norms = [part for part in net.modules() if isinstance(part, torch.nn.BatchNorm2d)]
    if not norms:
        return
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    net.restore(torch.cat([smooth, smooth.flip(-1)]))  # two: statistics of pooled maps need more than one value
    for norm in norms:
        norm.eval()
        norm.running_mean += 0.1 * norm.running_var.sqrt() * torch.randn(len(norm.running_var), generator=generator)
        norm.running_var *= 1 + 0.1 * torch.rand(len(norm.running_var), generator=generator)


def _last_convolution(net, smooth):
    """The last one on which the full picture depends; networks may restore smaller ones after it."""
    called = []
    convolutions = [part for part in net.modules() if isinstance(part, torch.nn.Conv2d | torch.nn.ConvTranspose2d)]
    handles = [part.register_forward_hook(lambda part, *_: called.append(part)) for part in convolutions]
    before = net.restore(smooth).image
    for handle in handles:
        handle.remove()
    for part in reversed(called):
        part.weight *= 2
        depends = not torch.equal(net.restore(smooth).image, before)
        part.weight /= 2
        if depends:
            return part
    raise AssertionError("the picture depends on no convolution")
