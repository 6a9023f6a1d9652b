"""Figures of the page on how haze works, drawn when the site is built, from a scene that is computed here.

The scene is made of numbers, so everything about it is known: the clear picture, the distance of every pixel, and the
haze. What unhaze finds can be laid beside the truth.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from unhaze import physics

FOLDER = "guides/figures"
PHOTOGRAPH = Path(__file__).parents[2] / "docs" / "images" / "aitzgorri.jpg"
HEIGHT, WIDTH = 240, 360
BETA = 0.012  # [1/m]
AIRLIGHT = np.float32([0.80, 0.84, 0.88])
PATCH = 7  # pixels; small as the scene is


class Scene(NamedTuple):
    """A clear picture (H, W, 3) in [0, 1], its depth [m] (H, W), its transmission (H, W) and the hazy picture."""

    clear: Any
    depth: Any
    transmission: Any
    hazy: Any


@cache
def scene() -> Scene:
    """Meadow, trees, five ridges of hills and a sky."""
    rng = np.random.default_rng(3)
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32) / HEIGHT
    clear = np.float32([0.42, 0.62, 0.90]) + (0.30 * y)[..., None] * np.float32([0.9, 0.7, 0.2])
    depth = np.full((HEIGHT, WIDTH), 1500, np.float32)
    grain = rng.normal(0, 1, (HEIGHT, WIDTH)).astype(np.float32)
    grain += 1.5 * physics.box_mean(rng.normal(0, 3, (HEIGHT, WIDTH)).astype(np.float32), 2)
    ridges = ((280, 0.30, (0.30, 0.42, 0.34)), (190, 0.37, (0.24, 0.40, 0.22)), (120, 0.45, (0.34, 0.36, 0.14)))
    ridges += ((75, 0.54, (0.16, 0.34, 0.12)), (45, 0.63, (0.42, 0.30, 0.14)))
    for number, (away, top, colour) in enumerate(ridges):
        swing = sum(np.sin(x * rate * (number + 2) + rng.uniform(0, 6)) / rate for rate in (1.7, 3.1, 6.3))
        below = y > top + 0.05 * swing
        shade = 1 + 0.16 * grain + 0.25 * np.sin(9 * x + 4 * number)
        clear[below] = (np.float32(colour) * shade[..., None])[below]
        depth[below] = away
    ground = y > 0.74
    depth[ground] = np.minimum(42, 1.5 / np.maximum(y - 0.70, 1e-3))[ground]
    clear[ground] = (np.float32([0.30, 0.44, 0.12]) * (1 + 0.2 * grain + 0.3 * np.sin(60 * y))[..., None])[ground]
    for place, away, high in ((0.22, 14, 0.42), (0.62, 24, 0.26), (1.28, 10, 0.55), (1.02, 30, 0.2)):
        foot = 0.70 + 1.5 / away
        crown = ((x - place) / (0.32 * high)) ** 2 + ((y - foot + 0.68 * high) / (0.40 * high)) ** 2 < 1 + 0.12 * grain
        trunk = (np.abs(x - place) < 0.03 * high) & (y < foot) & (y > foot - 0.5 * high)
        for part, colour in ((trunk, (0.26, 0.17, 0.09)), (crown, (0.13, 0.30, 0.07))):
            clear[part] = (np.float32(colour) * (1 + 0.35 * grain)[..., None])[part]
            depth[part] = away
    clear = np.clip(clear, 0, 1).astype(np.float32)
    hazy, transmission = physics.synthesize_haze(clear, depth, beta=BETA, airlight=AIRLIGHT)
    hazy = hazy + rng.normal(0, 0.003, hazy.shape).astype(np.float32)  # a camera is never without noise
    return Scene(clear, depth, transmission, np.clip(hazy, 0, 1))


def estimated() -> tuple[Any, Any, Any, Any]:
    """The dark channel (H, W), the airlight (3,), and the transmission (H, W) before and after the guided filter."""
    hazy = scene().hazy
    dark = physics.dark_channel(hazy, PATCH)
    airlight = physics.brightest_dark_pixels(hazy, dark)
    raw = physics.dark_channel_transmission(hazy, airlight, PATCH)
    return dark, airlight, raw, physics.guided_filter(physics.luminance(hazy), raw, radius=20, eps=1e-3)


def model() -> bytes:
    """Clear picture, distance, transmission, hazy picture."""
    made = scene()
    return _panels(
        ("the scene J", made.clear, None),
        ("its distance d, up to 300 m", np.minimum(made.depth, 300), "viridis"),
        ("what comes through, t = exp(-beta d)", made.transmission, "gray"),
        ("what the camera sees, I", made.hazy, None),
    )


def visibility() -> bytes:
    """Transmission over distance for haze of different density."""
    figure, (axes,) = _figure(1, 1, (6.4, 3.2))
    away = np.linspace(0, 1000, 400)
    for beta, name in ((0.002, "haze, 2 km"), (0.004, "mist, 1 km"), (0.01, "light fog, 390 m"), (0.04, "fog, 98 m")):
        axes.plot(away, physics.transmission_from_depth(away, beta), label=f"beta = {beta} / m ({name})")
    axes.axhline(0.02, color="gray", linewidth=0.8, linestyle="--")
    axes.annotate("2 %: no longer visible", (560, 0.035), color="gray", fontsize=8)
    axes.set(xlabel="distance d [m]", ylabel="transmission t", ylim=(0, 1), xlim=(0, 1000))
    axes.legend(frameon=False)
    return _stored(figure, "svg")


def dark_channel() -> bytes:
    """The dark channel of the clear and of the hazy picture."""
    made = scene()
    return _panels(
        ("clear", made.clear, None),
        ("its dark channel: black, but for the sky", physics.dark_channel(made.clear, PATCH), "gray"),
        ("hazy", made.hazy, None),
        ("its dark channel: as bright as haze is deep", physics.dark_channel(made.hazy, PATCH), "gray"),
    )


def airlight() -> bytes:
    """Where the airlight is read, and the colour found beside the true one."""
    made, (dark, found, *_) = scene(), estimated()
    marked = made.hazy.copy()
    marked[dark >= np.quantile(dark, 0.999)] = (1, 0.1, 0.1)
    swatches = np.concatenate([np.broadcast_to(colour, (60, 90, 3)) for colour in (AIRLIGHT, found)], 1)
    return _panels(("red: where the dark channel is brightest", marked, None), ("true and found", swatches, None))


def transmission() -> bytes:
    """The transmission as it is, as the dark channel gives it, and with the edges of the picture."""
    _, _, raw, smooth = estimated()
    return _panels(
        ("true", scene().transmission, "gray"),
        ("dark channel", raw, "gray"),
        ("after the guided filter", smooth, "gray"),
    )


def restored() -> bytes:
    """The model inverted: with the truth, with the dark channel, and by the default of unhaze."""
    import unhaze

    made, (_, found, _, smooth) = scene(), estimated()
    known = physics.remove_haze(made.hazy, made.transmission[..., None], AIRLIGHT, minimum=0.05)
    by_prior = physics.remove_haze(made.hazy, smooth[..., None], found, minimum=0.1)
    by_default = unhaze.dehaze((made.hazy * 255).round().astype(np.uint8)) / np.float32(255)
    return _panels(
        ("hazy", made.hazy, None),
        ("t and A known", known, None),
        ("dark channel prior", by_prior, None),
        ("unhaze run", by_default, None),
    )


def noise() -> bytes:
    """Why t is never let below a limit: what is divided by it, noise too, grows."""
    made = scene()
    taken = made.hazy + np.random.default_rng(0).normal(0, 0.01, made.hazy.shape).astype(np.float32)
    limits = (0.02, 0.1, 0.25)
    through = made.transmission[..., None]
    pictures = [physics.remove_haze(taken, through, AIRLIGHT, minimum=limit) for limit in limits]
    return _panels(
        *((f"t no less than {limit}", picture, None) for limit, picture in zip(limits, pictures, strict=True))
    )


def maps() -> bytes:
    """The photograph of the front page: transmission and depth that unhaze finds, half and all of the haze removed."""
    from PIL import Image

    import unhaze

    with unhaze.Dehazer() as dehazer:
        found = dehazer(_photograph())
    with unhaze.Dehazer(strength=0.5) as dehazer:
        half = dehazer(_photograph()).image
    through = Image.fromarray((255 * found.transmission).astype(np.uint8)).convert("RGB")
    near = found.depth.map / found.depth.map.max()
    distance = Image.fromarray((255 * near).astype(np.uint8)).convert("RGB")
    return _grid([through, distance, half, found.image])


def strength() -> bytes:
    """The photograph with 0, 40, 70 and 100 % of the haze removed."""
    import unhaze

    return _grid([unhaze.dehaze(_photograph(), strength=each) for each in (0.0, 0.4, 0.7, 1.0)])


FIGURES: dict[str, Callable[[], bytes]] = {
    "model.png": model,
    "visibility.svg": visibility,
    "dark-channel.png": dark_channel,
    "airlight.png": airlight,
    "transmission.png": transmission,
    "restored.png": restored,
    "noise.png": noise,
    "maps.jpg": maps,
    "strength.jpg": strength,
}
"""File name -> function that draws it and returns the bytes of the file."""


def _panels(*shown: tuple[str, Any, str | None]) -> bytes:
    """Pictures (H, W, 3) or maps (H, W), two in a row, or three of three, each under its title."""
    columns = 3 if len(shown) == 3 else 2
    rows = -(-len(shown) // columns)
    figure, places = _figure(rows, columns, (7.6, rows * (2.0 if columns == 3 else 2.9)))
    for axes, (title, picture, colours) in zip(places, shown, strict=True):
        values = np.clip(picture, 0, 1) if colours is None or colours == "gray" else picture
        axes.imshow(values, cmap=colours, vmin=0 if colours == "gray" else None, vmax=1 if colours == "gray" else None)
        axes.set_title(title, fontsize=9)
        axes.axis("off")
    return _stored(figure, "png")


def _photograph() -> Any:
    """The photograph of the README, small."""
    from PIL import Image

    with Image.open(PHOTOGRAPH) as file:
        return file.convert("RGB").resize((560, 373))


def _grid(pictures: list[Any]) -> bytes:
    """Four PIL images of one size, two in a row, as a JPEG."""
    from PIL import Image

    width, height = pictures[0].size
    sheet = Image.new("RGB", (2 * width + 8, 2 * height + 8), "white")
    for number, picture in enumerate(pictures):
        sheet.paste(picture, ((number % 2) * (width + 8), (number // 2) * (height + 8)))
    file = io.BytesIO()
    sheet.save(file, "JPEG", quality=88)
    return file.getvalue()


def _figure(rows: int, columns: int, size: tuple[float, float]) -> tuple[Any, list[Any]]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    return figure, list(np.ravel(figure.subplots(rows, columns, squeeze=False)))


def _stored(figure: Any, format: str) -> bytes:
    """The same bytes for the same figure: no dates, no random names."""
    import matplotlib

    file = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "unhaze", "svg.fonttype": "none"}):
        metadata = {"Date": None} if format == "svg" else {"Software": None}
        figure.savefig(file, format=format, dpi=110, metadata=metadata)
    return file.getvalue()
