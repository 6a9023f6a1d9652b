"""The text loss against CLIP's own features, and what it refuses."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from tests.clip import small_clip  # noqa: E402

from unhaze.errors import UsageError, WeightsNotFoundError  # noqa: E402
from unhaze.losses.text import PROMPT, TextLoss, load_clip  # noqa: E402

TEXTS = ("a clear photo", "a hazy photo")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return small_clip(tmp_path_factory.mktemp("clip"))


def features_of(found):
    """The output of a model, or, of newer versions of transformers, a part of it."""
    return getattr(found, "pooler_output", found)


def test_texts_are_what_clip_makes_of_the_words(folder):
    from transformers import CLIPModel, CLIPTokenizer

    model, tokenizer = CLIPModel.from_pretrained(folder), CLIPTokenizer.from_pretrained(folder)
    expected = features_of(model.get_text_features(**tokenizer(list(TEXTS), padding=True, return_tensors="pt")))
    found = load_clip(folder, TEXTS).texts
    torch.testing.assert_close(found, torch.nn.functional.normalize(expected.detach(), dim=-1))
    assert not torch.allclose(found[0], found[1])


def test_the_loss_is_one_minus_the_share_of_the_first_text(folder):
    loss, image = load_clip(folder, TEXTS), torch.rand(2, 3, 40, 48)
    pixels = torch.nn.functional.interpolate(image, (32, 32), mode="bicubic", antialias=True)
    pixels = (pixels - loss.mean) / loss.std
    vision = loss.clip.vision_model
    own = features_of(loss.clip.get_image_features(pixel_values=pixels))
    tokens = loss.clip.visual_projection(vision.post_layernorm(vision(pixel_values=pixels).last_hidden_state))
    torch.testing.assert_close(tokens[:, 0], own)
    share = 0.0
    for picture in range(2):
        unit = [token / token.norm() for token in tokens[picture]]
        weights = torch.stack([2 * unit[0] @ text for text in loss.texts]).softmax(0)
        for token in unit[1:]:
            scores = [100 * (token @ text) * w / weights.mean() for text, w in zip(loss.texts, weights, strict=True)]
            share += float(torch.stack(scores).softmax(0)[0]) / (2 * len(unit[1:]))
    assert float(loss(image)) == pytest.approx(1 - share, rel=1e-4)
    turned = TextLoss(loss.clip, loss.texts.flip(0))
    assert float(turned(image)) == pytest.approx(share, rel=1e-4)  # with two texts, what one loses the other has


def test_pictures_learn_and_clip_does_not(folder):
    loss, image = load_clip(folder, TEXTS), torch.rand(1, 3, 32, 32, requires_grad=True)
    loss(image).backward()
    assert image.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in loss.parameters())


def test_learnt_prompts_stand_in_the_place_of_words(folder, tmp_path):
    from transformers import CLIPModel, CLIPTokenizer

    model, tokenizer = CLIPModel.from_pretrained(folder), CLIPTokenizer.from_pretrained(folder)
    words = [" ".join(["X"] * 16)] * 2
    ids = tokenizer(words, padding="max_length", max_length=40, return_tensors="pt")["input_ids"]
    embedded = model.text_model.embeddings.token_embedding(ids).detach()
    embedded[1, 3] = torch.linspace(-1, 1, 16)  # as the first, but for one word
    torch.save({f"module.{PROMPT}": embedded}, tmp_path / "prompts.pth")
    found = load_clip(folder, prompts=tmp_path / "prompts.pth").texts
    plain = load_clip(folder, (words[0], "a hazy photo")).texts[0]
    torch.testing.assert_close(found[0], plain)
    assert not torch.allclose(found[1], plain)
    torch.save({PROMPT: embedded[:, :5]}, tmp_path / "short.pth")
    with pytest.raises(UsageError, match=r"embedding_prompt must be \(texts, 40, 16\)"):
        load_clip(folder, prompts=tmp_path / "short.pth")


def test_what_is_missing_or_does_not_fit_is_said(folder, tmp_path):
    with pytest.raises(WeightsNotFoundError, match="give a folder of CLIP"):
        load_clip(tmp_path / "none", TEXTS)
    with pytest.raises(UsageError, match="holds no CLIP of transformers"):
        load_clip(tmp_path, TEXTS)
    with pytest.raises(UsageError, match="at least two texts"):
        load_clip(folder, TEXTS[:1])
    with pytest.raises(UsageError, match="at least two texts"):
        TextLoss(torch.nn.Identity(), torch.zeros(1, 4))
