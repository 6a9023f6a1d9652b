"""Any network, any fusion module, any depth estimator: the one place that knows all three.

``create_model("sgdnet+hgdf", depth="depth-anything-v2-small")`` attaches a fusion module to stages of a network (P2,
"Can Large Pretrained Depth Estimation Models Help With Image Dehazing?", Fig. 4). The network is not edited and its
keys stay: ``backbone.*`` and ``fusions.*`` are separate, so that a fusion can be shipped alone. The depth estimator is
no part of the weights.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from unhaze.depth import create_depth
from unhaze.depth.base import DepthEstimator
from unhaze.errors import UnknownNameError, UsageError
from unhaze.fusion import create_fusion, list_fusions
from unhaze.fusion.base import Fusion
from unhaze.models.base import Model, finish, prepare
from unhaze.models.checkpoints.loading import flush_subnormals, load_weights, save_weights
from unhaze.models.checkpoints.reading import WeightsError, WeightsFile, read_weights
from unhaze.models.checkpoints.unfilled import build_unfilled, with_room
from unhaze.models.layers.depth_view import DepthView
from unhaze.models.layers.stage import Runner, run_block
from unhaze.models.networks import create_network, resolve_network
from unhaze.models.sites import DEFAULT_SITES
from unhaze.types import DepthLevel, DepthMap, ImageContract, Restored, Stage

__all__ = ["GuidedDehazer", "GuidedSpec", "create_model", "default_sites", "is_guided", "load_model", "save_model"]

Freeze = Literal["backbone", "none"]
Part = Literal["all", "backbone", "fusions"]
Depth = DepthMap[Tensor] | DepthView | None

_MAP_ALONE = (DepthLevel(1, 1),)


@dataclass(frozen=True, slots=True)
class GuidedSpec:
    """What a guided model is made of; stored with its weights.

    Attributes:
        backbone: Name of the network.
        fusion: Name of the fusion module.
        sites: Stages at which it acts.
        levels: Feature maps that it expects of the depth estimator.
        switches: Arguments of the fusion module that differ from its defaults.
        depth: Name of the estimator it was made with; empty if none.
        depth_options: Arguments of the estimator that differ from its defaults, but for where its weights lie.
        form: Which form of the fusion module it is; files that say nothing hold the first.
    """

    backbone: str
    fusion: str
    sites: tuple[str, ...]
    levels: tuple[DepthLevel, ...] = _MAP_ALONE
    switches: Mapping[str, Any] = field(default_factory=dict)
    depth: str = ""
    depth_options: Mapping[str, Any] = field(default_factory=dict)
    form: int = 1

    @property
    def name(self) -> str:
        """``"<network>+<fusion>"``."""
        return f"{self.backbone}+{self.fusion}"

    def to_json(self) -> str:
        """As one line."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> GuidedSpec:
        """Read what :meth:`to_json` wrote.

        Raises:
            UsageError: It is something else.
        """
        try:
            facts = json.loads(text)
            levels = tuple(DepthLevel(**level) for level in facts.pop("levels"))
            return cls(**facts | {"sites": tuple(facts["sites"]), "levels": levels})
        except (ValueError, TypeError, KeyError) as error:
            raise UsageError("The weights do not say in a readable way which model they belong to.") from error


