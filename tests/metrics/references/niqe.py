"""NIQE, one block at a time, with the whole shape table searched, MATLAB's imresize in full, and a pseudo-inverse."""

import numpy as np
from scipy.special import gamma

from .grey import matlab_grey, mscn

SHAPES = np.arange(0.2, 10.0005, 0.001)
MOMENTS = gamma(2 / SHAPES) ** 2 / (gamma(1 / SHAPES) * gamma(3 / SHAPES))


def cubic(x):
    x = np.abs(x)
    inner = 1.5 * x**3 - 2.5 * x**2 + 1
    outer = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return np.where(x <= 1, inner, np.where(x < 2, outer, 0))


def resize_rows(image, scale):
    length = image.shape[0]
    result = np.empty((int(np.ceil(length * scale)), *image.shape[1:]))
    taps = int(np.ceil(4 / scale)) + 2
    for row in range(len(result)):
        centre = (row + 1) / scale + 0.5 * (1 - 1 / scale)  # counted from 1
        index = np.floor(centre - 2 / scale) + np.arange(taps)
        weights = scale * cubic(scale * (centre - index))
        folded = np.concatenate((np.arange(length), np.arange(length)[::-1]))[(index.astype(int) - 1) % (2 * length)]
        result[row] = np.tensordot(weights / weights.sum(), image[folded], axes=1)
    return result


def imresize(image, scale):
    return resize_rows(resize_rows(image, scale).T, scale).T


def fit(values):
    values = values.ravel()
    left, right = values[values < 0], values[values > 0]
    sigma_left = np.sqrt(np.mean(left**2)) if left.size else np.nan
    sigma_right = np.sqrt(np.mean(right**2)) if right.size else np.nan
    ratio = sigma_left / sigma_right
    with np.errstate(invalid="ignore"):
        moment = np.mean(np.abs(values)) ** 2 / np.mean(values**2)
    moment *= (ratio**3 + 1) * (ratio + 1) / (ratio**2 + 1) ** 2
    shape = SHAPES[np.argmin((MOMENTS - moment) ** 2)]
    scale = np.sqrt(gamma(1 / shape) / gamma(3 / shape))
    return shape, sigma_left * scale, sigma_right * scale


def block_features(block):
    shape, left, right = fit(block)
    features = [shape, (left + right) / 2]
    for shift in ((0, 1), (1, 0), (1, 1), (1, -1)):
        shape, left, right = fit(block * np.roll(block, shift, axis=(0, 1)))
        features += [shape, (right - left) * gamma(2 / shape) / gamma(1 / shape), left, right]
    return features


def niqe(pixels, parameters):
    grey = matlab_grey(pixels)
    rows, columns = grey.shape[0] // 96, grey.shape[1] // 96
    grey = grey[: rows * 96, : columns * 96]
    features = np.empty((rows * columns, 36))
    for scale, size in ((0, 96), (1, 48)):
        coefficients = mscn(grey)[2]
        for i in range(rows * columns):
            top, side = i // columns * size, i % columns * size
            features[i, scale * 18 : scale * 18 + 18] = block_features(
                coefficients[top : top + size, side : side + size]
            )
        grey = imresize(grey, 0.5)
    offset = parameters["mean"] - np.nanmean(features, axis=0)
    usable = features[~np.isnan(features).any(axis=1)]
    pooled = (np.cov(usable, rowvar=False) + parameters["covariance"]) / 2
    return np.sqrt(offset @ np.linalg.pinv(pooled) @ offset), 1 - len(usable) / len(features)
