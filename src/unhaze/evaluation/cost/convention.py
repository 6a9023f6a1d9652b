"""Parameters and multiply-accumulates as papers print them: the convention of the counter ``thop``.

That counter knows a list of module classes and sees nothing else: no bare parameter, no function, no attention product,
no module that is never called. The rules per class are facts about it (Lyken17/pytorch-OpCounter, 0.1.1). Activations
cost nothing, normalisations two operations per number (four with learned scale and shift), pooling and softmax their
additions and divisions; everything else counts in multiply-accumulates.

Some blocks of unhaze compute what the layers of official code compute in another way, by a spectrum or by one product
for several layers. They are charged what those layers would be, so that the rows of P2 (Table 1) come out as printed.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from unhaze.models import coa, mb_taylorformer, oknet, sgdnet
from unhaze.models.base import Model
from unhaze.models.layers import window_transformer
from unhaze.models.layers.norms import InstanceNorm

__all__ = ["ConventionCount", "count_by_convention", "count_calls"]


@dataclass(frozen=True, slots=True)
class ConventionCount:
    """What the convention makes of a network.

    Attributes:
        parameters: In modules that it knows and that are called.
        macs: Multiply-accumulates of these modules, for one image.
    """

    parameters: int
    macs: int


@dataclass(slots=True)
class _Tally:
    macs: int = 0
    layers: set[nn.Module] = field(default_factory=set)

    def run(self, layer: Any, positions: int) -> None:
        """Charge a convolution as if it had been called, with this many positions in its output."""
        self.layers.add(layer)
        self.macs += positions * layer.out_channels * _inputs(layer)


Rule = Callable[[_Tally, Any, tuple[Any, ...], Any], None]


def count_by_convention(meta_network: Model, height: int = 224, width: int = 224) -> ConventionCount:
    """Count a network that computes shapes only, for one image, 224x224 unless said otherwise.

    Exact for the networks of P2, Table 1. Of other networks, layers that unhaze fuses are not seen.
    """
    return count_calls(meta_network, lambda: meta_network.restore(torch.empty(1, 3, height, width, device="meta")))


def count_calls(module: nn.Module, call: Callable[[], object]) -> ConventionCount:
    """Count what ``call`` makes the parts of a module do, and nothing that it does elsewhere."""
    tally = _Tally()

    def note(part: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        macs = _macs_of(part, inputs, output)
        if macs is not None:
            tally.layers.add(part)
            tally.macs += macs
        for kind, rule in _BLOCKS.items():
            if isinstance(part, kind):
                rule(tally, part, inputs, output)

    handles = [part.register_forward_hook(note) for part in module.modules()]
    try:
        with torch.no_grad():
            call()
    finally:
        for handle in handles:
            handle.remove()
    return ConventionCount(sum(p.numel() for layer in tally.layers for p in layer.parameters()), tally.macs)


# -- layers that the counter knows ------------------------------------------------------------------------------------


def _inputs(layer: Any) -> int:
    """Multiply-accumulates per number of the output; transposed convolutions are charged like plain ones."""
    return int(layer.in_channels // layer.groups * math.prod(layer.kernel_size))


def _softmax_of(numbers: int, size: int) -> int:
    """A softmax over ``size`` of so many numbers: exponentials, additions, divisions."""
    return numbers // size * (3 * size - 1)


_FREE = {
    *(nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.Dropout, nn.ZeroPad2d, nn.PixelShuffle),
    *(nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d, nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d, nn.AdaptiveMaxPool3d),
}
_CONVOLUTIONS = {nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d}
_NORMS = {
    *(nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.LayerNorm),
    *(nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d, InstanceNorm),
}
_POOLS = {nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d}
_ADAPTIVE_POOLS = {nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d}
_ENLARGEMENTS = {nn.Upsample, nn.UpsamplingBilinear2d, nn.UpsamplingNearest2d}


def _macs_of(layer: Any, inputs: tuple[Any, ...], y: Any) -> int | None:
    """What a layer costs by the rule of its class, subclasses not included; ``None`` for a class that has none."""
    kind = type(layer)
    if kind in _FREE:
        return 0
    if kind in _CONVOLUTIONS:
        return int(y.numel()) * _inputs(layer)
    if kind is nn.Linear:
        return int(layer.in_features * y.numel())
    if kind in _NORMS:
        affine = getattr(layer, "affine", False) or getattr(layer, "elementwise_affine", False)
        return int(inputs[0].numel() * (4 if affine else 2))
    if kind is nn.Softmax:
        return _softmax_of(inputs[0].numel(), inputs[0].shape[layer.dim])
    if kind is nn.PReLU:
        return int(inputs[0].numel())
    if kind in _POOLS:
        return int(y.numel())
    if kind in _ADAPTIVE_POOLS:
        return int((math.prod(a / b for a, b in zip(inputs[0].shape[2:], y.shape[2:], strict=True)) + 1) * y.numel())
    if kind in _ENLARGEMENTS:
        return int(y.numel()) * {"nearest": 1, "linear": 5, "bilinear": 11, "bicubic": 259}.get(layer.mode, 0)
    return None


# -- blocks of unhaze, charged what the layers of official code are charged -------------------------------------------


def _pixels(x: Tensor) -> int:
    return x.shape[-2] * x.shape[-1]


def _mean_of(x: Tensor) -> int:
    """Global average pooling of a map."""
    return (_pixels(x) + 1) * x.shape[1]


def _transformer_block(tally: _Tally, outer: Any, inputs: tuple[Any, ...], _y: Any) -> None:
    """Queries, keys and values before the map is mirrored; the bias for every pair, not once per distinct offset."""
    block = outer.mixer
    if not block.attention:
        return
    x, pairs, hidden = inputs[0], block.window**4, block.bias[0].out_features
    tally.run(block.query_key, _pixels(x))
    tally.run(block.value, _pixels(x))
    tally.macs += (pairs - len(block.offsets)) * (2 * hidden + hidden * block.num_heads)
    windows = math.prod(-(-(side + block.shift) // block.window) for side in x.shape[-2:])
    tally.macs += _softmax_of(windows * block.num_heads * pairs, block.window**2)


def _skip_merge(tally: _Tally, _block: Any, inputs: tuple[Any, ...], _y: Any) -> None:
    x = inputs[0]
    tally.macs += _mean_of(x) + _softmax_of(2 * x.shape[1], 2)


def _branch_merge(tally: _Tally, _block: Any, inputs: tuple[Any, ...], y: Any) -> None:
    number = len(inputs[0])
    tally.macs += _mean_of(y) + _softmax_of(number * y.shape[1], number)


def _position_weights(tally: _Tally, block: Any, inputs: tuple[Any, ...], _y: Any) -> None:
    """One convolution of queries and keys together."""
    for layer in block.position:
        tally.run(layer, _pixels(inputs[0]))


def _omni_kernel(tally: _Tally, block: Any, inputs: tuple[Any, ...], _y: Any) -> None:
    """Four depthwise convolutions and two means."""
    for layer in (block.row, block.column, block.square, block.point):
        tally.run(layer, _pixels(inputs[0]))
    tally.macs += 2 * _mean_of(inputs[0])


def _interaction(tally: _Tally, block: Any, inputs: tuple[Any, ...], _y: Any) -> None:
    tally.run(block.project, _pixels(inputs[0]))


def _color_bridge(tally: _Tally, block: Any, inputs: tuple[Any, ...], y: Any) -> None:
    """Pooling, two enlargements, and below the first level the gates and the projections behind attention."""
    x, _, before = inputs
    (small, _), channels = y[3], x.shape[1]
    tally.macs += small.numel() + 2 * 11 * x.numel()
    if before is not None:
        tally.macs += 2 * _softmax_of(small.numel(), channels)
        tally.run(block.color.project, _pixels(small))
        tally.run(block.detail.project, _pixels(small))


def _enlargements(tally: _Tally, network: Any, inputs: tuple[Any, ...], _y: Any) -> None:
    """1x1 convolutions after the enlargement to 2 n + 1, which unhaze puts before it."""
    height, width = inputs[0].shape[-2:]
    for level, layer in enumerate((network.up1, network.up2, network.up3, network.up4), start=1):
        rows, columns = height >> level, width >> level
        tally.run(layer, (2 * rows + 1) * (2 * columns + 1) - rows * columns)


_BLOCKS: dict[type[nn.Module], Rule] = {
    window_transformer.TransformerBlock: _transformer_block,
    window_transformer.SkipMerge: _skip_merge,
    mb_taylorformer.BranchMerge: _branch_merge,
    mb_taylorformer.TaylorAttention: _position_weights,
    oknet.OmniKernel: _omni_kernel,
    sgdnet.SkipChoice: _skip_merge,
    sgdnet.Interaction: _interaction,
    sgdnet.ColorBridge: _color_bridge,
    coa.Decoder: _enlargements,
}
