"""Networks that weights are put into, without the random values that fresh ones begin with.

Drawing them takes longer than everything else: for the largest network of the catalogue many seconds, for nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

__all__ = ["build_unfilled", "with_room"]

_NORMAL = (torch.nn.init.normal_, torch.Tensor.normal_)

NetworkT = TypeVar("NetworkT", bound=nn.Module)


def build_unfilled(build: Callable[[], NetworkT]) -> NetworkT:
    """Build a network whose parameters have shapes but no values; buffers have theirs.

    Args:
        build: Builds the network.

    Returns:
        It, with most parameters on the meta device; :func:`with_room` makes them ones that can be filled. A network
        that needs values while it is built, or keeps some that no file holds, has all of its own.
    """
    try:
        with _WithoutValues():
            network = build()
    except (NotImplementedError, RuntimeError):  # what torch raises where values of the meta device are asked for
        return build()
    # tensors without values besides parameters, which weights would not fill
    filled = network.state_dict().keys()
    buffers = (buffer for name, buffer in network.named_buffers() if name not in filled)
    others = (value for part in network.modules() for value in vars(part).values() if isinstance(value, Tensor))
    return build() if any(tensor.is_meta for tensor in (*buffers, *others)) else network


def with_room(network: NetworkT) -> NetworkT:
    """The network itself, its parameters in memory, where they hold any numbers until weights are put in."""
    # not empty_like, for which torch would load its compiler
    network._apply(lambda tensor: torch.empty(tensor.shape, dtype=tensor.dtype) if tensor.is_meta else tensor)
    return network


class _WithoutValues(TorchFunctionMode):
    """What layers make to be filled later has no memory; numbers that are computed have, and stay."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.empty and kwargs.get("device") is None:
            kwargs = {**kwargs, "device": "meta"}
        if func in _NORMAL and (tensor := args[0] if args else kwargs["tensor"]).is_meta:
            return tensor  # to draw nothing torch would load its compiler, which takes longer than the network
        return func(*args, **kwargs)
