"""Networks of P2's Table 1, narrow and shallow, so that many of them can be trained on two cores."""

from __future__ import annotations

from typing import Any

from unhaze.models.base import Model
from unhaze.models.networks import create_network, register_network

__all__ = ["SMALL", "register_small"]

# name: the variant it is made of, and what differs
SMALL: dict[str, tuple[str, dict[str, Any]]] = {
    "dehazeformer-small": (
        "dehazeformer-t",
        {"channels": (12, 24, 48, 24, 12), "num_blocks": (1, 1, 2, 1, 1), "num_heads": (1, 2, 4, 1, 1)},
    ),
    "oknet-small": ("oknet-base", {"channels": 12, "num_blocks": 1, "kernel": 21}),
    "coa-small": ("coa-deploy_rb1", {"channels": 4}),
}


def dehazeformer_small(**overrides: Any) -> Model:
    """DehazeFormer with half the width."""
    return _create("dehazeformer-small", overrides)


def oknet_small(**overrides: Any) -> Model:
    """OKNet with three eighths of the width, a block a level and a kernel of 21."""
    return _create("oknet-small", overrides)


def coa_small(**overrides: Any) -> Model:
    """CoA's student with half the width."""
    return _create("coa-small", overrides)


def register_small() -> None:
    """Give them their names in the catalogue."""
    for name in SMALL:
        register_network(name, f"{__name__}:{name.replace('-', '_')}")


def _create(name: str, overrides: dict[str, Any]) -> Model:
    base, sizes = SMALL[name]
    return create_network(base, **{**sizes, **overrides})
