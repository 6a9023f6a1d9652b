"""What a user may choose: one table, from which the library and every command take their options."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from numbers import Real
from pathlib import Path
from typing import Any

from unhaze.default.constants import DEFAULT_MODEL
from unhaze.errors import UsageError
from unhaze.images.budget import DEFAULT_MAX_PIXELS
from unhaze.restore.engines.base import NetworkOptions
from unhaze.restore.engines.exports import is_exported
from unhaze.restore.machine import check_workers, parse_bytes

__all__ = ["DEFAULT_MODEL", "DEFAULT_TEMPORAL", "DehazeOptions", "Options", "parse_count"]

DEFAULT_TEMPORAL = 0.97  # share of the haze of a still frame that comes from the frames before

_FAINTEST_WHITE, _HIGHEST_WHITE = 1e-30, 1e30  # float32 has no room for working beyond
_COUNT = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([kmg]?)\s*", re.IGNORECASE)
_MULTIPLES = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9}
_NETWORK = tuple(each.name for each in fields(NetworkOptions))


@dataclass(frozen=True)
class DehazeOptions:
    """How the estimated haze is turned into a picture. All numbers mean the same at every resolution.

    Attributes:
        strength: -1 to 1; scales the optical depth that is removed. 1 removes all haze that was found, 0 leaves the
            picture as it is, bit for bit, negative values add haze of the same shape and colour.
        color_blend: 0 to 1; how far colour differences grow along with contrast. 1 is the scattering model, which
            exaggerates the tints of dense haze; 0 restores brightness only and keeps the hazy colours. They never grow
            more than threefold.
        protect_sky: 0 to 1; how far skies, and areas whose colour is that of the haze itself, are left alone. There is
            no scene to recover there, only noise and compression blocks to amplify.
        keep_exposure: 0 to 1; how much of the brightness that is lost with the haze is given back by a smooth curve.
        spare_clear: 0 to 1; how far pictures that look clear to a model that can tell are left alone. 0 removes the
            little that is found in them all the same.

    Raises:
        UsageError: A value lies outside its range.
    """

    strength: float = 1.0
    color_blend: float = 0.8
    protect_sky: float = 1.0
    keep_exposure: float = 1.0
    spare_clear: float = 1.0

    def __post_init__(self) -> None:
        for option in fields(self):
            value = getattr(self, option.name)
            low = -1.0 if option.name == "strength" else 0.0
            if not (isinstance(value, Real) and math.isfinite(value) and low <= float(value) <= 1.0):
                raise UsageError(f"{option.name} is {value!r}, but must be a number between {low:g} and 1.")


def option(default: Any, help: str, *, metavar: str | None = None, short: str | None = None) -> Any:
    """A field of :class:`Options`: its default, and what a command line says of it."""
    return field(default=default, metadata={"help": help, "metavar": metavar, "short": short})


@dataclass(frozen=True, kw_only=True)
class Options:
    """Everything that decides how a picture is dehazed. A new option is one field here.

    Attributes:
        model: Name in the catalogue of models (:func:`unhaze.list_models`); recognised from ``weights`` if they alone
            are given, else the default. A network with a fusion module is ``"sgdnet+hgdf"``. Or a file that
            ``unhaze export`` wrote.
        weights: File with the trained weights of a network.
        strength: -1 to 1; 0 leaves the picture as it is, 1 removes all haze found, negative values add haze. With a
            network 0 to 1: how much of its result is mixed into the picture.
        color_blend: 0 to 1; how far colour differences grow along with contrast. Not for networks.
        protect_sky: 0 to 1; how far skies are left alone. Not for networks.
        keep_exposure: 0 to 1; how much of the brightness lost with the haze is given back. ``None`` is 1, but 0 for a
            network, whose result then is its own, untouched.
        spare_clear: 0 to 1; how far pictures that look clear are left alone. Not for networks.
        white: The value that stands for white in 16-bit and float pictures; by default found from the largest values
            of each, see :func:`unhaze.images.levels.find_white`. Larger values stay as they are.
        engine: What runs a model that ships as ONNX: ``"onnxruntime"``, ``"openvino"`` or ``"auto"``, which is what the
            environment variable ``UNHAZE_ENGINE`` says, else OpenVINO where it is installed, else onnxruntime.
            ``"cuda"``, ``"tensorrt"``, ``"coreml"`` and ``"directml"`` are parts of onnxruntime; where one is not
            there, the next best is taken, and logged.
        device: ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ``"mps"`` or ``"xpu"``; auto takes CUDA where it is
            there. Like those that follow for networks only, see
            :class:`~unhaze.restore.engines.base.NetworkOptions`.
        precision: ``"fp32"``, or ``"bf16"`` where the device has it and 8 bits show no difference.
        tile: Side of the tiles that large pictures are cut into [px]; ``None`` cuts only where memory demands it.
        compile: Whether to run the network through ``torch.compile``.
        depth: Name of a depth estimator, or a file with the depth of the one picture to come.
        depth_weights: File or folder with the weights of the estimator.
        backbone_weights: Weights of the network, where ``weights`` holds a fusion module alone.
        prompts: How often the result prompts the next one, for fusions that compare depth before and after.
        max_memory: Most bytes that one picture from a file may take from decoding to encoding (``"2G"``); ``None``
            for no limit.
        max_pixels: Most pixels a file may hold (``"500M"``), checked before decoding; ``None`` for no limit.
        threads: Processor cores used for one picture; default all that this process may use.

    Raises:
        UsageError: A value lies outside its range.
    """

    model: str | None = option(
        None,
        "What dehazes; see: unhaze models list. A network needs --weights, or is a file that unhaze export wrote.",
        metavar="NAME|FILE",
        short="-m",
    )
    weights: str | Path | None = option(
        None, "File with the trained weights of a network, which may name the network.", metavar="FILE"
    )
    strength: float = option(
        DehazeOptions.strength,
        "How much haze goes: 1 all that was found, 0 none; below 0 adds haze, down to -1.",
        metavar="X",
    )
    color_blend: float = option(
        DehazeOptions.color_blend,
        "How far colours grow along with contrast, 0 to 1; lower it if colours look exaggerated.",
        metavar="X",
    )
    protect_sky: float = option(
        DehazeOptions.protect_sky,
        "How far skies are left alone, 0 to 1; lower it if a hazy distance stays hazy.",
        metavar="X",
    )
    keep_exposure: float | None = option(
        None,
        "How much of the brightness lost with the haze is given back, 0 to 1. Default 1, but 0 for a network.",
        metavar="X",
    )
    spare_clear: float = option(
        DehazeOptions.spare_clear,
        "How far pictures that look clear are left alone, 0 to 1; 0 dehazes them too.",
        metavar="X",
    )
    white: float | None = option(
        None,
        "The value that stands for white in 16-bit and float pictures, such as 4095 or 10000; default is found from "
        "the largest values of each.",
        metavar="X",
    )
    engine: str = option(
        "auto",
        "What runs a model in ONNX; auto is OpenVINO where it is installed. The last four are parts of onnxruntime.",
        metavar="auto|onnxruntime|openvino|cuda|tensorrt|coreml|directml",
    )
    device: str = option(
        "auto",
        "Where a network runs; auto is a GPU with CUDA where there is one.",
        metavar="auto|cpu|cuda|cuda:1|mps|xpu",
    )
    precision: str = option(
        "fp32",
        "Arithmetic of a network; bf16 is used where the device has it and 8 bits show no difference.",
        metavar="fp32|bf16",
    )
    tile: int | None = option(
        None,
        "Side of the tiles a network works on [px]; default is the whole picture where memory allows.",
        metavar="N",
    )
    compile: bool = option(False, "Run a network through torch.compile; pays for many pictures of one size.")
    depth: str | None = option(
        None,
        "Where NETWORK+FUSION gets depth from: an estimator (unhaze depth --list), or a depth map for a single "
        "picture; default is what its weights name.",
        metavar="NAME|FILE",
    )
    depth_weights: str | Path | None = option(None, "Weights of the depth estimator.", metavar="PATH")
    backbone_weights: str | Path | None = option(
        None, "Weights of the network, where --weights holds a fusion alone.", metavar="FILE"
    )
    prompts: int = option(
        1, "How often the result prompts the next one, for a fusion that compares depth (selfpromer).", metavar="N"
    )
    max_memory: int | str | None = option(
        None,
        "Memory for all pictures under way together, such as 2G or 500M; default is 70 % of what is free.",
        metavar="SIZE",
    )
    max_pixels: int | str | None = option(
        DEFAULT_MAX_PIXELS,
        "Refuse pictures of more pixels than this before decoding them, such as 200M.",
        metavar="N",
    )
    threads: int | None = option(None, "Processor cores used for one picture; default is all.", metavar="N")

    def __post_init__(self) -> None:
        if self.threads is not None:
            check_workers(self.threads, "threads")
        if self.white is not None and not (
            isinstance(self.white, Real) and _FAINTEST_WHITE <= self.white <= _HIGHEST_WHITE
        ):
            raise UsageError(f"white is {self.white!r}, but must be a number more than 0: the value of a white pixel.")
        if not isinstance(self.model, str | None):
            raise UsageError(f"model is {self.model!r}, but must be a name; see unhaze.list_models().")
        limit: Any = self.max_pixels
        if isinstance(limit, str):
            object.__setattr__(self, "max_pixels", parse_count(limit, "the pixel limit"))
        elif limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit < 1):
            raise UsageError(f"max_pixels is {limit!r}, but must be a whole number from 1 on, or None for no limit.")
        if self.max_memory is not None:
            object.__setattr__(self, "max_memory", parse_bytes(self.max_memory))

    def restoration(self, *, network: bool) -> DehazeOptions:
        """How the haze is turned into a picture, for a network or for another model.

        Raises:
            UsageError: A value lies outside its range.
        """
        exposure = self.keep_exposure
        if exposure is None:
            exposure = 0.0 if network else DehazeOptions.keep_exposure
        return DehazeOptions(self.strength, self.color_blend, self.protect_sky, exposure, self.spare_clear)

    def for_network(self) -> NetworkOptions | None:
        """How a network is run; ``None`` where no weights are given.

        Raises:
            UsageError: A value is not one of those that exist.
        """
        weights = self.model if is_exported(self.model) else self.weights
        if weights is None:
            return None
        return NetworkOptions(**{**{name: getattr(self, name) for name in _NETWORK}, "weights": weights})

    def given(self, *names: str) -> Mapping[str, Any]:
        """Those of ``names``, or of all options, that differ from their defaults."""
        changed = {each.name: getattr(self, each.name) for each in fields(self) if each.name in (names or _NAMES)}
        defaults = {each.name: each.default for each in fields(self)}
        return {name: value for name, value in changed.items() if value != defaults[name]}


_NAMES = frozenset(each.name for each in fields(Options))


def parse_count(text: str | int, what: str) -> int:
    """Read a count such as ``"200M"``.

    Raises:
        UsageError: Not a positive count.

    >>> parse_count("1.5M", "the pixel limit")
    1500000
    """
    match = _COUNT.fullmatch(str(text))
    count = int(float(match[1]) * _MULTIPLES[match[2].lower()]) if match else 0
    if count <= 0:
        raise UsageError(f"{text!r} is no count for {what}; write for example 200M or 200000000.")
    return count
