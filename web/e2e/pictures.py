"""Pictures for the tests of the page: python pictures.py FOLDER."""

import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms

folder = Path(sys.argv[1])
rng = np.random.default_rng(7)


def hazy(height: int, width: int, depth: float) -> np.ndarray:
    """Blocks behind haze that grows towards the top."""
    blocks = rng.uniform(0, 0.6, (height // 20 + 1, width // 20 + 1, 3)).repeat(20, 0).repeat(20, 1)[:height, :width]
    through = np.exp(-depth * np.linspace(1.6, 0.3, height))[:, None, None]
    return np.round((blocks * through + 0.85 * (1 - through)) * 255).astype(np.uint8)


profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
exif = Image.Exif()
exif[0x010F] = "Maker of cameras"
exif[0x0112] = 6  # to be turned
Image.fromarray(hazy(240, 360, 1.0)).save(
    folder / "photo.jpg", quality=90, exif=exif, icc_profile=profile, dpi=(300, 300)
)
Image.fromarray(hazy(200, 300, 0.8)).save(folder / "second.png", exif=exif, icc_profile=profile)
Image.fromarray(hazy(1080, 1920, 1.0)).save(folder / "large.jpg", quality=92)
Image.fromarray(hazy(160, 240, 1.0)).save(folder / "deep.tif")
(folder / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 this is no picture")
for index in range(3):
    Image.fromarray(hazy(300, 400, 1.0)).save(folder / f"series-{index}.jpg")
