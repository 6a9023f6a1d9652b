"""How a paper scores, as data: named, versioned recipes, and the rules for pictures whose sizes differ.

Scores of two protocols are not comparable. ``docs/protocols.md`` says which published figures a protocol can be held
against; :attr:`Protocol.open_points` says what of it is inferred or unknown.

All protocols read the pixel values as they are stored (upright, alpha and ICC profile ignored, grey spread over three
channels) and scale them to [0, 1] RGB, 1 being the largest value of the file's type.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from unhaze.errors import ImageValueError, UnknownNameError

if TYPE_CHECKING:
    import torch

__all__ = [
    "DEFAULT_PROTOCOL",
    "PROTOCOLS",
    "TARGET_RULES",
    "Protocol",
    "get_protocol",
    "list_protocols",
    "match_target",
]

TargetRule = Literal["equal", "sots-indoor"]

TARGET_RULES: Mapping[str, str] = {
    "equal": "Result and target must have the same size.",
    "sots-indoor": (
        "Results of 620x460 px are compared with the middle of a 640x480 px target, 10 px cut off on each side; "
        "a target of 620x460 px counts as cut already. No other size is accepted."
    ),
}
"""Rules for the size of targets; every size mismatch that a rule does not name is an error for that pair."""

_SOTS_RESULT, _SOTS_TARGET, _SOTS_BORDER = (460, 620), (480, 640), 10  # (H, W) of SOTS-indoor in RESIDE


@dataclass(frozen=True, slots=True)
class Protocol:
    """A recipe of scoring.

    Attributes:
        name: Catalogue name.
        version: Raised whenever a score of the recipe can change.
        summary: One line.
        source: Where the recipe was taken from.
        rounding: ``"8bit"``: results and targets are rounded half up to 256 levels before scoring; ``"none"``: values
            stay as they are (results stored with 8 bits are rounded all the same, by their file).
        border: Pixels cut off on every side of result and target before scoring.
        ssim: Convention of SSIM, a name of ``unhaze.metrics.functional.SSIM_CONVENTIONS``.
        psnr: What PSNR is taken over: the mean squared error of all RGB values, peak 1.
        psnr_y: What PSNR-Y is taken over.
        identical_psnr: PSNR [dB] of identical pictures; may be infinite.
        metrics: Metrics that the recipe reports, by their names in ``unhaze.metrics``; the first ranks the pictures.
        open_points: What of the recipe is inferred or unknown, one sentence each.
    """

    name: str
    version: int
    summary: str
    source: str
    rounding: Literal["none", "8bit"]
    border: int
    ssim: str
    identical_psnr: float
    metrics: tuple[str, ...]
    psnr: Literal["rgb"] = "rgb"
    psnr_y: Literal["bt601-limited"] = "bt601-limited"
    open_points: tuple[str, ...] = ()

    @property
    def ssim_metric(self) -> str:
        """Name in ``unhaze.metrics`` of the SSIM that this protocol means."""
        return "ssim" if self.ssim == "gaussian" else f"ssim_{self.ssim}"

    @property
    def id(self) -> str:
        """Name and version, as printed with every score: ``dcmpnet/1``."""
        return f"{self.name}/{self.version}"

    def prepare(self, picture: torch.Tensor) -> torch.Tensor:
        """Bring a picture into the form that is scored.

        Args:
            picture: (B, 3, H, W) RGB, floating point.

        Returns:
            (B, 3, H − 2·border, W − 2·border), in [0, 1], rounded if the protocol rounds.

        Raises:
            ImageValueError: Nothing is left within the border.
        """
        clamped = picture.clamp(0.0, 1.0)
        if self.rounding == "8bit":
            clamped = (clamped * 255.0 + 0.5).floor() / 255.0
        if self.border == 0:
            return clamped
        height, width = picture.shape[-2:]
        if min(height, width) <= 2 * self.border:
            raise ImageValueError(
                f"A picture of {width}x{height} px has nothing left within the border of {self.border} px that the "
                f"protocol {self.name} cuts off."
            )
        return clamped[..., self.border : height - self.border, self.border : width - self.border]


_ALL = (
    Protocol(
        name="dcmpnet",
        version=1,
        summary="DCMPNet (P1): float values, full-size PSNR, zero-padded SSIM after down-sampling to about 256 px.",
        source="Zhang, Zhou and Li, CVPR 2024; official test.py and utils/metrics.py",
        rounding="none",
        border=0,
        ssim="dcmpnet",
        identical_psnr=100.0,
        metrics=("psnr", "ssim_dcmpnet", "niqe", "piqe", "fade"),
        open_points=(
            "The official code holds no NIQE, PIQE or FADE: which tool, grey conversion and rounding the paper used "
            "is unknown; its columns of these three are not comparable.",
            "The treatment of the 10-px border of SOTS-indoor is not stated; choose the target rule yourself.",
        ),
    ),
    Protocol(
        name="dehazeformer",
        version=1,
        summary="DehazeFormer: as dcmpnet, but SSIM over valid windows only.",
        source="Song et al., IEEE TIP 2023; official test.py",
        rounding="none",
        border=0,
        ssim="dehazeformer",
        identical_psnr=math.inf,
        metrics=("psnr", "ssim_dehazeformer"),
    ),
    Protocol(
        name="depth-fusion",
        version=1,
        summary="P2: 8-bit RGB PSNR and full-size SSIM, PSNR-Y, and LPIPS, FADE, NIQE for real pictures.",
        source="Can Large Pretrained Depth Estimation Models Help With Image Dehazing?, section Evaluation Metrics",
        rounding="8bit",
        border=0,
        ssim="basicsr_rgb",
        identical_psnr=math.inf,
        metrics=("psnr", "ssim_basicsr_rgb", "psnr_y", "lpips", "fade", "niqe"),
        open_points=(
            "No official metric code is known. RGB, 8 bits, no border and the full-size SSIM are those of the "
            "configuration of its baseline SGDNet; the paper does not name its SSIM.",
            "PSNR-Y is taken to be the limited-range BT.601 kind, because the paper's own figures lie 1.63 dB above "
            "its PSNR on average; the paper does not say so.",
            "The network of LPIPS and the variants of NIQE and FADE are unknown.",
        ),
    ),
    Protocol(
        name="basicsr-rgb",
        version=1,
        summary="BasicSR's defaults on RGB: 8 bits, no border, full-size SSIM with a gaussian window.",
        source="BasicSR 1.4, calculate_psnr and calculate_ssim with crop_border 0, test_y_channel false",
        rounding="8bit",
        border=0,
        ssim="basicsr_rgb",
        identical_psnr=math.inf,
        metrics=("psnr", "ssim_basicsr_rgb"),
    ),
    Protocol(
        name="deraining-y",
        version=1,
        summary="Rain: PSNR and SSIM of luma, as papers on rain print them; 8 bits, full size.",
        source="Custom of papers on rain, which convert by MATLAB's rgb2ycbcr; BasicSR 1.4 with test_y_channel true",
        rounding="8bit",
        border=0,
        ssim="y",
        identical_psnr=math.inf,
        metrics=("psnr_y", "ssim_y"),
        open_points=(
            "MATLAB rounds luma to whole levels where BasicSR, and unhaze, do not.",
            "The depth-fusion paper, Table 5, prints PSNR-Y and does not say what its SSIM is taken of.",
        ),
    ),
    Protocol(
        name="full8bit",
        version=2,
        summary="unhaze's own: 8 bits, full size, every metric that needs no download.",
        source="unhaze",
        rounding="8bit",
        border=0,
        ssim="gaussian",
        identical_psnr=math.inf,
        metrics=(
            "psnr",
            "ssim",
            "psnr_y",
            "ms_ssim",
            "ciede2000",
            "niqe",
            "piqe",
            "fade",
            "clipped",
            "chroma_shift",
            "lightness_change",
            "ring",
        ),
    ),
)

PROTOCOLS: Mapping[str, Protocol] = {protocol.name: protocol for protocol in _ALL}
"""Name -> protocol."""

DEFAULT_PROTOCOL = "full8bit"


def list_protocols() -> list[str]:
    """Names of all protocols.

    >>> list_protocols()
    ['dcmpnet', 'dehazeformer', 'depth-fusion', 'basicsr-rgb', 'deraining-y', 'full8bit']
    """
    return list(PROTOCOLS)


def get_protocol(name: str) -> Protocol:
    """The protocol of that name.

    Raises:
        UnknownNameError: There is none; near names are listed.
    """
    if name not in PROTOCOLS:
        raise UnknownNameError("protocol", name, PROTOCOLS)
    return PROTOCOLS[name]


def match_target(restored: torch.Tensor, target: torch.Tensor, rule: str) -> torch.Tensor:
    """Cut a target to the size of its result where ``rule`` says how.

    Args:
        restored: (B, 3, H, W).
        target: (B, 3, H', W').
        rule: Name from :data:`TARGET_RULES`.

    Returns:
        (B, 3, H, W).

    Raises:
        ImageValueError: The rule does not cover these sizes; the message says both.
        UnknownNameError: There is no such rule.
    """
    if rule not in TARGET_RULES:
        raise UnknownNameError("target rule", rule, TARGET_RULES)
    sizes = tuple(restored.shape[-2:]), tuple(target.shape[-2:])
    if rule == "equal":
        if sizes[0] == sizes[1]:
            return target
        hint = "; choose the target rule sots-indoor if they are SOTS-indoor" if sizes == _SOTS_SIZES else ""
        raise ImageValueError(f"The result is {_size(restored)} but its target {_size(target)}{hint}.")
    if sizes == _SOTS_SIZES:
        return target[..., _SOTS_BORDER:-_SOTS_BORDER, _SOTS_BORDER:-_SOTS_BORDER]
    if sizes == (_SOTS_RESULT, _SOTS_RESULT):
        return target
    raise ImageValueError(
        f"The result is {_size(restored)} and its target {_size(target)}, but the target rule sots-indoor is for "
        "results of 620x460 px and targets of 640x480 or 620x460 px."
    )


_SOTS_SIZES = (_SOTS_RESULT, _SOTS_TARGET)


def _size(picture: torch.Tensor) -> str:
    return f"{picture.shape[-1]}x{picture.shape[-2]} px"
