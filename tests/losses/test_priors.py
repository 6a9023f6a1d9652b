"""Losses of priors against loops, and against the matting Laplacian."""

import numpy as np
import pytest
import torch
from scipy.ndimage import maximum_filter, minimum_filter

from unhaze.losses import bright_channel_loss, channel_extreme, dark_channel_energy, sky_loss


def pictures(batch=2, height=9, width=11, seed=0):
    generator = torch.Generator().manual_seed(seed)
    hazy = torch.rand(batch, 3, height, width, generator=generator, dtype=torch.float64)
    return hazy, torch.rand(batch, 1, height, width, generator=generator, dtype=torch.float64)


def dark_transmission(image, patch, share, omega):
    """(3, H, W) to (H, W), pixel by pixel."""
    dark = minimum_filter(image.min(0), patch, mode="nearest")
    count = max(1, int(share * dark.size))
    candidates = sorted(range(dark.size), key=lambda i: -dark.flat[i])[:count]
    colours = [image.reshape(3, -1)[:, i] for i in candidates]
    airlight = max(colours, key=max)
    return 1 - omega * minimum_filter((image / airlight[:, None, None]).min(0), patch, mode="nearest")


def laplacian(image, epsilon=1e-5):
    """Levin's matting Laplacian, dense, of a (3, H, W) picture."""
    _, height, width = image.shape
    matrix = np.zeros((height * width,) * 2)
    for top in range(height - 2):
        for left in range(width - 2):
            places = [(top + i) * width + left + j for i in range(3) for j in range(3)]
            window = image.reshape(3, -1)[:, places].T
            centred = window - window.mean(0)
            inverse = np.linalg.inv(centred.T @ centred / 9 + epsilon / 9 * np.eye(3))
            weights = (1 + centred @ inverse @ centred.T) / 9
            matrix[np.ix_(places, places)] += np.eye(9) - weights
    return matrix


@pytest.mark.parametrize("share", [0.001, 0.1])
def test_the_energy_of_the_paper_is_that_of_the_matting_laplacian(share):
    hazy, transmission = pictures()
    expected = 0.0
    for image, t in zip(hazy.numpy(), transmission[:, 0].numpy(), strict=True):
        prior = dark_transmission(image, 5, share, 0.95)
        expected += 2 * t.ravel() @ laplacian(image) @ t.ravel() + 0.01 * ((t - prior) ** 2).sum()
    windows = 7 * 9
    found = dark_channel_energy(hazy, transmission, patch=5, share=share, matting=True)
    assert float(found) == pytest.approx(expected / windows, rel=1e-8)


def test_the_energy_of_the_official_code():
    # its product of matrices sums over pairs of both factors: (81, N) times (N, 81), all entries added up
    hazy, transmission = pictures(batch=1)
    image, t = hazy[0].numpy(), transmission[0, 0].numpy()
    differences, weights = [], []
    for top in range(7):
        for left in range(9):
            window = image[:, top : top + 3, left : left + 3].reshape(3, 9).T
            centred = window - window.mean(0)
            inverse = np.linalg.inv(
                window.T @ window / 9 - np.outer(window.mean(0), window.mean(0)) + 1e-5 / 9 * np.eye(3)
            )
            weights.append(((centred @ inverse @ centred.T + 1) / 9).ravel())
            seen = t[top : top + 3, left : left + 3].ravel()
            differences.append(((seen[None] - seen[:, None]) ** 2).ravel())
    smoothness = (np.array(differences).T @ np.array(weights)).sum()
    prior = dark_transmission(image, 15, 0.001, 0.95)
    expected = (smoothness + 0.01 * ((t - prior) ** 2).sum()) / 63
    assert float(dark_channel_energy(hazy, transmission)) == pytest.approx(expected, rel=1e-8)


def test_the_bright_channel():
    hazy, transmission = pictures()
    total = 0.0
    for image, t in zip(hazy.numpy(), transmission[:, 0].numpy(), strict=True):
        bright = maximum_filter(image.max(0), 5, mode="nearest")
        darkest = np.argsort(bright.ravel(), kind="stable")[:2]
        # equally dark pixels share the value of one square, and any two of them may be taken
        assert len(np.unique(bright.ravel()[darkest])) <= 2
        airlight = image.reshape(3, -1)[:, darkest].mean(1)
        prior = 1 - 0.95 * maximum_filter(
            ((1 - image) / (1 - airlight + 1e-6)[:, None, None]).max(0), 5, mode="nearest"
        )
        error = np.abs(t - prior)
        total += np.where(error < 1, 0.5 * error**2, error - 0.5).mean() / 2
    found = bright_channel_loss(hazy, transmission, patch=5, share=2 / 99)
    assert float(found) == pytest.approx(total, rel=0.2)  # which of the equally dark pixels is taken is open
    single = bright_channel_loss(torch.full((1, 3, 8, 8), 0.4), torch.full((1, 1, 8, 8), 0.05))
    assert float(single) == pytest.approx(0, abs=1e-9)  # (1 - .4) / (1 - .4) = 1, so the prior is .05


def test_only_skies_are_kept():
    hazy = torch.full((1, 3, 40, 40), 0.9)
    hazy[..., 20:, :] = 0.3
    image = torch.zeros(1, 3, 40, 40)
    before = image.clone()
    before[..., 30:, :] = 1  # far from the sky
    assert sky_loss(hazy, image, before) == 0
    before[..., :10, :] = 1
    assert sky_loss(hazy, image, before) == pytest.approx(0.5 * 10 / 13)  # the square of 15 px takes 7 rows
    assert sky_loss(hazy * 0.5, image, before) == 0


def test_extremes_of_channels():
    hazy, _ = pictures()
    for bright, reduce, filtered in ((False, "min", minimum_filter), (True, "max", maximum_filter)):
        expected = [filtered(getattr(image, reduce)(0), 5, mode="nearest") for image in hazy.numpy()]
        np.testing.assert_allclose(channel_extreme(hazy, 5, bright=bright)[:, 0].numpy(), expected)


def test_gradients_reach_the_transmission_alone():
    hazy, transmission = pictures()
    hazy.requires_grad_()
    transmission.requires_grad_()
    (dark_channel_energy(hazy, transmission) + bright_channel_loss(hazy, transmission)).backward()
    assert transmission.grad.abs().sum() > 0
    assert hazy.grad is None
