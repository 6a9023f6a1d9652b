"""Tiny data sets as they lie on disk, built for one test."""

from __future__ import annotations

import cv2
import numpy as np

SIZE = (24, 32)


def picture(seed, size=SIZE):
    """A picture (H, W, 3) uint8 RGB that no other seed gives."""
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


def write(path, pixels):
    """Write RGB pixels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels[..., ::-1])


def build(root, pairs, size=SIZE):
    """Write pairs of names; returns them. Each file's pixels follow from its name."""
    for names in pairs:
        for name in names:
            write(root / name, picture(list(name.encode()), size))
    return pairs


def pixels_of(name, size=SIZE):
    """What :func:`build` wrote into a file."""
    return picture(list(name.encode()), size)


# (data set, split, pairs of hazy and clear file below the root); published layouts first, then packings in use
LAYOUTS = [
    ("reside-its", "train", [("hazy/1_1_0.90179.png", "clear/1.png"), ("hazy/1_2_0.97842.png", "clear/1.png")]),
    ("reside-its", "train", [("ITS/train/ITS_haze/7_3_0.8.png", "ITS/train/ITS_clear/7.png")]),
    ("reside-its", "train", [("RESIDE-IN/train/hazy/1_1_0.9.png", "RESIDE-IN/train/GT/1_1_0.9.png")]),
    ("reside-its", "train", [("train/hazy/3_1_0.9.png", "train/gt/3.png")]),
    ("reside-its", "validation", [("ITS/val/haze/1300_1_0.9.png", "ITS/val/clear/1300.png")]),
    ("reside-ots", "train", [("hazy/0001_0.8_0.2.bmp", "clear/0001.bmp"), ("hazy/0001_1_0.04.bmp", "clear/0001.bmp")]),
    ("reside-ots", "train", [("OTS_ALPHA/OTS/0025_0.8_0.1.bmp", "OTS_ALPHA/clear_images/0025.bmp")]),
    ("reside-ots", "train", [("hazy/part1/0005_0.8_0.2.bmp", "clear/0005.bmp")]),
    ("sots-indoor", "test", [("SOTS/indoor/hazy/1400_1.png", "SOTS/indoor/gt/1400.png")]),
    ("sots-indoor", "test", [("nyuhaze500/hazy/1400_10.png", "nyuhaze500/gt/1400.png")]),
    ("sots-indoor", "test", [("hazy/00001.png", "GT/00001.png")]),
    ("sots-outdoor", "test", [("outdoor/hazy/0001_0.8_0.2.bmp", "outdoor/gt/0001.png")]),
    ("reside-6k", "train", [("train/hazy/1_1_0.90179.png", "train/GT/1_1_0.90179.png")]),
    ("reside-6k", "test", [("RESIDE-6K/test/hazy/0003_0.8_0.2.png", "RESIDE-6K/test/GT/0003_0.8_0.2.png")]),
    ("rw2ah", "train", [("train/input/1-0001-03.png", "train/gt/1-0001-03.png")]),
    ("rw2ah", "test", [("RW2AH/test/hazy/2.png", "RW2AH/test/clear/2.png")]),
    ("haze4k", "train", [("train/haze/1_0.68_0.66.png", "train/gt/1.png")]),
    ("haze4k", "test", [("Haze4K/test/hazy/1_0.89_1.56.png", "Haze4K/test/clear/1.png")]),
    ("haze4k", "train", [("Haze4K-T/IN/12.png", "Haze4K-T/GT/12.png")]),
    ("o-haze", "all", [("# O-HAZY NTIRE 2018/hazy/01_outdoor_hazy.bmp", "# O-HAZY NTIRE 2018/GT/01_outdoor_GT.bmp")]),
    ("o-haze", "train", [("O-HAZE/Train/Haze/01_outdoor_hazy.bmp", "O-HAZE/Train/GT/01_outdoor_GT.bmp")]),
    ("o-haze", "test", [("Test/Haze/41_outdoor_haze.bmp", "Test/GT/41_outdoor_GT.bmp")]),
    ("i-haze", "all", [("# I-HAZY NTIRE 2018/hazy/02_indoor_hazy.bmp", "# I-HAZY NTIRE 2018/GT/02_indoor_GT.bmp")]),
    ("dense-haze", "all", [("hazy/01_hazy.png", "GT/01_GT.png")]),
    ("nh-haze", "all", [("NH-HAZE/01_hazy.png", "NH-HAZE/01_GT.png"), ("NH-HAZE/02_hazy.png", "NH-HAZE/02_GT.png")]),
    (
        "bedde",
        "test",
        [
            ("BeDDE/beijing/fog/beijing_1.png", "BeDDE/beijing/gt/beijing_clear.png"),
            ("BeDDE/beijing/fog/beijing_2.png", "BeDDE/beijing/gt/beijing_clear.png"),
            ("BeDDE/wuhan/fog/wuhan_1.png", "BeDDE/wuhan/gt/wuhan_clear.png"),
        ],
    ),
    ("bedde", "test", [("wuhan/fog/wuhan_7.png", "wuhan/gt/wuhan_clear.png")]),
    ("nh-haze", "test", [("test/hazy/51.png", "test/clean/51.png")]),
    ("did-data", "train", [("train/DID-Data/input/1.png", "train/DID-Data/target/1.png")]),
    ("did-data", "test", [("test/rain/7.png", "test/norain/7.png")]),
    (
        "spa-data",
        "train",
        [("real_world/009/3-1.png", "real_world_gt/009/3.png"), ("real_world/010/3-1.png", "real_world_gt/010/3.png")],
    ),
    ("spa-data", "test", [("test/small/rain/rain-001.png", "test/small/norain/norain-001.png")]),
    ("spa-data", "test", [("real_test_1000/rain/1.png", "real_test_1000/gt/1.png")]),
    ("photographs", "all", [("fog.png", "fog.png"), ("sub/smoke.png", "sub/smoke.png")]),
    ("folders", "all", [("Hazy/a.png", "Clean/a.png"), ("Hazy/sub/b.png", "Clean/sub/b.png")]),
]
