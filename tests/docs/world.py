"""The folder in which the commands of the documentation are run: every file that a page names, small."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
from PIL import Image

HAS_FFMPEG = shutil.which("ffmpeg") is not None
_LARGE = (288, 272)  # least sides for NIQE, with some room


def make_world(root: Path) -> None:
    """Fill a folder with pictures, data sets, a video and weights."""
    root.mkdir(parents=True)
    for number, name in enumerate(
        ["photo.jpg", "my.jpg", "town.jpg", "hazy.jpg", "holiday/beach.jpg", "holiday/hills/view.png", "photos/a.jpg"]
        + ["photos/b.jpg", "photos/trip/c.tif", "incoming/new.jpg", "one/a.jpg", "two/a.jpg", "room.png"]
        + [f"pictures/{index}.jpg" for index in range(6)]
        + ["pictures/more/7.png", "mine/foggy/1-2.png", "mine/sharp/1.png"]
    ):
        save(root / name, scene(number))
    for name in ("scan.tif", "photos/deep.tif"):
        write_16_bit(root / name)
    depth = np.linspace(6000, 800, 64 * 96).reshape(64, 96).astype(np.uint16)
    Image.fromarray(depth).save(root / "room-depth.png")
    for number, name in enumerate(["a.png", "b.png", "restored.png", "target.png", "hazy.png"]):
        save(root / name, scene(number // 3, _LARGE, haze=0.1 * number))
    for number in range(2):
        clear = scene(number, _LARGE)
        save(root / f"gt/{number}.png", clear)
        for folder, haze in (("hazy", 0.5), ("results", 0.1), ("results-1", 0.1), ("results-2", 0.2)):
            save(root / folder / f"{number}.png", scene(number, _LARGE, haze))
        save(root / f"real/{number}.jpg", scene(number, _LARGE, 0.5))
    make_data_sets(root)
    make_video(root / "in.mp4")
    (root / "films").mkdir()
    shutil.copy(root / "in.mp4", root / "films/flight.mp4")
    for number in range(1, 4):
        save(root / f"frame_{number:05d}.png", scene(0, (64, 48), 0.4))
        save(root / f"frames/{number:04d}.png", scene(0, (64, 48), 0.4))


def make_data_sets(root: Path) -> None:
    """SOTS-indoor at its own size, a little of RESIDE and of Haze4K."""
    for folder in (root / "SOTS/indoor", root / "data/RESIDE/SOTS/indoor"):
        save(folder / "hazy/1400_1.png", scene(1, (640, 480), 0.4)[10:-10, 10:-10])
        save(folder / "gt/1400.png", scene(1, (640, 480)))
    for number in range(1, 4):
        save(root / f"data/RESIDE/ITS/train/hazy/{number}_1_0.9.png", scene(number, haze=0.4))
        save(root / f"data/RESIDE/ITS/train/clear/{number}.png", scene(number))
        save(root / f"data/Haze4K/test/haze/{number}_0.7_0.9.png", scene(number, haze=0.4))
        save(root / f"data/Haze4K/test/gt/{number}.png", scene(number))


def make_video(path: Path) -> None:
    """Half a second of picture and sound."""
    import av

    with av.open(str(path), "w") as container:
        picture = container.add_stream("libx264", rate=8)
        picture.width, picture.height, picture.pix_fmt = 64, 48, "yuv420p"
        sound = container.add_stream("aac", rate=8000)
        for number in range(4):
            container.mux(picture.encode(av.VideoFrame.from_ndarray(scene(number, (64, 48)))))
        wave = np.sin(np.arange(4000) / 9).astype(np.float32)[None].repeat(2, axis=0)
        tone = av.AudioFrame.from_ndarray(wave, format="fltp", layout="stereo")
        tone.sample_rate = 8000
        container.mux(sound.encode(tone))
        for stream in (picture, sound):
            container.mux(stream.encode(None))


def make_weights(root: Path) -> None:
    """Checkpoints as the official code and a training leave them; their numbers are random."""
    import torch

    from unhaze.models.guided import create_model, save_model
    from unhaze.models.networks import create_network

    torch.manual_seed(0)
    state = {f"e_{key}": tensor for key, tensor in create_network("aodnet-base").state_dict().items()}
    for name in ("dehazer.pth", "official.pth"):
        torch.save(state, root / name)
    save_model(create_model("dehazeformer-t+hgdf", "compact"), root / "hgdf.safetensors")


def scene(number: int, size: tuple[int, int] = (96, 64), haze: float = 0.3) -> np.ndarray:
    """(H, W, 3) uint8: hills of several colours under haze that grows upwards; ``size`` is width and height."""
    rng = np.random.default_rng(number)
    width, height = size
    y, x = np.mgrid[0:height, 0:width] / np.float32(64)
    waves = sum(np.sin(x * rng.uniform(1, 9) + y * rng.uniform(1, 9) + phase) for phase in range(4))
    colours = 0.4 + 0.12 * waves[..., None] * rng.uniform(0.3, 1, 3) + rng.normal(0, 0.04, (height, width, 3))
    through = 1 - haze * np.linspace(1, 0.3, height)[:, None, None]
    return (np.clip(colours * through + 0.85 * (1 - through), 0, 1) * 255).astype(np.uint8)


def save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def write_16_bit(path: Path) -> None:
    from unhaze.images.files import Picture, write_image

    write_image(Picture(scene(3).astype(np.uint16) * 257, None, "tiff"), path)
