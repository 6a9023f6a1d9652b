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
    label, module = device.type.upper(), getattr(torch, device.type)
    if device.type == "cpu":
        count = 1
    else:
        is_available = torch.backends.mps.is_available() if device.type == "mps" else module.is_available()
        count = int(module.device_count()) if is_available else 0
    if not count:
        raise UsageError(
            f"This machine has no {label} device that torch can use; leave --device out to use the processor."
        )
    if device.index is not None and device.index >= count:
        known = " or ".join(f"{device.type}:{i}" for i in range(count))
        raise UsageError(f"This machine has no device {name}; name {known}, or leave --device out.")
    return device
