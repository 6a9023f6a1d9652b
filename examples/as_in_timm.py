"""Networks by name, as in timm: list, create, run."""

import torch

import unhaze

print(unhaze.list_models("network")[:4], "...")
model = unhaze.create_model("dehazeformer-t").eval()  # fresh weights; unhaze.load_model(FILE) brings trained ones
with torch.inference_mode():
    restored = model.restore(torch.rand(1, 3, 64, 96)).image
print(model.name, tuple(restored.shape))
