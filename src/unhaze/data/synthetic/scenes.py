"""Hazy pictures with everything known about them, made on the fly from clear ones.

A :class:`SceneBank` holds clear scenes in memory, each with true depth, ground-plane depth from class maps, or none.
:func:`synthesize` draws one hazy view of one scene. A sample is a function of the seed and its index alone, so neither
the number of workers nor a restart changes what a training sees.

Any folder of clear pictures will do, with folders in it to any depth. Where it has one of these folders, they alone
count: ``rgbd/*.color.jpg`` with ``*.depth.png`` [mm], ``camvid/images`` with ``camvid/labels``, and ``clear``, pictures
without depth.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from unhaze.data.synthetic._bank import (
    SKY_DEPTH,
    Scene,
    SceneBank,
    Split,
    fill_missing_depth,
    find_segments,
    find_sky,
    ground_plane_depth,
    scene_split,
)
from unhaze.data.synthetic._haze import (
    AIRLIGHT_GRID,
    apply_haze,
    draw_airlight,
    draw_optical_depth,
    enlarge_airlight,
    push_back_haze,
    random_depth,
    share_lost,
    smooth_noise,
    soften_depth,
)
from unhaze.data.synthetic._views import (
    degrade,
    dim_below,
    make_high_key,
    make_overcast,
    take_view,
    to_bytes,
    vary_scene,
)
from unhaze.physics.scattering import transmission_from_depth

if TYPE_CHECKING:
    from numpy.typing import NDArray

    FloatArray = NDArray[np.float32]
    ByteArray = NDArray[np.uint8]

__all__ = [
    "AIRLIGHT_GRID",
    "SKY_DEPTH",
    "Sample",
    "Scene",
    "SceneBank",
    "Split",
    "SynthesisConfig",
    "apply_haze",
    "degrade",
    "dim_below",
    "enlarge_airlight",
    "fill_missing_depth",
    "find_segments",
    "find_sky",
    "ground_plane_depth",
    "make_high_key",
    "make_overcast",
    "push_back_haze",
    "random_depth",
    "scene_split",
    "share_lost",
    "smooth_noise",
    "soften_depth",
    "synthesize",
    "take_view",
    "to_bytes",
    "vary_scene",
]


@dataclass(frozen=True, slots=True)
class SynthesisConfig:
    """What is drawn, and how often. Probabilities unless said otherwise; ranges are (low, high).

    Attributes:
        clear: No haze at all.
        high_key: How many of those are made bright, pale, or are the enlargement of a small part: what looks like haze
            and is none.
        plain: Even haze of one bright grey, as the common test sets have it.
        hazy_sky: The sky is of the colour of the haze and stays; times the share of the sky's light that is lost.
        repaint: Regions of the scene get other colours (rooms; a quarter as often elsewhere).
        relight: The scene is lit unevenly.
        linear_light: The scattering model is applied to linear light instead of to encoded values.
        agnostic: A scene with known depth is hazed by a random field all the same.
        room: A random field has the depth of an empty room as its base, not that of open ground.
        clear_front: The haze begins behind what is near.
        even: The optical depth is proportional to the depth; otherwise its spread is changed, as by a layer of haze.
        patchy: The density varies from place to place.
        optical_depth: Range of the mean optical depth of a view, drawn log-uniformly.
        uneven_airlight: The airlight differs across the picture.
        noise, blur, shrink, jpeg: The hazy picture suffers each.
        zoom: Range of the share of the scene that a view shows.
        weights: How often a scene comes from rgbd, camvid, clear, and rendered rooms where the bank has any.
    """

    clear: float = 0.1
    high_key: float = 0.2
    plain: float = 0.35
    hazy_sky: float = 0.25
    repaint: float = 0.2
    relight: float = 0.2
    linear_light: float = 0.25
    agnostic: float = 0.25
    room: float = 0.15
    clear_front: float = 0.1
    even: float = 0.6
    patchy: float = 0.2
    optical_depth: tuple[float, float] = (0.08, 2.2)
    uneven_airlight: float = 0.4
    noise: float = 0.4
    blur: float = 0.2
    shrink: float = 0.15
    jpeg: float = 0.6
    zoom: tuple[float, float] = (0.5, 1.0)
    weights: tuple[float, ...] = (0.27, 0.33, 0.4)


@dataclass(frozen=True, slots=True)
class Sample:
    """One hazy view and the truth about it. h x w is the size asked for.

    Attributes:
        hazy, clear: (h, w, 3) uint8 RGB, sRGB-encoded.
        transmission: (h, w) float32 in (0, 1].
        airlight: (AIRLIGHT_GRID, AIRLIGHT_GRID, 3) float32 RGB, sRGB-encoded, corners at the corners of the view.
        depth: (h, w) float32 [m], depth of the scene, whatever the haze follows; ``None`` where it is not known.
        in_srgb: Whether ``hazy`` follows the scattering model in encoded values, so that ``transmission`` inverts it.
    """

    hazy: ByteArray
    clear: ByteArray
    transmission: FloatArray
    airlight: FloatArray
    depth: FloatArray | None
    in_srgb: bool


def synthesize(bank: SceneBank, config: SynthesisConfig, seed: int, index: int, height: int, width: int) -> Sample:
    """Sample number ``index``: a view of a scene, hazed and degraded at random.

    Args:
        bank: Where scenes come from.
        config: What is drawn how often.
        seed: Seed of the whole series.
        index: Number of the sample, not negative.
        height: Rows of the view.
        width: Columns of the view.
    """
    rng = np.random.default_rng((seed, index))
    scene = bank.draw(rng, config.weights)
    is_clear, plain = bool(rng.random() < config.clear), bool(rng.random() < config.plain)
    high_key = is_clear and rng.random() < config.high_key
    view = take_view(scene, rng, (0.15, 0.7) if high_key else config.zoom, height, width)
    clear = vary_scene(view, rng, config, indoors=scene.group in ("rgbd", "rooms"))
    # bright grey
    light = (
        np.clip(rng.uniform(0.7, 1.0) + rng.normal(0, 0.008, 3), 0, 1).astype(np.float32)
        if plain
        else draw_airlight(rng)
    )
    clear = dim_below(clear, light, rng)
    grid = np.broadcast_to(light, (AIRLIGHT_GRID, AIRLIGHT_GRID, 3)).copy()
    if rng.random() < (0 if plain else config.uneven_airlight):
        across = np.linspace(-0.5, 0.5, AIRLIGHT_GRID)
        change = rng.normal(0, 0.07) * across[:, None] + rng.normal(0, 0.07) * across[None, :]
        grid *= (1 + change).astype(np.float32)[..., None]
    airlight = np.asarray(np.clip(grid, 0, 1), np.float32)
    if is_clear:
        clear = make_high_key(clear, rng) if high_key else clear
        transmission, in_srgb = np.ones((height, width), np.float32), True
        if view.sky is not None and rng.random() < 0.3:
            clear = make_overcast(clear, view.sky, airlight, rng)
    else:
        agnostic = view.depth is None or rng.random() < config.agnostic
        depth = random_depth(clear, view.segments, rng, config.room) if agnostic or view.depth is None else view.depth
        if not plain and rng.random() < config.clear_front:
            depth = push_back_haze(depth, rng)
        optical = draw_optical_depth(soften_depth(depth, rng, 1 if plain else config.even), rng, config, plain)
        if view.sky is not None and rng.random() < config.hazy_sky * share_lost(optical, view.sky):
            clear, optical = make_overcast(clear, view.sky, airlight, rng), optical * (1 - view.sky)
        transmission, in_srgb = transmission_from_depth(optical, 1.0), bool(rng.random() >= config.linear_light)
    hazy = apply_haze(clear, transmission, airlight, in_srgb)
    return Sample(degrade(hazy, rng, config), to_bytes(clear), transmission, airlight, view.depth, in_srgb)
