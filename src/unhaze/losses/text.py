"""How much more a picture looks like one text than like others, by CLIP, as CoA adapts to real haze.

Ma, Feng, Zhang, Liu, Fan, Liu, "CoA: Towards Real Image Dehazing via Compression-and-Adaptation", CVPR 2025; official
code YanZhang-zy/CoA at f94b8c4. CLIP: Radford et al., ICML 2021; scores of single patches: Li et al., "CLIP Surgery",
arXiv:2304.05653.

Other than the official code, which as published lacks the model in its call and has no prompts with it: patches are
those of CLIP's own transformer, without the second path of CLIP Surgery; pictures are normalised as CLIP's own
preparation does; and texts may be words, in place of the learnt prompts that the authors do not give.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from unhaze.errors import MissingDependencyError, UsageError, WeightsNotFoundError

__all__ = ["TextLoss", "load_clip"]

TEMPERATURE = 100.0
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
PROMPT = "embedding_prompt"  # the name that learnt prompts have in the files of CoA and CLIP-LIT


class TextLoss(nn.Module):
    """1 - share of the first text in a softmax over texts, a mean over the patches of a picture.

    Args:
        clip: ``transformers.CLIPModel``; frozen here.
        texts: (T, D) features of the texts; the first is the one that pictures are to look like.

    Raises:
        UsageError: There are fewer than two texts.
    """

    def __init__(self, clip: Any, texts: Tensor) -> None:
        super().__init__()
        if len(texts) < 2:
            raise UsageError("A text loss needs at least two texts: the one that is wanted, and others.")
        self.clip: Any = clip.eval().requires_grad_(False)
        self.register_buffer("texts", F.normalize(texts.detach().float(), dim=-1))
        self.register_buffer("mean", torch.tensor(MEAN)[:, None, None])
        self.register_buffer("std", torch.tensor(STD)[:, None, None])

    def forward(self, image: Tensor) -> Tensor:
        """The loss of (B, 3, H, W) pictures in [0, 1], of any size, without shape."""
        shares = self.scores(image).softmax(-1)[..., 0]
        return 1 - shares.mean()

    def scores(self, image: Tensor) -> Tensor:
        """(B, N, T): how much each patch looks like each text, times the temperature.

        A text's weight for a picture is its share in a softmax of twice the class token's cosines, over their mean.
        CLIP Surgery then takes the mean over texts away, which a softmax over texts does not notice.
        """
        side = self.clip.config.vision_config.image_size
        resized = F.interpolate(image, size=(side, side), mode="bicubic", align_corners=False, antialias=True)
        vision = self.clip.vision_model
        tokens = vision(pixel_values=(resized - self.get_buffer("mean")) / self.get_buffer("std")).last_hidden_state
        projected = F.normalize(self.clip.visual_projection(vision.post_layernorm(tokens)), dim=-1)  # (B, 1 + N, D)
        cosines = projected @ self.get_buffer("texts").t()
        weights = (2 * cosines[:, :1]).softmax(-1)
        found: Tensor = TEMPERATURE * cosines[:, 1:] * weights / weights.mean(-1, keepdim=True)
        return found


def load_clip(folder: str | Path, texts: Sequence[str] = (), prompts: str | Path | None = None) -> TextLoss:
    """A loss with a CLIP model from a folder, and with texts in words or learnt.

    Args:
        folder: What ``save_pretrained`` of transformers wrote: model and tokeniser. Nothing is downloaded.
        texts: In words, the wanted one first.
        prompts: File of learnt prompts, (T, length, width) of the text model's embeddings, instead.

    Raises:
        WeightsNotFoundError: There is no such folder or file.
        MissingDependencyError: transformers is not installed.
        UsageError: The folder holds no CLIP, the prompts do not fit, or there are too few texts.
    """
    for each in (folder, prompts):
        if each is not None and not Path(each).exists():
            raise WeightsNotFoundError(f"There is no {each}; give a folder of CLIP, as transformers saves it.")
    try:
        from transformers import CLIPModel, CLIPTokenizer
    except ImportError as error:
        raise MissingDependencyError("transformers", "depth", "train with a text loss") from error
    try:
        model: Any = CLIPModel.from_pretrained(folder, local_files_only=True)
        tokenizer = CLIPTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, RuntimeError, TypeError) as error:
        raise UsageError(
            f"{folder} holds no CLIP of transformers; give a folder with config.json, model.safetensors and the "
            "tokeniser's files, as openai/clip-vit-base-patch32 has them."
        ) from error
    if prompts is None and len(texts) < 2:
        raise UsageError("A text loss needs at least two texts: the one that is wanted, and others.")
    with torch.no_grad():
        if prompts is None:
            tokens = tokenizer(list(texts), padding=True, return_tensors="pt")
            features = _projected(model, tokens["input_ids"], tokens["attention_mask"])
        else:
            features = _of_prompts(model, tokenizer, prompts)
    return TextLoss(model, features)


def _of_prompts(model: Any, tokenizer: Any, path: str | Path) -> Tensor:
    """Features of embeddings that stand in place of those of as many words."""
    state = torch.load(path, map_location="cpu", weights_only=True)
    named = {key.removeprefix("module."): value for key, value in state.items()}
    learnt: Tensor | None = named.get(PROMPT)
    embedding = model.text_model.embeddings.token_embedding
    length = model.config.text_config.max_position_embeddings
    if learnt is None or learnt.ndim != 3 or learnt.shape[1:] != (length, embedding.embedding_dim):
        raise UsageError(
            f"{path} has no prompts for this CLIP; {PROMPT} must be (texts, {length}, {embedding.embedding_dim})."
        )
    words = " ".join(["X"] * 16)  # what the prompts were learnt in the place of; it says where the text ends
    tokens = tokenizer([words] * len(learnt), padding="max_length", max_length=length, return_tensors="pt")
    handle = embedding.register_forward_hook(lambda *_: learnt.to(embedding.weight.dtype))
    try:
        return _projected(model, tokens["input_ids"], tokens["attention_mask"])
    finally:
        handle.remove()


def _projected(model: Any, ids: Tensor, mask: Tensor) -> Tensor:
    found = model.text_model(input_ids=ids, attention_mask=mask).pooler_output
    features: Tensor = model.text_projection(found)
    return features
