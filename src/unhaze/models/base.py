"""What all networks have in common: stages, an image contract, official key names.

A network works in its own range of values; :meth:`Backbone.restore` is the one place where the public range [0, 1] is
mapped to it, the size is made to fit, and both are undone.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

import torch
from torch import Tensor, nn

from unhaze.models.layers.padding import pad_to_multiple
from unhaze.models.layers.stage import Runner, run_block
from unhaze.types import ImageContract, Restored, Stage

__all__ = ["KeyMap", "Model", "finish", "prepare", "rename_keys"]

KeyMap = tuple[tuple[str, str | None], ...]

torch.export.register_dataclass(Restored, serialized_type_name="unhaze.types.Restored")


class Model(nn.Module):
    """A network that restores an image.

    Attributes:
        name: In the catalogue; empty for one that was not built through it.
        stages: Every stage that :meth:`forward` passes to its runner, in the order in which they run.
        contract: Value range and sizes that :meth:`forward` expects.
        dead: Regular expressions of parameters that never reach the output. They are kept so that official checkpoints
            fit and parameter counts agree.
        KEY_MAP: Rules from official state-dict keys to ours, see :func:`rename_keys`.
    """

    name: str = ""
    stages: tuple[Stage, ...] = ()
    contract: ImageContract = ImageContract()
    dead: tuple[str, ...] = ()
    KEY_MAP: ClassVar[KeyMap] = ()

    def forward(self, image: Tensor, run: Runner = run_block) -> Restored:
        """Restore an image that already follows :attr:`contract`.

        Args:
            image: (B, 3, H, W) RGB in the network's own range.
            run: Runs the stages.

        Returns:
            Images in the network's own range.
        """
        raise NotImplementedError

    def restore(self, image: Tensor, run: Runner = run_block) -> Restored:
        """Restore an image of any size.

        Args:
            image: (B, 3, H, W) RGB in [0, 1].
            run: Runs the stages.

        Returns:
            Images in [0, 1], of the input's size. Values outside are kept: a loss needs them, a picture clamps them.
        """
        return finish(self(prepare(image, self.contract), run), self.contract, (image.shape[-2], image.shape[-1]))

    def folded(self) -> Model:
        """The same function in the form that runs fastest: a copy, or the network itself where nothing folds."""
        return self

    @classmethod
    def from_official(cls, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Tensors of an official checkpoint under our names."""
        return rename_keys(state, cls.KEY_MAP)


def prepare(image: Tensor, contract: ImageContract) -> Tensor:
    """An image in [0, 1], (B, 3, H, W), as a network wants it: size and values."""
    image = pad_to_multiple(image, contract.multiple_of, contract.minimum, contract.pad_mode)
    low, high = contract.value_range
    if (low, high) != (0.0, 1.0):
        image = image * (high - low) + low
    if any(contract.mean) or set(contract.std) != {1.0}:
        image = (image - image.new_tensor(contract.mean).view(3, 1, 1)) / image.new_tensor(contract.std).view(3, 1, 1)
    return image


def finish(restored: Restored, contract: ImageContract, size: tuple[int, int]) -> Restored:
    """A network's images back in [0, 1] and cropped to ``size``, the (H, W) before :func:`prepare`.

    Smaller images of the pyramid are cropped in proportion; ``aux`` stays as the network left it.
    """
    low, high = contract.value_range
    padded = restored.image.shape[-2:]

    def undo(image: Tensor) -> Tensor:
        rows, columns = (
            math.ceil(side * part / whole) for side, part, whole in zip(size, image.shape[-2:], padded, strict=True)
        )
        image = image[..., :rows, :columns]
        return image if (low, high) == (0.0, 1.0) else (image - low) / (high - low)

    return replace(restored, image=undo(restored.image), pyramid=tuple(map(undo, restored.pyramid)))


def rename_keys(state: Mapping[str, Tensor], rules: KeyMap) -> dict[str, Tensor]:
    """State-dict keys rewritten by rules.

    Args:
        state: Key to tensor.
        rules: Pairs of a regular expression and its replacement (:func:`re.sub`), tried in order on every key; all
            that match apply. The replacement ``None`` drops the key.

    >>> rename_keys({"e_conv1.weight": torch.ones(1), "step": torch.ones(1)}, ((r"^e_conv", "conv"), ("^step$", None)))
    {'conv1.weight': tensor([1.])}
    """
    renamed: dict[str, Tensor] = {}
    for official, tensor in state.items():
        key: str | None = official
        for pattern, replacement in rules:
            if key is None:
                break
            if replacement is not None:
                key = re.sub(pattern, replacement, key)
            elif re.search(pattern, key):
                key = None
        if key is not None:
            renamed[key] = tensor
    return renamed
