"""Attention among channels, whose features are pixels ("transposed attention" of Restormer)."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["apply_channel_attention", "channel_similarity"]


def channel_similarity(query: Tensor, key: Tensor) -> Tensor:
    """Cosine similarity of every channel of ``query`` with every channel of ``key``.

    The small product is divided by the lengths, so that the large maps need not be normalised.

    Args:
        query: (B, heads, C, N).
        key: (B, heads, C, N).

    Returns:
        (B, heads, C, C).
    """
    of_query = torch.linalg.vector_norm(query, dim=3, keepdim=True).clamp_min(1e-12)
    of_key = torch.linalg.vector_norm(key, dim=3).clamp_min(1e-12).unsqueeze(2)
    return (query @ key.transpose(2, 3)) / (of_query * of_key)


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
    heads, width = attention.shape[1:3]
    per_head = weight.view(weight.shape[0], heads, width).transpose(0, 1)  # (heads, O, C')
    mixing = (per_head @ attention).transpose(1, 2).flatten(2)  # (B, O, heads C')
    out = (mixing @ value.flatten(2)).unflatten(2, value.shape[2:])
    return out if bias is None else out + bias.view(-1, 1, 1)
