"""A CLIP of a few thousand random weights, with a tokeniser that knows letters alone."""

import json

import torch

LETTERS = "acdehloprtxyz"


def small_clip(folder):
    """Write it as transformers does; the folder."""
    from transformers import CLIPConfig, CLIPModel

    words = [*LETTERS, *(f"{letter}</w>" for letter in LETTERS), "<|startoftext|>", "<|endoftext|>"]
    numbers = {word: number for number, word in enumerate(words)}
    (folder / "vocab.json").write_text(json.dumps(numbers))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    start, end = numbers["<|startoftext|>"], numbers["<|endoftext|>"]
    text = {"vocab_size": len(words), "max_position_embeddings": 40}
    text |= {"bos_token_id": start, "eos_token_id": end, "pad_token_id": end}
    torch.manual_seed(3)
    config = CLIPConfig(
        text_config=sizes | text, vision_config=sizes | {"image_size": 32, "patch_size": 8}, projection_dim=8
    )
    CLIPModel(config).save_pretrained(folder)
    return folder
