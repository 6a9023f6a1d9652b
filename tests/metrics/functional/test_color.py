import numpy as np
import torch
from skimage.color import rgb2lab

from unhaze.metrics.functional._color import RGB_TO_XYZ, code_values, rgb_to_lab


def test_matrix_follows_from_the_primaries():
    # x, y of the sRGB primaries and of D65, IEC 61966-2-1
    primaries = np.array([[0.64, 0.33, 0.03], [0.30, 0.60, 0.10], [0.15, 0.06, 0.79]]).T
    white = np.array([0.3127, 0.3290, 0.3583]) / 0.3290
    matrix = primaries * np.linalg.solve(primaries, white)
    np.testing.assert_allclose(np.array(RGB_TO_XYZ), matrix, atol=1e-3)


def test_lab_of_scikit_image():
    pixels = np.random.default_rng(0).uniform(size=(40, 50, 3))
    result = rgb_to_lab(torch.from_numpy(pixels).permute(2, 0, 1)[None])[0].permute(1, 2, 0)
    np.testing.assert_allclose(result, rgb2lab(pixels), atol=2e-2)


def test_greys_are_neutral():
    greys = torch.linspace(0, 1, 50, dtype=torch.float64).expand(1, 3, 1, -1)
    lab = rgb_to_lab(greys)
    assert lab[:, 1:].abs().max() < 1e-10
    assert (lab[0, 0].diff() > 0).all()


def test_codes_round_halves_up_and_survive_float32():
    assert code_values(torch.tensor([0.5 / 255, 1.5 / 255, 1.0, 0.0], dtype=torch.float64)).tolist() == [1, 2, 255, 0]
    codes = torch.arange(256)
    assert torch.equal(code_values((codes / 255).float().double()), codes.double())
