"""Hazy views with everything known about them, as the default is trained on.

:func:`synthesize` draws one view of one scene of a :class:`~unhaze.default.scenes.SceneBank`. A sample is a function of
the seed and its index alone, so neither the number of workers nor a restart changes what a training sees.

Two kinds of haze are drawn. **Plain** haze is that of the common test sets: even, with one bright grey airlight.
**Wild** haze is what photographs show: patchy, with an airlight that changes over the picture (the side of the sun, the
falloff of a lens, fog that is darker in the corners), any colour and brightness, behind a clear front, over skies of
its own colour, in encoded values or in linear light. Half of the wild samples are of a scene that was darkened before
hazing, as cameras expose for the veil; the gain that undoes it is taught beside the haze (after the data pipeline of
RIDCP, Wu et al., CVPR 2023).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from unhaze.data.synthetic.scenes import (
    AIRLIGHT_GRID,
    apply_haze,
    degrade,
    dim_below,
    make_high_key,
    make_overcast,
    push_back_haze,
    random_depth,
    share_lost,
    smooth_noise,
    soften_depth,
    take_view,
    to_bytes,
    vary_scene,
)
from unhaze.data.synthetic.scenes import SynthesisConfig as VariationConfig
from unhaze.physics.scattering import transmission_from_depth

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from unhaze.default.scenes import SceneBank

    FloatArray = NDArray[np.float32]
    ByteArray = NDArray[np.uint8]

__all__ = ["LIGHT_POINTS", "Sample", "SynthesisConfig", "darken", "synthesize"]

LIGHT_POINTS = AIRLIGHT_GRID  # the airlight of a sample is given on LIGHT_POINTS x LIGHT_POINTS points


@dataclass(frozen=True, slots=True)
class SynthesisConfig:
    """What is drawn, and how often. Probabilities unless said otherwise; ranges are (low, high).

    Attributes:
        clear: No haze at all.
        high_key: Of those, how many are made bright, pale, or are the enlargement of a small part: what looks like haze
            and is none.
        plain: Even haze of one bright grey, as the common test sets have it; more of it where the depth is measured.
        beta: Range of the optical depth at the median depth of plain haze.
        dark: Of the wild samples, how many scenes are darkened before hazing.
        darkness: Range of the logarithm of the gain that undoes it.
        thin: Of the wild samples, how many have a mean optical depth in ``thin_depth``.
        distant: Of the wild samples out of doors, how many are veiled in the distance alone, as mountains and skylines
            are, in the colour of the sky above the horizon.
        distant_depth: Range of the optical depth of what is farthest there.
        veiled: Scenes out of doors whose own distance is veiled by more than this are left out (see
            :func:`~unhaze.default.scenes.distance_veil`); 0 keeps all.
        hazy_sky: The sky is of the colour of the haze and stays; times the share of the sky's light that is lost.
        uneven_light: The airlight changes over the picture.
        agnostic: A scene with known depth is hazed by a random field all the same.
        estimated: A scene with a depth estimated by the first part of the training is hazed by it.
        clear_front: The haze begins behind what is near.
        even: The optical depth is proportional to the depth; otherwise its spread is changed, as by a layer of haze.
        patchy: The density varies from place to place.
        linear_light: The scattering model is applied to linear light instead of to encoded values.
        optical_depth: Range of the mean optical depth of a wild view.
        repaint, relight: The scene gets other colours or light.
        noise, blur, shrink, jpeg: The hazy picture suffers each.
        zoom: Range of the share of the scene that a view shows.
        weights: How often a scene is of each kind.
    """

    clear: float = 0.12
    high_key: float = 0.25
    plain: float = 0.35
    beta: tuple[float, float] = (0.5, 1.9)
    dark: float = 0.5
    darkness: tuple[float, float] = (0.2, 1.6)
    thin: float = 0.25
    thin_depth: tuple[float, float] = (0.05, 0.4)
    distant: float = 0.0
    distant_depth: tuple[float, float] = (0.25, 2.0)
    veiled: float = 0.0
    hazy_sky: float = 0.4
    uneven_light: float = 0.6
    agnostic: float = 0.15
    estimated: float = 0.75
    clear_front: float = 0.12
    even: float = 0.5
    patchy: float = 0.3
    linear_light: float = 0.2
    optical_depth: tuple[float, float] = (0.08, 2.6)
    repaint: float = 0.15
    relight: float = 0.15
    noise: float = 0.4
    blur: float = 0.2
    shrink: float = 0.15
    jpeg: float = 0.6
    zoom: tuple[float, float] = (0.55, 1.0)
    weights: tuple[tuple[str, float], ...] = (
        ("room", 0.27),
        ("boxes", 0.03),
        ("road", 0.16),
        ("indoors", 0.2),
        ("outdoors", 0.34),
    )


@dataclass(frozen=True, slots=True)
class Sample:
    """One hazy view and the truth about it. h x w is the size asked for.

    Attributes:
        hazy, clear: (h, w, 3) uint8 RGB, sRGB-encoded; the scene as it was hazed, dark where it was darkened.
        transmission: (h, w) float32 in (0, 1].
        airlight: (LIGHT_POINTS, LIGHT_POINTS, 3) float32 RGB, sRGB-encoded, corners at the corners of the view.
        gain: Logarithm of the gain that undoes the darkening; 0 where there was none.
        depth: (h, w) float32, up to a factor, depth of the scene, whatever the haze follows; ``None`` if unknown.
        in_srgb: Whether ``hazy`` follows the scattering model in encoded values, so that ``transmission`` inverts it.
    """

    hazy: ByteArray
    clear: ByteArray
    transmission: FloatArray
    airlight: FloatArray
    gain: float
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
    inside = scene.group in ("room", "boxes", "indoors")
    is_clear, plain = bool(rng.random() < config.clear), bool(rng.random() < config.plain)
    high_key = is_clear and rng.random() < config.high_key
    view = take_view(scene, rng, (0.15, 0.7) if high_key else config.zoom, height, width)
    clear = vary_scene(view, rng, _variation(config), indoors=inside)
    # bright grey
    light = (
        np.clip(rng.uniform(0.7, 1.0) + rng.normal(0, 0.006, 3), 0, 1).astype(np.float32) if plain else _wild_light(rng)
    )
    clear = dim_below(clear, light, rng)
    measured = scene.group not in ("indoors", "outdoors")
    gain, in_srgb = 0.0, True
    if is_clear:
        clear = make_high_key(clear, rng) if high_key else clear
        airlight = _light_points(light, rng, 0)
        transmission = np.ones((height, width), np.float32)
        if view.sky is not None and rng.random() < 0.3:
            clear = make_overcast(clear, view.sky, airlight, rng)
    else:
        keep = 1 - config.agnostic if measured else config.estimated
        depth = view.depth if view.depth is not None and rng.random() < keep else None
        if depth is None:
            depth = random_depth(clear, view.segments, rng, 0.7 if inside else 0.05)
        if plain:
            median = max(float(np.median(depth)), 1e-3)
            # a sky is not infinitely far in haze: the layer ends
            depth = np.minimum(depth, np.float32(rng.uniform(3, 15) * median))
            optical = depth * np.float32(rng.uniform(*config.beta) / median)
            airlight = _light_points(light, rng, 0)
        elif config.distant and not inside and rng.random() < config.distant:
            optical = _distant_optical_depth(depth, view.sky, rng, config)
            airlight = _light_points(light if view.sky is None else _horizon_light(clear, view.sky, rng), rng, 0.3)
            if view.sky is not None:
                optical = optical * (1 - view.sky)
        else:
            if rng.random() < config.dark:
                gain = float(rng.uniform(*config.darkness))
                clear = darken(clear, gain)
            if rng.random() < config.clear_front:
                depth = push_back_haze(depth, rng)
            optical = _wild_optical_depth(soften_depth(depth, rng, config.even), rng, config)
            airlight = _light_points(light, rng, config.uneven_light)
            in_srgb = bool(rng.random() >= config.linear_light)
        optical = np.minimum(optical, np.float32(rng.uniform(2.5, 6.0))).astype(np.float32)
        if view.sky is not None and rng.random() < config.hazy_sky * share_lost(optical, view.sky):
            clear, optical = make_overcast(clear, view.sky, airlight, rng), optical * (1 - view.sky)
        transmission = transmission_from_depth(optical, 1.0)
    hazy = degrade(apply_haze(clear, transmission, airlight, in_srgb), rng, _variation(config))
    known = view.depth if measured else None
    return Sample(hazy, to_bytes(clear), transmission, airlight, gain, known, in_srgb)


def darken(image: FloatArray, gain: float) -> FloatArray:
    """The scene from which the dehazer's curve with this gain makes ``image``.

    The curve is y = x (1 + k) / (1 + k x) with 1 + k = exp(gain): steep in the darks, and 1 stays 1.

    Args:
        image: (H, W, 3), or of any other shape, in [0, 1].
        gain: Logarithm of the slope of the curve at black.

    >>> import numpy as np
    >>> dark = darken(np.float32([0.5]), 1.0)
    >>> k = np.exp(1.0) - 1
    >>> round(float(dark[0] * (1 + k) / (1 + k * dark[0])), 6)
    0.5
    """
    k = np.float32(np.exp(gain) - 1)
    return np.asarray(image / (1 + k - k * image), np.float32)


def _variation(config: SynthesisConfig) -> VariationConfig:
    """The settings that the helpers shared with the studies understand."""
    return VariationConfig(
        repaint=config.repaint,
        relight=config.relight,
        noise=config.noise,
        blur=config.blur,
        shrink=config.shrink,
        jpeg=config.jpeg,
    )


def _wild_light(rng: np.random.Generator) -> FloatArray:
    """Colour of the haze: mostly bright and grey, at times dim, warm (dust, smog, sunset) or cold (blue distance)."""
    value = rng.uniform(*((0.65, 1.0), (0.45, 0.8), (0.2, 0.55))[rng.choice(3, p=(0.6, 0.27, 0.13))])
    kind = rng.choice(4, p=(0.4, 0.25, 0.2, 0.15))
    if kind == 0:
        tint = rng.normal(0, 0.008, 3)
    elif kind == 1:
        tint = rng.normal(0, 0.03, 3)
    else:
        warm = np.array((1.0, 0.45, -0.6)) if kind == 2 else np.array((-0.9, 0.0, 0.6))
        tint = rng.uniform(0, 0.16 if kind == 3 else 0.3) * warm + rng.normal(0, 0.01, 3)
    return np.clip(value + tint * value, 0.1, 1.0).astype(np.float32)


def _light_points(light: FloatArray, rng: np.random.Generator, uneven: float) -> FloatArray:
    """The airlight on its points: brighter towards the sun, darker in the corners, at the top or at the bottom."""
    grid = np.broadcast_to(light, (LIGHT_POINTS, LIGHT_POINTS, 3)).copy()
    if rng.random() < uneven:
        y, x = np.meshgrid(*[np.linspace(-1, 1, LIGHT_POINTS)] * 2, indexing="ij")
        change = rng.normal(0, 0.1) * y + rng.normal(0, 0.08) * x
        if rng.random() < 0.5:  # falloff of the lens, or around the sun
            at_y, at_x = (0.0, 0.0) if rng.random() < 0.4 else (rng.uniform(-1.2, 0.6), rng.uniform(-1.2, 1.2))
            change = change - rng.uniform(0, 0.55) * ((y - at_y) ** 2 + (x - at_x) ** 2) / 2
        change = change - change.max() * rng.uniform(0.3, 1.0)
        grid *= np.exp(change).astype(np.float32)[..., None]
        if rng.random() < 0.3:  # a sunny side is warm
            grid *= np.exp(rng.normal(0, 0.05) * (y + x)[..., None] * np.array((1.0, 0.3, -0.8))).astype(np.float32)
    return np.asarray(np.clip(grid, 0.03, 1), np.float32)


def _wild_optical_depth(depth: FloatArray, rng: np.random.Generator, config: SynthesisConfig) -> FloatArray:
    """Optical depth of a depth of mean 1: thin, even or patchy."""
    height, width = depth.shape
    low, high = config.thin_depth if rng.random() < config.thin else config.optical_depth
    mean = np.exp(rng.uniform(np.log(low), np.log(high))) if rng.random() < 0.5 else rng.uniform(low, high)
    optical = depth * np.float32(mean)
    if rng.random() < config.patchy:
        noise = smooth_noise(rng, height, width, int(rng.integers(2, 8)))
        if rng.random() < 0.5:
            noise = noise + np.float32(0.6) * smooth_noise(rng, height, width, int(rng.integers(8, 20)))
        optical = optical * np.exp(np.float32(rng.uniform(0.1, 0.5)) * noise)
    return np.asarray(optical, np.float32)


def _distant_optical_depth(
    depth: FloatArray, sky: FloatArray | None, rng: np.random.Generator, config: SynthesisConfig
) -> FloatArray:
    """Optical depth of air that is clear in front and veils what is far."""
    ground = depth if sky is None or sky.min() > 0.5 else depth[sky <= 0.5]
    first, last = np.quantile(ground, (rng.uniform(0.2, 0.85), 0.99))
    low, high = np.log(config.distant_depth)
    far = np.clip((depth - first) / max(last - first, 1e-3), 0, 1.2) ** rng.uniform(0.7, 1.6)
    front = rng.uniform(0, 0.06) if rng.random() < 0.5 else 0.0
    return np.asarray(far * np.exp(rng.uniform(low, high)) + front, np.float32)


def _horizon_light(clear: FloatArray, sky: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Colour of the lower half of the sky, a little bluer or brighter at random."""
    height = np.arange(sky.shape[0], dtype=np.float32)[:, None]
    middle = float((sky * height).sum() / max(float(sky.sum()), 1e-3))
    weight = (sky * (height >= middle))[..., None]
    color = (clear * weight).sum(axis=(0, 1)) / max(float(weight.sum()), 1e-3)
    tint = np.array((-0.5, 0.0, 0.5)) * rng.uniform(0, 0.1) + rng.normal(0, 0.01, 3)
    return np.clip(color * np.exp(rng.normal(0, 0.05)) * (1 + tint), 0.1, 1).astype(np.float32)
