"""Small value types that every layer shares."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    FloatMap = NDArray[np.float32]

__all__ = [
    "DehazeResult",
    "DepthKind",
    "DepthLevel",
    "DepthMap",
    "ImageContract",
    "ModelInfo",
    "ModelKind",
    "Restored",
    "Stage",
    "WeightCard",
]

DepthKind = Literal["metric", "inverse_relative", "relative"]
ModelKind = Literal["classic", "default", "network"]

ImageT = TypeVar("ImageT")
MapT = TypeVar("MapT")


@dataclass(frozen=True, slots=True)
class DepthLevel:
    """One of the feature maps that a depth estimator gives.

    Attributes:
        channels: Channels of the map.
        stride: Side of the image over the side of the map, where the estimator sees the image at its own size.
    """

    channels: int
    stride: float


@dataclass(frozen=True, slots=True)
class DepthMap(Generic[MapT]):
    """Distance from the camera, per pixel.

    Attributes:
        map: (H, W) float32 array of one picture, or (B, 1, H, W) tensor from an estimator.
        kind: What the numbers mean.
            ``"metric"``: distance [m], far is large.
            ``"relative"``: distance up to an unknown positive scale, far is large, 0 is at the camera.
            ``"inverse_relative"``: inverse distance up to scale and shift, near is large.
        features: Multi-scale features (B, C, h, w) of the estimator, fine to coarse; empty where it has none.
    """

    map: MapT
    kind: DepthKind
    features: tuple[Any, ...] = ()

    @property
    def far_is_large(self) -> bool:
        """Whether larger numbers lie farther from the camera."""
        return self.kind != "inverse_relative"


@dataclass(frozen=True, slots=True)
class DehazeResult(Generic[ImageT]):
    """What a :class:`~unhaze.Dehazer` returns for one picture.

    Attributes:
        image: The restored picture, of the type, shape and value type of the input.
        transmission: (H, W) float32 in (0, 1], the share of light that reached the camera unscattered as the method
            estimated it, before ``strength``. ``None`` where maps were not asked for.
        depth: Relative depth, the optical depth ``-ln(transmission)``; ``None`` where maps were not asked for.
        airlight: (3,) float32 RGB in [0, 1], the colour of the haze, in the sRGB encoding, its mean where it
            changes over the picture; ``None`` from a network that does not say.
        confidence: (H, W) float32 in [0, 1]; low where the haze is too dense to see through, or where the estimate
            was overruled to protect a sky. ``None`` where maps were not asked for.
        info: Facts about the run: method, options, sizes, seconds, notes for the user. ``info["haze"]`` of a method has
            ``density``, the mean optical depth, which grows with the haze and serves as a fog alarm; ``beyond_sight``,
            the share of the picture where less than 15 % of the light of the scene comes through; the mean ``airlight``
            and ``confidence``. ``info["left_alone"]`` says why a picture was left almost as it was, or is ``None``.
    """

    image: ImageT
    transmission: FloatMap | None
    depth: DepthMap[FloatMap] | None
    airlight: FloatMap | None
    confidence: FloatMap | None
    info: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Stage:
    """One named step of a network, at which features can be read, fused or checkpointed.

    Attributes:
        name: ``enc1..encN``, ``mid``, ``decN..dec1``; unique within a network.
        channels: Channels that leave the stage.
        stride: Side of the image over the side of the stage's output.
    """

    name: str
    channels: int
    stride: int


@dataclass(frozen=True, slots=True)
class ImageContract:
    """What a network expects of an image, and how the public range [0, 1] maps to its own.

    Attributes:
        value_range: Numbers that 0 and 1 of a public image become, and in which the network's images come back.
        multiple_of: Both sides must be a multiple of this.
        minimum: Smallest side that works.
        pad_mode: How an image is enlarged, on the right and at the bottom, to fit.
        tiling: Radius of the receptive field [px]: tiles that overlap by this much, and begin at multiples of
            ``multiple_of``, give the result of the whole image. ``None`` where every output pixel depends on the whole
            image, so that tiles change the result.
        mean: Subtracted, per RGB channel, from the input after it was mapped to ``value_range``; not added again.
        std: Divides the input after ``mean`` was subtracted; the output is not multiplied with it.
    """

    value_range: tuple[float, float] = (0.0, 1.0)
    multiple_of: int = 1
    minimum: int = 1
    pad_mode: Literal["reflect", "replicate"] = "reflect"
    tiling: int | None = None
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)


@dataclass(frozen=True, slots=True)
class Restored:
    """What every network returns.

    Attributes:
        image: (B, 3, H, W) restored RGB.
        pyramid: Restored images of smaller sizes, coarse to fine, without ``image``; empty for most networks.
        aux: Whatever else a loss or a study needs, by name, in the network's own units.
    """

    image: Tensor
    pyramid: tuple[Tensor, ...] = ()
    aux: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class WeightCard:
    """Where trained weights lie and what may be done with them.

    Attributes:
        url: Address of the file, or of the folder that holds it.
        sha256: Digest of the file, in hexadecimal; empty where the file was never had here.
        license: SPDX name, or ``"none stated"`` and what the source says instead.
        source: Repository of whoever trained them, ``owner/name at commit``.
        paper: Citation.
        trained_on: Data sets, by their catalogue names where they have one, separated by commas.
        reported: Scores that the source states, by ``"<benchmark>/<metric>"``; not measured here.
        files: Names of the files at ``url``, separated by commas; empty where the source does not list them.
        note: What else must be known to use them; empty where nothing must.
    """

    url: str
    sha256: str
    license: str
    source: str
    paper: str
    trained_on: str
    reported: Mapping[str, float] = field(default_factory=dict)
    files: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What a user wants to know of a model before choosing it.

    Attributes:
        name: Name in the catalogue.
        summary: One sentence.
        paper: Citation.
        url: Where to read it, or where the official code lies.
        needs: What has to be installed or given beyond the core; empty where nothing is.
        has_network: Whether it runs a network in an ONNX engine, and so is created with ``engine=`` and ``threads=``.
        kind: ``"classic"`` finds the haze by a rule, ``"default"`` ships with its weights, ``"network"`` is a network
            of the literature, alone or with a fusion module.
        license: That of the weights, or of the official code where no weights were published; else empty.
        parameters: How many a network has, where that is known without building it.
        weights: Where trained weights lie; empty where none are needed or published.
    """

    name: str
    summary: str
    paper: str
    url: str
    needs: str = ""
    has_network: bool = False
    kind: ModelKind = "classic"
    license: str = ""
    parameters: int | None = None
    weights: tuple[WeightCard, ...] = ()
