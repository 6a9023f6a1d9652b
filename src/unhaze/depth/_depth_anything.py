"""The network of Depth Anything V2, which Distill-Any-Depth trains anew, and where its weights come from.

Papers: Yang, Kang, Huang, Zhao, Xu, Feng, Zhao, "Depth Anything V2", NeurIPS 2024; the encoder is DINOv2 (Oquab et al.,
TMLR 2024), the decoder DPT (Ranftl, Bochkovskiy, Koltun, "Vision Transformers for Dense Prediction", ICCV 2021).

The layers are those of ``transformers``. Three things are done here instead, so that results equal those of the
official code: position embeddings are resampled with DINOv2's scale, which is 0.1 patches larger than the grid
(``transformers`` resamples to the grid, which moves the maps of the parity fixtures by 6e-5 and 2e-5); the encoder's
layers run in a plain loop, which gives the four intermediate maps and works in several threads and under
``torch.export``; the image is resized on its own device.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from unhaze.depth._weights import digest
from unhaze.depth.base import DepthEstimator, at_own_size
from unhaze.errors import MissingDependencyError, UnknownNameError, UsageError, WeightsNotFoundError
from unhaze.models.base import KeyMap, rename_keys
from unhaze.models.checkpoints.detect import compare
from unhaze.models.checkpoints.reading import WeightsError, read_weights
from unhaze.types import DepthLevel, DepthMap

if TYPE_CHECKING:
    from transformers import DepthAnythingForDepthEstimation

__all__ = ["SIZES", "DepthAnything", "Origin", "build", "from_official", "network_config", "shortest_518"]

Features = Literal["vit", "path"]
Preprocessing = Literal["antialiased", "official"]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
LONGEST = 518  # [px], 37 patches: the size of DINOv2's position embeddings
OFFSET = 0.1  # [patches] that DINOv2 adds to a grid before it resamples position embeddings to it


@dataclass(frozen=True, slots=True)
class Size:
    """Widths of one of the three networks.

    Attributes:
        width: Channels of the encoder.
        blocks: Blocks of the encoder.
        heads: Attention heads.
        taps: After how many blocks a map is taken.
        channels: Channels of the four maps as they enter the decoder.
        fused: Channels of the decoder.
    """

    width: int
    blocks: int
    heads: int
    taps: tuple[int, int, int, int]
    channels: tuple[int, int, int, int]
    fused: int


SIZES = {
    "small": Size(384, 12, 6, (3, 6, 9, 12), (48, 96, 192, 384), 64),
    "base": Size(768, 12, 12, (3, 6, 9, 12), (96, 192, 384, 768), 128),
    "large": Size(1024, 24, 16, (5, 12, 18, 24), (256, 512, 1024, 1024), 256),
}

# official names to those of transformers; queries, keys and values have been separated before
KEY_MAP: KeyMap = (
    # the large Distill-Any-Depth has its blocks in chunks, of which there is one
    (r"^backbone\.blocks\.0\.(?=\d)", "pretrained.blocks."),
    (r"^backbone\.", "pretrained."),
    (r"^pretrained\.(cls_token|mask_token)$", r"backbone.embeddings.\1"),
    (r"^pretrained\.pos_embed$", "backbone.embeddings.position_embeddings"),
    (r"^pretrained\.patch_embed\.proj\.", "backbone.embeddings.patch_embeddings.projection."),
    (r"^pretrained\.norm\.", "backbone.layernorm."),
    (r"^pretrained\.blocks\.", "backbone.encoder.layer."),
    (r"\.attn\.([qkv])\.", r".attention.\1_proj."),
    (r"\.attn\.proj\.", ".attention.o_proj."),
    (r"\.ls([12])\.gamma$", r".layer_scale\1.lambda1"),
    (r"^depth_head\.projects\.(\d)\.", r"neck.reassemble_stage.layers.\1.projection."),
    (r"^depth_head\.resize_layers\.(\d)\.", r"neck.reassemble_stage.layers.\1.resize."),
    *((rf"^depth_head\.scratch\.layer{i + 1}_rn\.", f"neck.convs.{i}.") for i in range(4)),
    # the coarsest runs first: transformers numbers them in that order
    *((rf"^depth_head\.scratch\.refinenet{4 - i}\.", f"neck.fusion_stage.layers.{i}.") for i in range(4)),
    (r"\.out_conv\.", ".projection."),
    (r"\.resConfUnit([12])\.conv([12])\.", r".residual_layer\1.convolution\2."),
    (r"^depth_head\.scratch\.output_conv1\.", "head.conv1."),
    (r"^depth_head\.scratch\.output_conv2\.0\.", "head.conv2."),
    (r"^depth_head\.scratch\.output_conv2\.2\.", "head.conv3."),
)


@dataclass(frozen=True, slots=True)
class Origin:
    """Where the weights of an estimator come from.

    Attributes:
        name: In the catalogue.
        size: Key of :data:`SIZES`.
        weights: On the Hugging Face hub: ``owner/name`` for a repository in the layout of ``save_pretrained``, with a
            path behind it for one official file.
        address: Where to download that by hand.
        license: Licence of the weights.
        commercial: Whether it allows commercial use; ``None`` where that is not clear.
        official_size: (height, width) that the official code gives an image of (height, width).
    """

    name: str
    size: str
    weights: str
    address: str
    license: str
    commercial: bool | None
    official_size: Callable[[int, int], tuple[int, int]]


class DepthAnything(DepthEstimator):
    """Inverse depth by Depth Anything V2, or a network of its architecture.

    An image is resized so that its long side is near ``longest`` and both are multiples of a patch (14 pixels),
    bilinearly and antialiased, then normalised with ImageNet's statistics. The official code enlarges the *short* side
    to 518 (three times the pixels of a 16:9 picture), resizes with OpenCV's cubic kernel without antialiasing, and
    enlarges the map with aligned corners; ``preprocessing="official"`` does the same.

    Args:
        network: The layers.
        origin: Where the weights are from.
        features: ``"vit"``: maps of four encoder blocks, after the final norm, class token dropped, shallow to deep,
            all at 1/14. ``"path"``: the four maps of the decoder, fine to coarse, at 1/1.75 to 1/14.
        longest: Long side [px] of what the network sees; 518 if ``None``.
        preprocessing: See above.

    Raises:
        UsageError: ``longest`` is smaller than a patch, or given together with the official preprocessing.
        UnknownNameError: There are no such features, or no such preprocessing.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        network: DepthAnythingForDepthEstimation,
        origin: Origin,
        features: Features = "vit",
        longest: int | None = None,
        preprocessing: Preprocessing = "antialiased",
    ) -> None:
        super().__init__()
        if features not in ("vit", "path"):
            raise UnknownNameError("set of features", features, ("vit", "path"))
        if preprocessing not in ("antialiased", "official"):
            raise UnknownNameError("preprocessing", preprocessing, ("antialiased", "official"))
        if longest is not None and preprocessing == "official":
            raise UsageError("The official preprocessing has a size of its own; leave out longest.")
        config = network.config
        self.patch = cast(int, config.patch_size)
        self.longest = LONGEST if longest is None else longest
        if self.longest < self.patch:
            raise UsageError(f"longest is {longest}, but the network needs at least {self.patch} pixels.")
        self.network, self.which, self.preprocessing = network, features, preprocessing
        self.taps = tuple(network.backbone.out_indices)
        self.official_size = origin.official_size
        self.kind = "metric" if config.depth_estimation_type == "metric" else "inverse_relative"
        self.license, self.commercial = origin.license, origin.commercial
        if features == "vit":
            self.levels = (DepthLevel(config.reassemble_hidden_size, self.patch),) * len(self.taps)
        else:
            self.levels = tuple(DepthLevel(config.fusion_hidden_size, self.patch / scale) for scale in (8, 4, 2, 1))
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(3, 1, 1), persistent=False)
        size = "official" if preprocessing == "official" else self.longest
        self.identity = f"{origin.name}/{size}/{features}/{self.kind}/{digest(network)}"

    def forward(self, image: Tensor) -> DepthMap[Tensor]:
        """See :meth:`DepthEstimator.forward`."""
        is_official = self.preprocessing == "official"
        pixels = self._resize(image).to(self.mean.dtype)
        rows, columns = pixels.shape[-2] // self.patch, pixels.shape[-1] // self.patch
        tokens = self._encode((pixels - self.mean) / self.std, rows, columns)
        paths = self.network.neck(tokens, rows, columns)
        near = self.network.head(paths, rows, columns).unsqueeze(1).to(image.dtype)  # (B, 1, h, w)
        near = F.interpolate(near, size=image.shape[-2:], mode="bilinear", align_corners=is_official)
        if self.which == "path":
            return DepthMap(near, self.kind, tuple(reversed(paths)))
        return DepthMap(near, self.kind, tuple(t[:, 1:].mT.unflatten(2, (rows, columns)) for t in tokens))

    def _resize(self, image: Tensor) -> Tensor:
        # the antialiased kernel of a CPU knows no half precision
        image = image if image.dtype in (torch.float32, torch.float64) else image.float()
        if self.preprocessing == "antialiased":
            return at_own_size(image, self.longest, self.patch)
        size = self.official_size(image.shape[-2], image.shape[-1])
        return F.interpolate(image, size=size, mode="bicubic", align_corners=False)

    def _encode(self, pixels: Tensor, rows: int, columns: int) -> list[Tensor]:
        """(B, 3, H, W) to the four (B, 1 + rows * columns, C) that are tapped, normalised."""
        encoder = self.network.backbone
        embeddings = encoder.embeddings
        patches = embeddings.patch_embeddings(pixels)
        tokens = torch.cat((embeddings.cls_token.expand(len(patches), -1, -1), patches), 1)
        tokens = tokens + positions_on(embeddings.position_embeddings, rows, columns)
        tapped = []
        for i, block in enumerate(encoder.encoder.layer):
            tokens = block(tokens)
            if i + 1 in self.taps:
                tapped.append(encoder.layernorm(tokens))
        return tapped


