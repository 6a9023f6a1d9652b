"""CLIP-IQA against OpenAI's code of CLIP and the texts of IQA-PyTorch, on weights that follow from names."""

import zlib

import numpy as np
import pytest
import torch

from unhaze.errors import ImageValueError
from unhaze.metrics.functional import clip_iqa
from unhaze.metrics.functional.clip_iqa import PAIRS, ClipNetwork


def tensors(width=8, blocks=(1, 2, 1, 1), words=12, text_width=64, text_blocks=2, out=16, vocabulary=49_408):
    """Shapes of a small CLIP, filled: normal weights scaled by what they sum, normalisations around 1."""
    shapes = {"visual.conv1.weight": (width // 2, 3, 3, 3), "visual.conv2.weight": (width // 2, width // 2, 3, 3)}
    shapes["visual.conv3.weight"] = (width, width // 2, 3, 3)
    norms = {"visual.bn1": width // 2, "visual.bn2": width // 2, "visual.bn3": width}
    channels = width
    for level, count in enumerate(blocks):
        inner = width << level
        for block in range(count):
            name = f"visual.layer{level + 1}.{block}"
            shapes |= {
                f"{name}.conv1.weight": (inner, channels, 1, 1),
                f"{name}.conv2.weight": (inner, inner, 3, 3),
                f"{name}.conv3.weight": (4 * inner, inner, 1, 1),
            }
            norms |= {f"{name}.bn1": inner, f"{name}.bn2": inner, f"{name}.bn3": 4 * inner}
            if block == 0:
                shapes[f"{name}.downsample.0.weight"] = (4 * inner, channels, 1, 1)
                norms[f"{name}.downsample.1"] = 4 * inner
            channels = 4 * inner
    shapes["visual.attnpool.positional_embedding"] = (50, channels)
    for part, size in (("q", channels), ("k", channels), ("v", channels), ("c", out)):
        shapes |= {
            f"visual.attnpool.{part}_proj.weight": (size, channels),
            f"visual.attnpool.{part}_proj.bias": (size,),
        }
    for name, size in norms.items():
        shapes |= {f"{name}.{each}": (size,) for each in ("weight", "bias", "running_mean", "running_var")}
    for block in range(text_blocks):
        name = f"transformer.resblocks.{block}"
        shapes |= {
            f"{name}.attn.in_proj_weight": (3 * text_width, text_width),
            f"{name}.attn.in_proj_bias": (3 * text_width,),
            f"{name}.attn.out_proj.weight": (text_width, text_width),
            f"{name}.attn.out_proj.bias": (text_width,),
            f"{name}.mlp.c_fc.weight": (4 * text_width, text_width),
            f"{name}.mlp.c_fc.bias": (4 * text_width,),
            f"{name}.mlp.c_proj.weight": (text_width, 4 * text_width),
            f"{name}.mlp.c_proj.bias": (text_width,),
        }
        shapes |= {f"{name}.ln_{i}.{each}": (text_width,) for i in (1, 2) for each in ("weight", "bias")}
    shapes |= {"ln_final.weight": (text_width,), "ln_final.bias": (text_width,)}
    shapes |= {"token_embedding.weight": (vocabulary, text_width), "positional_embedding": (words, text_width)}
    shapes |= {"text_projection": (text_width, out), "logit_scale": ()}
    state = {}
    for name, shape in shapes.items():
        noise = np.random.default_rng(zlib.crc32(name.encode())).standard_normal(shape).astype(np.float32)
        if name.endswith("running_var"):
            noise = 1 + 0.2 * noise.clip(-2, 2)
        elif len(shape) < 2:
            noise = 0.1 * noise + (4 if name == "logit_scale" else float(name.endswith(".weight")))
        elif "embedding" not in name:
            noise = noise * np.float32(np.prod(shape[1:]) ** -0.5)
        state[name] = torch.from_numpy(np.asarray(noise, np.float32))
    for name in norms:
        state[f"{name}.num_batches_tracked"] = torch.tensor(7)
    return state


@pytest.fixture(scope="module")
def state():
    # numbers that the file keeps among its tensors
    return tensors() | {name: torch.tensor(1) for name in ("input_resolution", "context_length", "vocab_size")}


@pytest.fixture(scope="module")
def network(state):
    return ClipNetwork(state).eval().requires_grad_(False)


def picture(height, width):
    codes = np.random.default_rng(height * 1000 + width).integers(0, 256, (1, 3, height, width))
    return torch.from_numpy(codes.astype(np.float32) / 255)


EXPECTED = {
    (64, 64): 0.316099733,
    (70, 91): 0.310090065,
    (224, 224): 0.308700711,
    (33, 200): 0.320859671,
    (150, 97): 0.309726506,
}


@pytest.mark.parametrize("size", EXPECTED)
def test_the_code_of_clip(size, network):
    assert float(clip_iqa(picture(*size), network)) == pytest.approx(EXPECTED[size], abs=1e-5)


def test_texts_as_transformers_reads_them(state, network):
    """The text network of another library with the same weights."""
    transformers = pytest.importorskip("transformers")
    config = transformers.CLIPTextConfig(
        vocab_size=49_408,
        hidden_size=64,
        intermediate_size=256,
        projection_dim=16,
        num_hidden_layers=2,
        num_attention_heads=1,
        max_position_embeddings=12,
        hidden_act="quick_gelu",
        eos_token_id=49_407,
    )
    other = transformers.CLIPTextModelWithProjection(config).eval()
    renamed = {
        "text_model.embeddings.token_embedding.weight": state["token_embedding.weight"],
        "text_model.embeddings.position_embedding.weight": state["positional_embedding"],
        "text_model.final_layer_norm.weight": state["ln_final.weight"],
        "text_model.final_layer_norm.bias": state["ln_final.bias"],
        "text_projection.weight": state["text_projection"].T,
    }
    for block in range(2):
        ours, theirs = f"transformer.resblocks.{block}", f"text_model.encoder.layers.{block}"
        for kind in ("weight", "bias"):
            parts = state[f"{ours}.attn.in_proj_{kind}"].chunk(3)
            renamed |= {
                f"{theirs}.self_attn.{part}_proj.{kind}": value for part, value in zip("qkv", parts, strict=True)
            }
            renamed |= {
                f"{theirs}.self_attn.out_proj.{kind}": state[f"{ours}.attn.out_proj.{kind}"],
                f"{theirs}.mlp.fc1.{kind}": state[f"{ours}.mlp.c_fc.{kind}"],
                f"{theirs}.mlp.fc2.{kind}": state[f"{ours}.mlp.c_proj.{kind}"],
                f"{theirs}.layer_norm1.{kind}": state[f"{ours}.ln_1.{kind}"],
                f"{theirs}.layer_norm2.{kind}": state[f"{ours}.ln_2.{kind}"],
            }
    missing = other.load_state_dict(renamed, strict=False)
    assert not missing.unexpected_keys
    assert all(key.endswith("position_ids") for key in missing.missing_keys)
    texts = torch.tensor([[49_406, *good, 49_407] for good, _ in PAIRS if len(good) == 2])
    with torch.no_grad():
        torch.testing.assert_close(network.read(texts), other(texts).text_embeds, rtol=0, atol=1e-5)


def test_pictures_that_are_too_small(network):
    with pytest.raises(ImageValueError, match="CLIP-IQA needs pictures of at least 32 pixels"):
        clip_iqa(torch.zeros(1, 3, 31, 40), network)
