"""Parts of SelfPromer's training that are no step of it: its networks, its estimator of depth, the loss on codes."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from unhaze.depth import create_depth
from unhaze.errors import UsageError, WeightsNotFoundError
from unhaze.models.base import Model
from unhaze.models.checkpoints.loading import load_weights
from unhaze.models.networks import create_network, resolve_network
from unhaze.models.selfpromer import SelfPromer

__all__ = ["code_loss", "depth_estimator", "keep_prior", "stage_network", "trained_autoencoder"]

KEPT = ("codes.", "leave_codes.", "up", "dec", "head.")  # of the autoencoder, in the second stage
COMMITMENT = 0.25


def code_loss(latent: Tensor, codes: Tensor) -> Tensor:
    """How far features are from the codes that they should choose: by their values and by their Gram matrices.

    Args:
        latent: (B, C, H, W).
        codes: (B, H, W, C); no gradient passes.
    """
    found, wanted = latent.permute(0, 2, 3, 1).flatten(1, 2), codes.detach().flatten(1, 2)  # (B, N, C)
    grams = [each.transpose(1, 2) @ each / each.shape[1] for each in (found, wanted)]
    return COMMITMENT * (found - wanted).square().mean() + (grams[0] - grams[1]).square().mean()


def stage_network(name: str, *, restores: bool) -> SelfPromer:
    """The network ``name`` with fresh weights: the autoencoder, or the one that restores.

    Raises:
        UsageError: It is not the network of this stage.
    """
    network: Model = create_network(resolve_network(name))
    if not isinstance(network, SelfPromer) or network.restores != restores:
        right = "selfpromer-lq" if restores else "selfpromer-hq"
        raise UsageError(f"{name} is not the network of this stage; take --set network={right}.")
    return network


def trained_autoencoder(weights: str) -> SelfPromer:
    """The autoencoder of the first stage.

    Raises:
        WeightsNotFoundError: No weights are named, or there is no such file.
    """
    if not weights:
        raise WeightsNotFoundError(
            "The second stage of SelfPromer goes on from the autoencoder of the first; name its weights with "
            "--set autoencoder_weights=FILE, or train it with the preset selfpromer-hq-its."
        )
    autoencoder = stage_network("selfpromer-hq", restores=False)
    load_weights(autoencoder, weights)
    return autoencoder


def depth_estimator(name: str, weights: str) -> nn.Module:
    """The estimator that both pictures are shown to.

    Raises:
        UsageError: ``name`` stands for depth that is stored, which a restored picture has not.
    """
    if name in ("stored", "shuffled"):
        raise UsageError("SelfPromer compares the depth of two pictures; name an estimator with --set depth=NAME.")
    given: dict[str, Any] = {"weights": weights} if weights else {}
    return create_depth(name, **given)


def keep_prior(network: SelfPromer, autoencoder: SelfPromer) -> None:
    """Begin with the autoencoder's weights wherever they fit, and train nothing behind the codes."""
    own, found = network.state_dict(), autoencoder.state_dict()
    network.load_state_dict({k: found[k] if k in found and found[k].shape == v.shape else v for k, v in own.items()})
    for name, parameter in network.named_parameters():
        if name.startswith(KEPT):
            parameter.requires_grad_(False)
