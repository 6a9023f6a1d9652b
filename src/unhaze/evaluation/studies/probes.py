"""What features are taken from: networks, networks with depth, depth estimators, and controls made by hand.

A probe turns a picture into named feature maps. Whatever it is made of, a study only ever sees the maps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from unhaze.default.constants import MULTIPLE, NETWORK_SIZE
from unhaze.depth.base import DepthEstimator, at_own_size
from unhaze.errors import MissingDependencyError, UsageError, WeightsNotFoundError
from unhaze.models.base import Model, prepare
from unhaze.models.guided import GuidedDehazer
from unhaze.models.layers.depth_view import nearness
from unhaze.models.layers.stage import Block, compose, record_stages
from unhaze.models.networks import create_network
from unhaze.restore.engines.onnx import import_onnxruntime
from unhaze.types import DepthMap

__all__ = [
    "FIELD_MODEL",
    "Features",
    "Origin",
    "Probe",
    "control_probes",
    "estimator_probe",
    "field_probe",
    "fused_probe",
    "network_probe",
    "random_network_probe",
]

Features = Mapping[str, Tensor]
"""Stage to (1, C, h, w), in the order in which the stages run."""

Origin = Literal["trained", "random", "none"]
"""Where the numbers of a probe come from: training, a random generator, or the hand that wrote it."""

FIELD_MODEL = "field-m"

_CONTROLS = ("pixels", "gradient", "dark channel", "contrast")

# last block of the field network's encoder at each stride
_ENCODER_STAGES = {2: 0, 4: 2, 8: 4, 16: 10, 32: 14}
_PATCH = 1 / 40  # of the long side: 15 pixels on the 600-pixel pictures of He et al. 2011
_NOISE = 2 / 255  # contrast below which there is nothing but steps of 8 bits


@dataclass(frozen=True, slots=True)
class Probe:
    """A source of features.

    Attributes:
        name: For tables.
        weights: Whether they were trained.
        features: From a picture (1, 3, H, W) in [0, 1] and its depth (1, 1, H, W) [m] to feature maps.
    """

    name: str
    weights: Origin
    features: Callable[[Tensor, Tensor], Features]


def network_probe(network: Model, name: str, weights: Origin = "trained") -> Probe:
    """Stages of a dehazing network, and the picture it restores.

    Args:
        network: In evaluation mode.
        name: For tables.
        weights: Where its weights come from.
    """

    def features(image: Tensor, _depth: Tensor) -> Features:
        seen: dict[str, list[Tensor]] = {}
        restored = network.restore(image, compose(_apart, record_stages(seen)))
        return {**_by_run(seen), "restored": restored.image}

    return Probe(name, weights, features)


def random_network_probe(name: str, seed: int = 0) -> Probe:
    """Stages of a network with fresh weights: the control for what its architecture alone does.

    Args:
        name: In the catalogue.
        seed: Seed of the weights.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = create_network(name).eval()
    return network_probe(network, f"{name} (random)", "random")


def fused_probe(model: GuidedDehazer, name: str) -> Probe:
    """Stages of a dehazing network as its fusion module leaves them, and the picture it restores.

    Args:
        model: In evaluation mode. Its estimator sees the same picture as the network, hazy or clear; without one it
            gets the true depth for both.
        name: For tables.
    """

    def features(image: Tensor, depth: Tensor) -> Features:
        seen: dict[str, list[Tensor]] = {}
        known = None if model.estimator is not None else DepthMap(depth, "metric")
        view = model.view_depth(image, known)
        if model.fusions.compares:
            restored = model.backbone.restore(image).image
            # true depth is that of the restored picture as well
            view = model.compare(view, restored) if known is None else replace(view, restored=view)
        mapped = prepare(image, model.contract)
        height, width = image.shape[-2:]
        whole = view.crop(0, 0, mapped.shape[-2] / height, mapped.shape[-1] / width)
        # outside of the fusion, where it is seen what the next stage gets; a runner given to the model sits inside
        model.backbone(mapped, compose(_apart, record_stages(seen), model.fusions.runner(whole)))
        return {**_by_run(seen), "restored": model.restore(image, view).image}

    return Probe(name, "trained", features)


def estimator_probe(estimator: DepthEstimator, name: str, weights: Origin = "trained") -> Probe:
    """Feature maps of a depth estimator, fine to coarse, and its depth as nearness in [0, 1]."""

    def features(image: Tensor, _depth: Tensor) -> Features:
        found = estimator(image)
        maps = {f"feature{i}": each for i, each in enumerate(found.features, 1)}
        return {**maps, "nearness": nearness(found.map, found.kind)}

    return Probe(name, weights, features)