class GuidedDehazer(nn.Module):
    """A network with depth fused into some of its stages.

    Args:
        backbone: The network.
        fusions: The fusion module, with a site for each stage it acts on.
        estimator: Estimates depth where none is given; kept frozen, in evaluation mode, and out of the state dict.
        freeze: ``"backbone"`` trains the fusion alone: the network gets no gradients, and its normalisations stay in
            evaluation mode.
        spec: What it is made of, for files.
    """

    estimator: DepthEstimator | None

    def __init__(
        self,
        backbone: Model,
        fusions: Fusion,
        estimator: DepthEstimator | None = None,
        *,
        freeze: Freeze = "none",
        spec: GuidedSpec | None = None,
    ) -> None:
        super().__init__()
        if freeze not in ("backbone", "none"):
            raise UnknownNameError("way to freeze", freeze, ("backbone", "none"))
        self.backbone, self.fusions = backbone, fusions
        self.freeze, self.spec = freeze, spec
        # beside the registered modules: an estimator is neither saved nor trained with the model
        self.__dict__["estimator"] = estimator
        if freeze == "backbone":
            backbone.requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True) -> GuidedDehazer:
        """Training or evaluation mode; what is frozen stays in evaluation mode."""
        super().train(mode)
        if self.freeze == "backbone":
            self.backbone.eval()
        if self.estimator is not None:
            self.estimator.eval()
        return self

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> GuidedDehazer:
        super()._apply(fn, recurse)
        if self.estimator is not None:
            self.estimator._apply(fn, recurse)
        return self

    @property
    def stages(self) -> tuple[Stage, ...]:
        """Stages of the network."""
        return self.backbone.stages

    @property
    def contract(self) -> ImageContract:
        """The network's, but for tiles: most fusion modules look at the whole picture."""
        if self.fusions.looks_at_whole:
            return replace(self.backbone.contract, tiling=None)
        return self.backbone.contract

    @property
    def dead(self) -> tuple[str, ...]:
        """Regular expressions of parameters that never reach the output."""
        return tuple(pattern.replace("^", r"^backbone\.", 1) for pattern in self.backbone.dead)

    def forward(self, image: Tensor, depth: DepthView, run: Runner = run_block) -> Restored:
        """Restore an image that already follows :attr:`contract`.

        Args:
            image: (B, 3, H, W) in the network's own range.
            depth: Depth of just this image.
            run: Runs the stages.
        """
        return self.backbone(image, self.fusions.runner(depth, run))

    def restore(self, image: Tensor, depth: Depth = None, run: Runner = run_block, *, prompts: int = 1) -> Restored:
        """Restore an image of any size.

        Args:
            image: (B, 3, H, W) RGB in [0, 1].
            depth: Depth of the image; estimated if ``None``.
            run: Runs the stages.
            prompts: For fusions that compare depth before and after (SelfPromer): how often the restoration is
                prompted by the one before it.

        Returns:
            Images in [0, 1], of the input's size.

        Raises:
            UsageError: There is no depth and no estimator, or the depth has other features than the fusion expects.
        """
        view = self.view_depth(image, depth)
        if not self.fusions.compares or view.restored is not None:
            return self._restore(image, view, run)
        with torch.no_grad():
            restored = self.backbone.restore(image).image
        for i in range(prompts):
            view = self.compare(view, restored)
            with torch.set_grad_enabled(torch.is_grad_enabled() and i == prompts - 1):
                result = self._restore(image, view, run)
            restored = result.image
        return result

    def view_depth(self, image: Tensor, depth: Depth = None) -> DepthView:
        """Depth of an image (B, 3, H, W) in [0, 1], in the form that :meth:`restore` and its tiles take.

        Raises:
            UsageError: There is no depth and no estimator, or the depth has other features than the fusion expects.
        """
        if isinstance(depth, DepthView):
            return depth
        if depth is None:
            depth = self.estimate(image)
        view = DepthView.of(depth)
        if self.spec is not None:
            given = [x.shape[1] for x in view.features]
            wanted = [level.channels for level in self.spec.levels]
            if given != wanted:
                raise UsageError(
                    f"{self.spec.name} was built for depth features of {wanted} channels, but the depth has {given}; "
                    "use the estimator that it was built with, or build it anew."
                )
        return view

    def estimate(self, image: Tensor) -> DepthMap[Tensor]:
        """Depth of an image (B, 3, H, W) in [0, 1] by the estimator.

        Raises:
            UsageError: There is none.
        """
        if self.estimator is None:
            raise UsageError("This model has no depth estimator; give the depth of the picture, or name an estimator.")
        with torch.no_grad():
            return self.estimator(image)

    def compare(self, depth: DepthView, restored: Tensor) -> DepthView:
        """``depth`` together with that of a restoration (B, 3, H, W)."""
        return replace(depth, restored=DepthView.of(self.estimate(restored.clamp(0, 1))))

    def folded(self) -> GuidedDehazer:
        """The same function in the form that runs fastest."""
        backbone = self.backbone.folded()
        if backbone is self.backbone:
            return self
        return GuidedDehazer(backbone, self.fusions, self.estimator, spec=self.spec).train(self.training)

    def _restore(self, image: Tensor, view: DepthView, run: Runner) -> Restored:
        size = (image.shape[-2], image.shape[-1])
        mapped = prepare(image, self.contract)
        whole = view.crop(0, 0, mapped.shape[-2] / size[0], mapped.shape[-1] / size[1])
        return finish(self(mapped, whole, run), self.contract, size)


