"""PIQE, one block at a time."""

import numpy as np

from .grey import mscn


def fixed_point_grey(pixels):
    red, green, blue = np.moveaxis(pixels.astype(np.int64), -1, 0)
    return (9798 * red + 19235 * green + 3735 * blue + 2**14) // 2**15


def deviation(values):
    return np.std(values, ddof=1)


def is_impaired(block):
    edges = (block[0], block[-1], block[:, 0], block[:, -1])
    return any(deviation(edge[start : start + 6]) < 0.1 for edge in edges for start in range(11))


def is_noisy(block):
    centre = block[:, [7, 8]]
    surround = np.delete(np.delete(block, 7, axis=1), 8, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = deviation(centre) / deviation(surround)
        ratio = 0 if np.isnan(ratio) else ratio
        beta = np.abs(deviation(block) - ratio) / np.maximum(deviation(block), ratio)
    return deviation(block) > 2 * beta


def piqe(pixels):
    grey = fixed_point_grey(pixels).astype(np.float64)
    grey = np.pad(grey, [(0, -side % 16) for side in grey.shape], mode="symmetric")
    stretched = np.floor(255 * (grey / max(grey.max(), 1)) + 0.5)
    coefficients = mscn(stretched)[2]
    active, distortion = 0, 0.0
    for top in range(0, grey.shape[0], 16):
        for side in range(0, grey.shape[1], 16):
            block = coefficients[top : top + 16, side : side + 16]
            variance = np.var(block, ddof=1)
            if variance > 0.1:
                active += 1
                distortion += is_impaired(block) * (1 - variance) + is_noisy(block) * variance
    return 100 * (distortion + 1) / (active + 1)