def field_probe(weights: str | Path | None = None) -> Probe:
    """Stages of the field network, which is trained and ships with unhaze as ONNX.

    Args:
        weights: ONNX file of a field network; the one that ships with unhaze if ``None``.

    Raises:
        WeightsNotFoundError: There is no such file.
        UsageError: The file is no field network.
        MissingDependencyError: onnx is not installed.
    """
    path = Path(weights) if weights else Path(str(files("unhaze.default") / f"{FIELD_MODEL}.onnx"))
    if not path.is_file():
        raise WeightsNotFoundError(f"There is no network {path}; check the path, or install unhaze again.")
    session, stages = _open_field(path)

    def features(image: Tensor, _depth: Tensor) -> Features:
        view = at_own_size(image.float(), NETWORK_SIZE, MULTIPLE).clamp(0, 1).contiguous().numpy()
        found = session.run(list(stages.values()), {"view": view})
        return {stage: torch.from_numpy(each) for stage, each in zip(stages, found, strict=True)}

    return Probe(FIELD_MODEL, "trained", features)


def control_probes() -> tuple[Probe, ...]:
    """Features made by hand, from what haze changes most to what it hardly changes.

    ``pixels``; ``gradient`` of each channel; ``dark channel`` (He et al. 2011, Eq. 5), which is near 0 without haze;
    ``contrast``: luminance less its local mean, over its local deviation. Even haze scales and shifts a small
    neighbourhood, and both cancel in the last one.
    """
    return tuple(Probe(name, "none", partial(_control, name)) for name in _CONTROLS)


def _apart(_name: str, block: Block, x: Tensor, /) -> Tensor:
    """Hands a copy on: a later stage that works in place must not change what was recorded."""
    return block(x).clone()


def _by_run(seen: Mapping[str, list[Tensor]]) -> dict[str, Tensor]:
    """One name for each output: ``enc1``, and ``enc1#2`` where a stage ran twice."""
    return {
        name if i == 0 else f"{name}#{i + 1}": output
        for name, outputs in seen.items()
        for i, output in enumerate(outputs)
    }


def _open_field(path: Path) -> tuple[Any, dict[str, str]]:
    """A session that gives the stages of a field network, and stage to name of its output."""
    try:
        import onnx

        onnxruntime = import_onnxruntime()
    except ImportError as error:
        raise MissingDependencyError("onnx", "train", "read the stages of the field network") from error
    try:
        model = onnx.load(path)
    except Exception as error:  # what it raises on damaged files is not its own
        raise UsageError(f"{path} is no ONNX network, or a damaged one; give a field network.") from error
    # the output of a stage is what its last convolution gives, after its rectifier or its shortcut
    last: dict[str, str] = {}
    for node in model.graph.node:
        parts = node.input[1].split(".") if node.op_type == "Conv" else []
        if parts[:3] == ["network", "encoder", "blocks"]:
            stride = next(stride for stride, block in _ENCODER_STAGES.items() if int(parts[3]) <= block)
            last[f"enc{stride}"] = node.output[0]
        elif parts[:1] == ["network"] and parts[1].startswith("dec") and parts[2] == "block":
            last[parts[1]] = node.output[0]
    followers = (node for node in model.graph.node if node.op_type in ("Relu", "Add"))
    follower = {name: node.output[0] for node in followers for name in node.input}
    stages = {stage: follower.get(name, name) for stage, name in last.items()}
    if not stages:
        raise UsageError(f"{path} is another kind of network; give a field network.")
    model.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in stages.values())
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"]), stages


def _control(name: str, image: Tensor, _depth: Tensor) -> Features:
    if name == "pixels":
        return {name: image}
    if name == "gradient":  # forward differences, (B, 6, H, W)
        padded = F.pad(image, (0, 1, 0, 1), mode="replicate")
        return {name: torch.cat((padded[..., :-1, 1:] - image, padded[..., 1:, :-1] - image), 1)}
    radius = max(1, round(_PATCH * max(image.shape[-2:]) / 2))
    window = (2 * radius + 1, 1, radius)  # side, stride and padding: around every pixel
    if name == "dark channel":
        return {name: -F.max_pool2d(-image.amin(1, keepdim=True), *window)}
    gray = image.mean(1, keepdim=True)
    mean, square = (F.avg_pool2d(x, *window, count_include_pad=False) for x in (gray, gray.square()))
    deviation = (square - mean.square()).clamp(min=0).sqrt()
    return {name: (gray - mean) / (deviation + _NOISE)}
