"""A trained student that goes on with photographs of real haze, without targets, as CoA's third stage does.

Ma, Feng, Zhang, Liu, Fan, Liu, "CoA: Towards Real Image Dehazing via Compression-and-Adaptation", CVPR 2025; official
code YanZhang-zy/CoA at f94b8c4, ``EMA.py``. The first stages are the presets ``coa-teacher-its`` and
``coa-student-its``.

Student and teacher begin as one network. The student is pulled to what the teacher makes of the same picture (L1) and
to a text of clear pictures, away from one of hazy pictures (:mod:`unhaze.losses.text`, 0.5). After every
``teacher_every`` steps the teacher takes 0.05 of the student's weights; its buffers stay, as in the official code. The
student is what is written.

Any data set serves: of each sample the hazy picture alone is looked at. ``data.dataset=photographs`` takes a folder of
photographs; scores are then against the photographs themselves, and say how much was changed, not how well.

A run is a function of its configuration and of the weights it begins with; resuming is exact, as in ``supervised``.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from unhaze.data.batch import Batch
from unhaze.errors import UsageError, WeightsNotFoundError
from unhaze.losses.text import TextLoss, load_clip
from unhaze.models.base import Model
from unhaze.models.checkpoints.loading import save_weights
from unhaze.models.layers.device import choose_device
from unhaze.models.networks import create_network, resolve_network
from unhaze.recipes import supervised
from unhaze.recipes.supervised import describe, inspect
from unhaze.training.distributed import average_values, is_main, join_processes, leave_processes
from unhaze.training.pairs import batches, data_facts, open_data, random_batch
from unhaze.training.record import RunRecord, check_values
from unhaze.training.state import NetworkState, estimate_cost, place
from unhaze.training.steps import autocast, descend, rate_factor, set_rate
from unhaze.training.validation import score_network

__all__ = ["Config", "State", "describe", "inspect", "main", "rehearse", "setup", "step", "train"]


@dataclass(frozen=True, slots=True)
class Config(supervised.Config):
    """Everything a run depends on, data apart; see also :class:`unhaze.recipes.supervised.Config`.

    Attributes:
        weights: The student of the second stage, without which there is nothing to adapt.
        clip: Folder with a CLIP model and its tokeniser, as transformers saves them.
        texts: In words, the wanted one first. The authors' learnt prompts are not public; these words are ours.
        prompts: File with learnt prompts, in the place of ``texts``.
        nearness: Weight of the distance to the teacher's picture.
        text: Weight of the text loss; 0 leaves CLIP out.
        teacher_every: Steps between two updates of the teacher.
        teacher_decay: Share of its own weights that it keeps.
        accumulate: Must be 1.
    """

    network: str = "coa-train_rb1"
    clip: str = ""
    texts: tuple[str, ...] = ("a clear photo", "a hazy photo")
    prompts: str = ""
    nearness: float = 1.0
    text: float = 0.5
    teacher_every: int = 1000
    teacher_decay: float = 0.95


@dataclass(slots=True, kw_only=True)
class State(NetworkState[Model]):
    """A training at some step.

    Attributes:
        teacher: An average of the student's weights at a few steps; in checkpoints.
        language: Text loss with CLIP in it, from its files; ``None`` without weight.
    """

    teacher: Model
    language: TextLoss | None

    def state_dict(self) -> dict[str, Any]:
        """All that a resumed run needs."""
        return NetworkState.state_dict(self) | {"teacher": self.teacher.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of :meth:`state_dict`."""
        self.teacher.load_state_dict(state["teacher"])
        NetworkState.load_state_dict(self, state)


