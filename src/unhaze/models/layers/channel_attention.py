"""Attention among channels, whose features are pixels ("transposed attention" of Restormer)."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from unhaze.models.layers.bands import put_band, row_bands

__all__ = ["apply_channel_attention", "channel_similarity", "merge_projection", "mix_channels", "similarity_and_value"]


def channel_similarity(query: Tensor, key: Tensor) -> Tensor:
    """Cosine similarity of every channel of ``query`` with every channel of ``key``.

    The small product is divided by the lengths, so that the large maps need not be normalised.

    Args:
        query: (B, heads, C, N).
        key: (B, heads, C, N).

    Returns:
        (B, heads, C, C).
    """
    return _normalised(*_products(query, key))


def similarity_and_value(
    split: Callable[..., tuple[Tensor, Tensor, Tensor]], *maps: Tensor, num_heads: int, channels: int, halo: int
) -> tuple[Tensor, Tensor]:
    """:func:`channel_similarity` of queries and keys that exist for a band of the map at a time.

    Args:
        split: Query, key and value, (B, heads C, H, W) each, of ``maps``; looks ``halo`` rows far.
        maps: (B, ..., H, W) each.
        num_heads: Heads.
        channels: C of the widest map inside ``split``.
        halo: How far ``split`` looks, in rows.

    Returns:
        The similarity, (B, heads, C, C), and the value, (B, heads C, H, W).
    """
    sums: tuple[Tensor, ...] = ()
    whole: Tensor | None = None
    height = maps[0].shape[2]
    for first, last in row_bands(maps[0], channels, halo=halo):
        start = max(first - halo, 0)
        parts = split(*(x[:, :, start : last + halo] for x in maps))
        query, key, value = (part[:, :, first - start : last - start] for part in parts)
        products = _products(*(part.flatten(2).unflatten(1, (num_heads, -1)) for part in (query, key)))
        if last - first == height:
            return _normalised(*products), value
        sums = tuple(a + b for a, b in zip(sums, products, strict=True)) if sums else products
        whole = put_band(whole, value, first, height)
    assert whole is not None
    return _normalised(*sums), whole


def _products(query: Tensor, key: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Products of all pairs of channels and the squared lengths, each a sum over pixels."""
    return query @ key.transpose(2, 3), query.square().sum(3, keepdim=True), key.square().sum(3).unsqueeze(2)


def _normalised(product: Tensor, of_query: Tensor, of_key: Tensor) -> Tensor:
    return product / (of_query.sqrt().clamp_min(1e-12) * of_key.sqrt().clamp_min(1e-12))


def merge_projection(attention: Tensor, weight: Tensor) -> Tensor:
    """Attention and the 1x1 convolution behind it as one product, (B, O, heads C').

    Args:
        attention: (B, heads, C', C').
        weight: (O, heads C', 1, 1).
    """
    heads, width = attention.shape[1:3]
    per_head = weight.view(weight.shape[0], heads, width).transpose(0, 1)  # (heads, O, C')
    return (per_head @ attention).transpose(1, 2).flatten(2)


def apply_channel_attention(attention: Tensor, value: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Mix the channels of ``value`` by attention and project them, in one product per image.

    Args:
        attention: (B, heads, C', C').
        value: (B, heads C', H, W).
        weight: (O, heads C', 1, 1) of the 1x1 convolution that follows the attention.
        bias: (O,).

    Returns:
        (B, O, H, W).
    """
    out = mix_channels(merge_projection(attention, weight), value)
    return out if bias is None else out + bias.view(-1, 1, 1)


def mix_channels(mixing: Tensor, x: Tensor) -> Tensor:
    """(B, O, H, W): a 1x1 convolution with a weight of its own, (B, O, C), for every image of a (B, C, H, W) map."""
    return (mixing @ x.flatten(2)).unflatten(2, x.shape[2:])