def is_guided(name: str) -> bool:
    """Whether a name stands for a network with a fusion module: ``"sgdnet+hgdf"``."""
    return "+" in name


def create_model(
    name: str,
    depth: str | DepthEstimator | Sequence[DepthLevel] | None = None,
    *,
    sites: Sequence[str] | None = None,
    freeze: Freeze = "none",
    backbone_weights: str | Path | None = None,
    backbone_options: Mapping[str, Any] | None = None,
    depth_options: Mapping[str, Any] | None = None,
    **switches: Any,
) -> GuidedDehazer:
    """Build a network with a fusion module, with fresh weights; it then does what the network alone does.

    Args:
        name: ``"<network>+<fusion>"``; the variant of the network may be left out where there is only one.
        depth: Name of a depth estimator, an estimator, or the levels of features that will be given with every picture.
            ``None`` expects a depth map alone.
        sites: Stages at which the fusion acts; by default those of P2 (Table 7), see ``unhaze.models.sites``.
        freeze: See :class:`GuidedDehazer`.
        backbone_weights: File with weights of the network.
        backbone_options: Arguments of the network that differ from those of its variant.
        depth_options: Arguments of the estimator, such as ``weights``.
        switches: Parts of the fusion module to leave out.

    Raises:
        UnknownNameError: There is no such network, fusion module, estimator or stage.
        UsageError: An argument does not exist, or the weights do not fit.
        WeightsNotFoundError: Weights are not there.

    >>> import torch
    >>> model = create_model("aodnet+concat")
    >>> depth = DepthMap(torch.rand(1, 1, 8, 8), "inverse_relative")
    >>> model.restore(torch.rand(1, 3, 8, 8), depth).image.shape
    torch.Size([1, 3, 8, 8])
    """
    backbone_name, fusion_name = _parse(name)
    estimator = create_depth(depth, **(depth_options or {})) if isinstance(depth, str) else depth
    chosen = default_sites(backbone_name) if sites is None else tuple(sites)
    spec = GuidedSpec(backbone_name, fusion_name, chosen, switches=dict(switches))
    if isinstance(estimator, DepthEstimator):
        kept = {key: value for key, value in (depth_options or {}).items() if key != "weights"}
        spec = replace(spec, levels=tuple(estimator.levels), depth=estimator.name, depth_options=kept)
    elif estimator is not None:
        spec, estimator = replace(spec, levels=tuple(estimator)), None
    model = _build(spec, estimator, freeze, backbone_options)
    if backbone_weights is not None:
        load_weights(model.backbone, backbone_weights)
    return model


def default_sites(backbone: str) -> tuple[str, ...]:
    """Stages of a network at which depth is fused unless others are named: P2's, or else those of the encoder.

    Args:
        backbone: Name in the catalogue.
    """
    for name in (backbone, backbone.rsplit("-", 1)[0]):
        if name in DEFAULT_SITES:
            return DEFAULT_SITES[name]
    with torch.device("meta"):
        stages = create_network(backbone).stages
    return tuple(stage.name for stage in stages if not stage.name.startswith("dec"))


def save_model(model: GuidedDehazer, path: str | Path, part: Part = "all", *, overwrite: bool = False) -> Path:
    """Write weights as ``.safetensors``, with what is needed to build the model again.

    Args:
        model: Made by :func:`create_model`.
        path: The file to write.
        part: ``"fusions"`` leaves the network out, ``"backbone"`` writes a file of the plain network.
        overwrite: Whether an existing file may be replaced.

    Raises:
        OutputError: The file cannot be written.
    """
    assert model.spec is not None, "only a model by name can be built again from a file"
    if part == "backbone":
        return save_weights(model.backbone.state_dict(), path, model.spec.backbone, overwrite=overwrite)
    state = model.state_dict()
    if part == "fusions":
        state = {key: tensor for key, tensor in state.items() if key.startswith("fusions.")}
    return save_weights(state, path, model.spec.name, {"guided": model.spec.to_json()}, overwrite=overwrite)


