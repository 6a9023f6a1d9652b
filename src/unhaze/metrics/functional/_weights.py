"""Weights that a metric needs and unhaze does not ship: the user names the file, and its SHA-256 says what it is."""

from __future__ import annotations

import hashlib
import os
import pickle
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from unhaze.errors import WeightsNotFoundError

__all__ = ["KnownFile", "load_verified"]


@dataclass(frozen=True, slots=True)
class KnownFile:
    """The one file that gives a metric its name.

    Attributes:
        metric: Name of the metric, for messages.
        name: Name under which the file is published.
        address: Where.
        sha256: Its hash, or the first digits of it that are known.
        variable: Environment variable that may name it.
        scripted: It is an archive of TorchScript; its tensors are taken, its code is not run.
    """

    metric: str
    name: str
    address: str
    sha256: str
    variable: str
    scripted: bool = False


def load_verified(known: KnownFile, path: str | os.PathLike[str] | None) -> Mapping[str, Tensor]:
    """The tensors of a file that is what it should be; no code in it is run.

    Args:
        known: Which file.
        path: Where it is; by default what its environment variable names.

    Raises:
        WeightsNotFoundError: No path is given, there is no such file, or it is another one.
    """
    place = path or os.environ.get(known.variable)
    if not place:
        raise WeightsNotFoundError(
            f"{known.metric} is unavailable without its weights: get {known.name} from {known.address} and name it "
            f"with weights=, or in the environment variable {known.variable}."
        )
    try:
        with Path(place).open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
            if not digest.startswith(known.sha256):
                raise WeightsNotFoundError(
                    f"{known.metric} is unavailable: {place} is not {known.name} (its SHA-256 starts with "
                    f"{digest[:8]}, not {known.sha256[:8]}); get it from {known.address}."
                )
            stream.seek(0)
            if known.scripted:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", DeprecationWarning)  # there is no other reader for these files
                    scripted: Mapping[str, Tensor] = torch.jit.load(stream, map_location="cpu").state_dict()  # type: ignore[no-untyped-call]
                return scripted
            state = torch.load(stream, map_location="cpu", weights_only=True)
    except OSError as error:
        raise WeightsNotFoundError(
            f"{known.metric} is unavailable: {place} cannot be read ({error.strerror}); name a file that can."
        ) from error
    except (RuntimeError, pickle.UnpicklingError) as error:
        raise WeightsNotFoundError(
            f"{known.metric} is unavailable: {place} is not a file of torch weights; get it anew from {known.address}."
        ) from error
    found: Mapping[str, Tensor] = state.get("params", state)
    return found
