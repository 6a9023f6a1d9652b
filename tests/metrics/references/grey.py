"""Grey and local contrast as NIQE, PIQE and FADE need them."""

import numpy as np
from scipy import ndimage


def matlab_grey(pixels):
    weights = np.linalg.inv([[1.0, 0.956, 0.621], [1.0, -0.272, -0.647], [1.0, -1.106, 1.703]])[0]
    return np.floor(pixels.astype(np.float64) @ weights + 0.5)


def gaussian_window():
    y, x = np.mgrid[-3:4, -3:4]
    window = np.exp(-(x**2 + y**2) / (2 * (7 / 6) ** 2))
    return window / window.sum()


def mscn(grey, snap=1e-8):
    window = gaussian_window()
    mean = ndimage.correlate(grey, window, mode="nearest")
    deviation = np.sqrt(np.abs(ndimage.correlate(grey**2, window, mode="nearest") - mean**2))
    normalised = (grey - mean) / (deviation + 1)
    normalised[np.abs(normalised) < snap] = 0
    return mean, deviation, normalised