def positions_on(positions: Tensor, rows: int, columns: int) -> Tensor:
    """Position embeddings (1, 1 + side * side, C), the class token's first, resampled to a grid as DINOv2 does."""
    side = round((positions.shape[1] - 1) ** 0.5)
    if rows == columns == side:
        return positions
    grid = positions[:, 1:].mT.unflatten(2, (side, side))
    scale = [(count + OFFSET) / side for count in (rows, columns)]
    grid = F.interpolate(grid.float(), scale_factor=scale, mode="bicubic").to(positions.dtype)
    return torch.cat((positions[:, :1], grid.flatten(2).mT), 1)


def shortest_518(height: int, width: int) -> tuple[int, int]:
    """The official size of Depth Anything V2: both sides multiples of 14 and at least 518.

    >>> shortest_518(1080, 1920)
    (518, 924)
    """
    scale = LONGEST / min(height, width)
    return max(LONGEST, round(height * scale / 14) * 14), max(LONGEST, round(width * scale / 14) * 14)


def build(
    origin: Origin,
    weights: str | Path | None = None,
    features: Features = "vit",
    longest: int | None = None,
    preprocessing: Preprocessing = "antialiased",
) -> DepthAnything:
    """An estimator with its weights.

    Args:
        origin: Which one, and where its weights lie if ``weights`` is ``None``.
        weights: A folder that ``save_pretrained`` wrote, an official file (``.pth`` or ``.safetensors``), or the name
            of a repository on the Hugging Face hub, with a path behind it for one official file in it. What lies in
            the local cache is not loaded again.
        features: See :class:`DepthAnything`.
        longest: See :class:`DepthAnything`.
        preprocessing: See :class:`DepthAnything`.

    Raises:
        WeightsNotFoundError: The weights are not there, or cannot be loaded from the hub.
        WeightsError: They are damaged, or belong to another network.
        MissingDependencyError: transformers is not installed.
        UsageError: An option cannot work.
    """
    try:
        import transformers  # noqa: F401
    except ModuleNotFoundError as error:
        raise MissingDependencyError("transformers", "depth", f"estimate depth with {origin.name}") from error
    path = Path(origin.weights if weights is None else weights)
    if not path.exists():
        path = _from_hub(path.as_posix(), origin)
    network = _of_folder(path, origin) if path.is_dir() else _of_file(path, origin)
    return DepthAnything(network, origin, features, longest, preprocessing)


