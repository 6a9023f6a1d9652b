"""Where networks run: the devices that torch has on this machine."""

from __future__ import annotations

import torch

from unhaze.catalog import check_device
from unhaze.errors import UsageError

__all__ = ["choose_device"]


def choose_device(name: str) -> torch.device:
    """The device called ``name``.

    Args:
        name: One of :data:`~unhaze.catalog.DEVICES`, or with a number (``"cuda:1"``). ``"auto"`` is the first CUDA
            device where there is one, else the processor.

    Raises:
        UnknownNameError: There is no such kind of device.
        UsageError: torch has no such device on this machine.
    """
    check_device(name)
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(name)
    count = _count(device.type)
    label = device.type.upper()
    if not count:
        raise UsageError(
            f"This machine has no {label} device that torch can use; leave --device out to use the processor."
        )
    if device.index is not None and device.index >= count:
        known = " or ".join(f"{device.type}:{i}" for i in range(count))
        raise UsageError(f"This machine has no device {name}; name {known}, or leave --device out.")
    return device


def _count(kind: str) -> int:
    """How many devices of a kind torch can use."""
    if kind == "cpu":
        return 1
    module = getattr(torch, kind)
    is_available = torch.backends.mps.is_available() if kind == "mps" else module.is_available()
    return int(module.device_count()) if is_available else 0
