"""FADE, one patch at a time, with the 12 x 12 covariance of every patch written out and solved."""

import warnings
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from .grey import matlab_grey, mscn


@dataclass
class Fade:
    value: float
    map: np.ndarray
    dropped: float


def contrast_energy(plane, noise):
    sigma = 3.25
    x = np.arange(-9.75, 9.26, 1)
    gaussian = np.exp(-(x**2) / (2 * sigma**2))
    gaussian /= gaussian.sum()
    taps = (x**2 / sigma**4 - 1 / sigma**2) * gaussian
    taps -= taps.mean()
    taps /= np.sum(0.5 * x**2 * taps)
    bordered = np.concatenate((plane[:10], plane, plane[-10:]))
    bordered = np.concatenate((bordered[:, :10], bordered, bordered[:, -10:]), axis=1)
    across, down = (ndimage.convolve1d(bordered, taps, axis=axis, mode="constant") for axis in (1, 0))
    response = np.sqrt(across**2 + down**2)[10:-10, 10:-10]
    peak = response.max()
    with np.errstate(invalid="ignore"):
        energy = response * peak / (response + 0.1 * peak) - noise
    return np.where(energy > 1e-7, energy, 0)


def patch_features(planes, window):
    part = {name: plane[window] for name, plane in planes.items()}
    if part["flat"].all():
        return np.full(12, np.nan)
    pairs = part["pairs"]
    counts = np.unique(part["grey"], return_counts=True)[1] / 64
    with np.errstate(invalid="ignore", divide="ignore"):
        relative = (part["deviation"] / part["mean"]).mean()
    return np.array(
        [
            part["mscn"].var(ddof=1),
            sample_variance(pairs[pairs >= 0]),
            sample_variance(pairs[pairs <= 0]),
            part["deviation"].mean(),
            relative,
            part["energy_grey"].mean(),
            part["energy_by"].mean(),
            part["energy_rg"].mean(),
            -np.sum(counts * np.log2(counts)),
            part["dark"].mean(),
            part["saturation"].mean(),
            np.hypot(part["rg"].std(ddof=1), part["by"].std(ddof=1))
            + 0.3 * np.hypot(part["rg"].mean(), part["by"].mean()),
        ]
    )


def sample_variance(values):
    if values.size == 0:
        return np.nan
    return 0.0 if values.size == 1 else values.var(ddof=1)


def distance(features, mean, covariance):
    spread = sample_variance(features[~np.isnan(features)])
    offset = mean - features
    if np.isnan(offset).any():
        return np.nan
    return np.sqrt(offset @ np.linalg.inv((covariance + spread * np.ones((12, 12))) / 2) @ offset)


def fade(pixels, parameters):
    rows, columns = pixels.shape[0] // 8, pixels.shape[1] // 8
    pixels = pixels[: rows * 8, : columns * 8].astype(np.float64)
    red, green, blue = pixels[..., 0], pixels[..., 1], pixels[..., 2]
    grey = matlab_grey(pixels)
    mean, deviation, normalised = mscn(grey)
    flat = ndimage.maximum_filter(grey, 7, mode="nearest") == ndimage.minimum_filter(grey, 7, mode="nearest")
    deviation[flat] = 0
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    by, rg = 0.5 * (red + green) - blue, red - green
    largest, smallest = pixels.max(axis=-1), pixels.min(axis=-1)
    planes = {
        "grey": grey,
        "mean": mean,
        "deviation": deviation,
        "mscn": normalised,
        "pairs": normalised * np.roll(normalised, 1, axis=0),
        "flat": flat,
        "energy_grey": contrast_energy(luma, 9.225496406318721e-4 * 255),
        "energy_by": contrast_energy(by, 8.969246659629488e-4 * 255),
        "energy_rg": contrast_energy(rg, 2.069284034165411e-4 * 255),
        "dark": smallest / 255,
        "saturation": np.divide(largest - smallest, largest, out=np.zeros_like(largest), where=largest > 0),
        "rg": rg,
        "by": by,
    }
    to_fog_free, to_foggy = np.empty((rows, columns)), np.empty((rows, columns))
    for row in range(rows):
        for column in range(columns):
            window = np.s_[row * 8 : row * 8 + 8, column * 8 : column * 8 + 8]
            features = np.log(1 + patch_features(planes, window))
            for result, model in ((to_fog_free, "fog_free"), (to_foggy, "foggy")):
                covariance = parameters[f"{model}_covariance"]
                result[row, column] = distance(features, parameters[f"{model}_mean"], covariance)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        value = np.nanmean(to_fog_free) / (np.nanmean(to_foggy) + 1)
    return Fade(value, to_fog_free / (to_foggy + 1), np.isnan(to_fog_free).mean())