def from_official(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of the official code under the names of ``transformers``.

    Its one layer for queries, keys and values becomes three.
    """
    separate: dict[str, Tensor] = {}
    for key, tensor in state.items():
        if ".attn.qkv." in key:
            parts = zip("qkv", tensor.chunk(3), strict=True)
            separate |= {key.replace(".qkv.", f".{name}."): part for name, part in parts}
        else:
            separate[key] = tensor
    return rename_keys(separate, KEY_MAP)


def network_config(size: Size) -> Any:
    """Configuration of ``transformers`` for one of the sizes."""
    from transformers import DepthAnythingConfig, Dinov2Config

    encoder = Dinov2Config(
        image_size=LONGEST,
        patch_size=14,
        hidden_size=size.width,
        num_hidden_layers=size.blocks,
        num_attention_heads=size.heads,
        out_indices=list(size.taps),  # type: ignore[call-arg]
        apply_layernorm=True,
        reshape_hidden_states=False,
    )
    return DepthAnythingConfig(
        backbone_config=encoder,
        patch_size=14,
        reassemble_hidden_size=size.width,
        neck_hidden_sizes=list(size.channels),
        fusion_hidden_size=size.fused,
    )


def _of_file(path: Path, origin: Origin) -> DepthAnythingForDepthEstimation:
    """The network with the tensors of an official file."""
    from transformers import DepthAnythingForDepthEstimation

    if "metric" in path.name:
        # nothing in such a file tells it from one of relative depth, but its last layer needs another activation
        raise WeightsError(
            f"{path} is for metric depth by its name; give the folder of its conversion to transformers."
        )
    state = from_official(read_weights(path).tensors)
    _refuse_other_size(state.get("backbone.embeddings.cls_token", torch.empty(0)).shape[-1], path, origin)
    with torch.device("meta"):
        network = DepthAnythingForDepthEstimation(network_config(SIZES[origin.size]))
    expected = {key: tuple(tensor.shape) for key, tensor in network.state_dict().items()}
    mask = "backbone.embeddings.mask_token"  # of the encoder's training only
    state = {mask: torch.zeros(expected[mask]), **state}
    fit = compare(state, expected)
    if not fit.perfect:
        raise WeightsError(f"{path} does not fit {origin.name}: {fit}; give the official file of this network.")
    network = network.to_empty(device="cpu")
    network.load_state_dict(state)
    return network


def _of_folder(folder: Path, origin: Origin) -> DepthAnythingForDepthEstimation:
    """The network that ``save_pretrained`` wrote to a folder."""
    from transformers import DepthAnythingForDepthEstimation
    from transformers.utils import logging

    try:
        facts = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsNotFoundError(
            f"{folder} holds no config.json that can be read; give a folder that save_pretrained wrote, or an official "
            "file."
        ) from error
    if facts.get("model_type") != "depth_anything":
        kind = facts.get("model_type", "something else")
        raise WeightsError(f"{folder} holds {kind}, not depth_anything; give the folder of {origin.name}.")
    _refuse_other_size(facts.get("reassemble_hidden_size", SIZES["small"].width), folder, origin)
    was_shown, verbosity = logging.is_progress_bar_enabled(), logging.get_verbosity()
    try:
        # what it would tell about missing tensors is said below, in one sentence
        logging.set_verbosity_error()
        logging.disable_progress_bar()
        found: Any = DepthAnythingForDepthEstimation.from_pretrained(
            folder, local_files_only=True, dtype=torch.float32, output_loading_info=True
        )
    except Exception as error:  # of many kinds: safetensors', transformers' own, those of its checks of a config
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        raise WeightsError(f"{folder} is damaged or incomplete ({reason}); get its files again.") from error
    finally:
        logging.set_verbosity(verbosity)
        if was_shown:
            logging.enable_progress_bar()
    network, report = found
    missing = sorted(key for key in report["missing_keys"] if not key.endswith("mask_token"))
    if missing:
        raise WeightsError(f"{folder} lacks {len(missing)} tensors ({missing[0]}, ...); get its files again.")
    return network


def _refuse_other_size(width: int, path: Path, origin: Origin) -> None:
    """Weights of another size would run, but under a wrong name and a wrong licence."""
    other = next((name for name, size in SIZES.items() if size.width == width), origin.size)
    if other != origin.size:
        right = origin.name.replace(origin.size, other)
        raise WeightsError(f"{path} holds the {other} network, not the {origin.size} one; use it with {right}.")


def _from_hub(name: str, origin: Origin) -> Path:
    """Folder or file of the Hugging Face hub, from the local cache or by download."""
    from huggingface_hub import snapshot_download

    owner, _, rest = name.partition("/")
    repository, _, file = rest.partition("/")
    is_file = Path(name).suffix in (".pth", ".pt", ".safetensors")
    if not owner or not repository or is_file != bool(file):
        raise WeightsNotFoundError(f"There are no weights {name}; give a folder, a file, or owner/name on the hub.")
    try:
        # for a single file too: the function for those tries again and again for 20 s where there is no network
        wanted = [file] if file else ["config.json", "*.safetensors"]
        path = Path(snapshot_download(f"{owner}/{repository}", allow_patterns=wanted)) / file
        path.stat()
    except Exception as error:  # of many kinds: the hub's own, those of its client for HTTP, those of the system
        what = f"{origin.address} and give that file"
        if name != origin.weights:
            what = f"https://huggingface.co/{owner}/{repository} and give its {'file' if file else 'folder'}"
        raise WeightsNotFoundError(
            f"{name} is neither here nor in the cache of the Hugging Face hub, and cannot be loaded from there; "
            f"download {what} as weights."
        ) from error
    return path