def load_model(
    path: str | Path,
    name: str | None = None,
    depth: str | DepthEstimator | None = None,
    *,
    backbone_weights: str | Path | None = None,
    depth_weights: str | Path | None = None,
    without_depth: bool = False,
) -> GuidedDehazer:
    """Build the guided model that a weights file belongs to, and fill it.

    Args:
        path: What :func:`save_model` wrote, with the network or the fusion alone.
        name: What it should be; taken from the file if ``None``.
        depth: Name of a depth estimator, a file with the depth of the one picture to come, or an estimator. That which
            the model was made with if ``None``.
        backbone_weights: Weights of the network; needed where the file holds the fusion alone.
        depth_weights: Weights of the estimator: a file or a folder.
        without_depth: Make no estimator; depth is given with each picture.

    Returns:
        The model, in evaluation mode.

    Raises:
        WeightsNotFoundError: There is no such file.
        WeightsError: The file belongs to something else, or the network's weights are missing.
        UsageError: The estimator gives other features than the model was made for.
    """
    file = read_weights(path)
    if "guided" not in file.metadata:
        if any(key.startswith("fusions.") for key in file.tensors):
            raise WeightsError(
                f"{path} holds tensors of a network with a fusion module, but not which one and how it was built; "
                "write the model with unhaze.models.save_model, which says so."
            )
        raise WeightsError(f"{path} does not hold a network with a fusion module; run it without one.")
    spec = GuidedSpec.from_json(file.metadata["guided"])
    if name is not None and "+".join(_parse(name)) != spec.name:
        raise WeightsError(f"{path} belongs to {spec.name}, not to {name}.")
    estimator: DepthEstimator | None = None
    if without_depth:
        pass
    elif isinstance(depth, DepthEstimator):
        estimator = depth
    elif chosen := depth or spec.depth:
        options = dict(spec.depth_options) if chosen == spec.depth else {}
        estimator = create_depth(chosen, **options, **({} if depth_weights is None else {"weights": depth_weights}))
    if estimator is not None and tuple(estimator.levels) != tuple(spec.levels):
        wanted, given = ([level.channels for level in levels] for levels in (spec.levels, estimator.levels))
        made_with = f" It was made with {spec.depth}." if spec.depth else ""
        raise UsageError(
            f"{spec.name} takes depth features of {wanted} channels, but this estimator gives {given}; "
            f"use one that fits.{made_with}"
        )
    model = with_room(build_unfilled(lambda: _build(spec, estimator, "none", None)))
    if model.spec != spec:
        raise WeightsError(
            f"{path} holds {spec.fusion} in form {spec.form}, of another version of unhaze; this one has form "
            f"{model.fusions.form}, which those weights do not fit. Train it anew, or use that version."
        )
    _fill(model, file, backbone_weights)
    return model.eval()


def _parse(name: str) -> tuple[str, str]:
    """Full names of network and fusion module."""
    backbone, plus, fusion = name.partition("+")
    if not plus:
        raise UsageError(f"{name!r} names no fusion module; write NETWORK+FUSION, for example {name}+hgdf.")
    if fusion not in list_fusions():
        raise UnknownNameError("fusion", fusion, list_fusions())
    return resolve_network(backbone), fusion


def _build(
    spec: GuidedSpec, estimator: DepthEstimator | None, freeze: Freeze, backbone_options: Mapping[str, Any] | None
) -> GuidedDehazer:
    backbone = create_network(spec.backbone, **(backbone_options or {}))
    stages = {stage.name: stage for stage in backbone.stages}
    for site in spec.sites:
        if site not in stages:
            raise UnknownNameError(f"stage of {spec.backbone}", site, stages)
    fusion = create_fusion(spec.fusion, [stages[site] for site in spec.sites], spec.levels, **spec.switches)
    return GuidedDehazer(backbone, fusion, estimator, freeze=freeze, spec=replace(spec, form=fusion.form))


def _fill(model: GuidedDehazer, file: WeightsFile, backbone_weights: str | Path | None) -> None:
    assert model.spec is not None
    state, _ = flush_subnormals(file.tensors)
    missing, unexpected = model.load_state_dict(state, strict=False)
    absent = [key for key in missing if not key.endswith("num_batches_tracked")]
    alone = bool(absent) and all(key.startswith("backbone.") for key in absent)
    if unexpected or (absent and not alone):
        example = (unexpected + absent)[0]
        raise WeightsError(f"{file.path} does not fit {model.spec.name} ({example}); get the file again.")
    if alone and backbone_weights is None:
        raise WeightsError(
            f"{file.path} holds the fusion alone; give weights of {model.spec.backbone} beside it "
            "(--backbone-weights FILE)."
        )
    if backbone_weights is not None:
        load_weights(model.backbone, backbone_weights)