def setup(config: Config, *, fresh: bool = False) -> State:
    """A training at step 0.

    Args:
        config: All settings.
        fresh: Whether an untrained student and no CLIP will do, to tell the time.

    Raises:
        WeightsNotFoundError: No student or no CLIP is given, or there is no such file.
        UsageError: A setting cannot work.
    """
    if config.accumulate != 1:
        raise UsageError("The recipe adaptation cannot cut batches into parts; take --set accumulate=1.")
    if not (config.weights or fresh):
        raise WeightsNotFoundError(
            "There is nothing to adapt without a trained student; name its weights with --set weights=FILE, or train "
            "one with the preset coa-student-its."
        )
    if config.text and not config.clip and not fresh:
        raise WeightsNotFoundError(
            "The text loss needs CLIP; name the folder of openai/clip-vit-base-patch32 or another one with "
            "--set clip=FOLDER."
        )
    begun, device = supervised.setup(config), choose_device(config.device)
    teacher = create_network(resolve_network(config.network))
    teacher.load_state_dict(begun.network.state_dict())
    language = None
    if config.text and config.clip:
        language = load_clip(config.clip, config.texts, config.prompts or None).to(device)
    frozen = place(teacher, device).eval().requires_grad_(False)
    return State(begun.network, begun.average, begun.optimizer, begun.scaler, teacher=frozen, language=language)


def step(state: State, batch: Batch, config: Config) -> dict[str, float]:
    """One optimiser step of the student; the values of the loss terms, means over all processes."""
    set_rate(state.optimizer, config.optimizer.lr * rate_factor(config.schedule, state.steps_done, config.steps))
    device = choose_device(config.device)
    hazy = batch.to(device).hazy
    with autocast(device, config.precision):
        restored = state.network.restore(hazy).image.float()
        with torch.no_grad():
            taught = state.teacher.restore(hazy).image.float()
    terms: dict[str, Tensor] = {"nearness": config.nearness * F.l1_loss(restored, taught)}
    if state.language is not None:
        terms["text"] = config.text * state.language(restored)
    total = torch.stack(list(terms.values())).sum()
    state.scaler.scale(total).backward()
    norm = descend(state.optimizer, state.scaler, state.network.parameters(), config.optimizer.clip)
    state.average.update(state.network)
    state.steps_done += 1
    if state.steps_done % config.teacher_every == 0:
        teach(state, config)
    return average_values({"loss": total, **terms, "norm": norm})


@torch.no_grad()
def teach(state: State, config: Config) -> None:
    """Move the teacher's weights towards the student's."""
    for kept, new in zip(state.teacher.parameters(), state.network.parameters(), strict=True):
        kept.lerp_(new, 1 - config.teacher_decay)


def train(config: Config, data: str | Path, out: str | Path, *, resume: str | Path | None = None) -> State:
    """Train from the newest checkpoint on, or from the start; see :func:`unhaze.recipes.supervised.train`."""
    device = choose_device(config.device)
    join_processes(device)
    state = setup(config)
    dataset, held_out = open_data(config.data, data, config.seed)
    settings, facts = asdict(config), data_facts(dataset, config.data)
    with RunRecord(out, config.loop, settings=settings, data=facts, batch=config.data.batch, resume=resume) as run:
        if run.checkpoint is not None:
            state.load_state_dict(run.checkpoint)
        for batch in batches(dataset, config.data, seed=config.seed, first=state.steps_done, steps=config.steps):
            values = step(state, batch, config)
            done, scores = state.steps_done, None
            check_values(values, done)
            if run.is_validation(done):
                strips = Path(out) / "strips" / f"step-{done:07d}.png"
                scores = score_network(state.average.network, held_out, config.protocol, device, strips)
            run.record(done, values, scores)
            if run.is_checkpoint(done):
                run.save(done, state.state_dict())
    leave_processes()
    return state


def main(config: Config, data: str | Path, out: str | Path, *, resume: str | Path | None = None) -> Path:
    """Train, and write the student's averaged weights as ``weights.safetensors`` into ``out``; its path."""
    state = train(config, data, out, resume=resume)
    path = Path(out) / "weights.safetensors"
    if is_main():
        save_weights(state.average.network.state_dict(), path, resolve_network(config.network), overwrite=True)
    return path


def rehearse(config: Config) -> dict[str, float]:
    """Time and memory from two steps on noise; CLIP counts only where it is given."""
    state, batch = setup(config, fresh=True), random_batch(config.data)
    step(state, batch, config)
    started = time.perf_counter()
    step(state, batch, config)
    return estimate_cost(time.perf_counter() - started, config.steps)
