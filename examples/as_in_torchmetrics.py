"""Metrics as objects that gather batches, as in torchmetrics."""

import torch

import unhaze

psnr, fade = unhaze.metrics.PSNR(), unhaze.metrics.FADE()
for _ in range(2):
    preds, target = torch.rand(4, 3, 64, 96), torch.rand(4, 3, 64, 96)
    print("this batch:", round(psnr(preds, target), 2), "dB")
    fade.update(preds)
print("all batches:", round(psnr.compute(), 2), "dB, FADE", round(fade.compute(), 2))
