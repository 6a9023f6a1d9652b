"""The loop around a recipe's step: resume, checkpoints, log, validation, progress. A function, not a base class.

A recipe brings a state that can be stored and three functions; the loop decides nothing about the training itself.
"""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import torch

from unhaze import __version__
from unhaze.errors import UsageError
from unhaze.images.atomic import atomic_output, find_leftovers
from unhaze.images.claims import Claims
from unhaze.training.checkpoint import latest_checkpoint, load_checkpoint, save_checkpoint
from unhaze.training.distributed import is_main
from unhaze.training.logging import JsonLog, TensorBoardLog

__all__ = ["LoopConfig", "Progress", "TrainingState", "run_steps"]


@dataclass(frozen=True, slots=True)
class LoopConfig:
    """How long, and what is written when, in steps.

    Attributes:
        steps: Of the whole training.
        checkpoint_every: Between checkpoints.
        keep: Checkpoints that stay.
        log_every: Between lines of the log.
        validate_every: Between validations; 0 validates at the end only.
        tensorboard: Whether to write TensorBoard files, too.
    """

    steps: int = 1000
    checkpoint_every: int = 250
    keep: int = 2
    log_every: int = 20
    validate_every: int = 0
    tensorboard: bool = False


class TrainingState(Protocol):
    """What a recipe carries from step to step."""

    steps_done: int

    def state_dict(self) -> dict[str, Any]:
        """All that a resumed run needs: tensors, numbers, text, lists and dictionaries."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of :meth:`state_dict`."""
        ...


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a training stands.

    Attributes:
        step: Steps done.
        steps: Steps in all.
        seconds: Since the start or the resumption.
        seconds_left: Estimate; ``None`` in the beginning.
        pictures_per_second: Since the start or the resumption.
        values: Last values of the loss terms.
        validation: Last scores.
    """

    step: int
    steps: int
    seconds: float
    seconds_left: float | None
    pictures_per_second: float
    values: Mapping[str, float]
    validation: Mapping[str, float]


def run_steps(
    state: TrainingState,
    config: LoopConfig,
    *,
    out: str | Path,
    settings: Mapping[str, Any],
    data: Mapping[str, Any],
    advance: Callable[[int], Mapping[str, float]],
    batch: int,
    resume: str | Path | None = None,
    validate: Callable[[int], Mapping[str, float]] | None = None,
    report: Callable[[Progress], None] | None = None,
) -> None:
    """Take steps until the training is done.

    Args:
        state: At step 0; a checkpoint is loaded into it.
        config: How long, and what is written when.
        out: Folder of the run: ``config.json``, ``log.jsonl``, ``checkpoints/`` and what ``validate`` writes.
        settings: Of the recipe, as JSON; a checkpoint of other settings is refused.
        data: Facts on the training data, as JSON; a checkpoint of other data is refused.
        advance: Takes one step, given its number from 0; returns the values of the loss terms.
        batch: Pictures of a step, all processes together.
        resume: ``"auto"`` for the newest whole checkpoint in ``out`` if there is one, or a checkpoint file.
        validate: Scores the network, given the number of steps done.
        report: Called at every line of the log.

    Raises:
        UsageError: ``out`` holds another run, or the checkpoint is of other settings or data, or a loss is no number.
        OutputError: The disk is full, or ``out`` cannot be written to; the last checkpoint is as it was.
    """
    out, settings, data = Path(out), _plain(settings), _plain(data)
    _resume(state, out, settings, data, resume)
    with ExitStack() as stack:
        log = stack.enter_context(_Log(out, state.steps_done, settings, data, config)) if is_main() else None
        _run(state, config, out, settings, data, advance, batch, validate, report, log)


def _run(
    state: TrainingState,
    config: LoopConfig,
    out: Path,
    settings: dict[str, Any],
    data: dict[str, Any],
    advance: Callable[[int], Mapping[str, float]],
    batch: int,
    validate: Callable[[int], Mapping[str, float]] | None,
    report: Callable[[Progress], None] | None,
    log: _Log | None,
) -> None:
    started, first = time.perf_counter(), state.steps_done
    scores: Mapping[str, float] = {}
    while state.steps_done < config.steps:
        values = advance(state.steps_done)
        done = state.steps_done
        last = done == config.steps
        _check(values, done)
        if last or (config.validate_every and done % config.validate_every == 0):
            scores = validate(done) if validate else {}
            if log and scores:
                log.write(done, {f"val_{name}": value for name, value in scores.items()})
        if last or done % config.log_every == 0:
            seconds = time.perf_counter() - started
            rate = seconds / (done - first)
            if log:
                log.write(done, {**values, "pictures_per_second": batch / rate})
            if report and is_main():
                report(
                    Progress(done, config.steps, seconds, rate * (config.steps - done), batch / rate, values, scores)
                )
        if log and (last or done % config.checkpoint_every == 0):
            content = {**state.state_dict(), "config": json.dumps(settings), "data": json.dumps(data)}
            save_checkpoint(out / "checkpoints", done, content, keep=config.keep)


def _check(values: Mapping[str, float], step: int) -> None:
    bad = [name for name, value in values.items() if value != value or abs(value) == float("inf")]
    if bad:
        raise UsageError(
            f"At step {step} {', '.join(bad)} is no number any more; lower the learning rate, clip the gradients "
            "(--set optimizer.clip=1.0), or train with precision fp32, and resume from the last checkpoint."
        )


def _resume(
    state: TrainingState, out: Path, settings: dict[str, Any], data: dict[str, Any], resume: str | Path | None
) -> None:
    path = None if resume is None else latest_checkpoint(out / "checkpoints") if str(resume) == "auto" else Path(resume)
    if path is None:
        _refuse_other_run(out, settings, resume)
        return
    saved = load_checkpoint(path)
    if "config" not in saved or "data" not in saved:
        raise UsageError(f"{path} is no checkpoint of a training; give one that a run has left.")
    if json.loads(saved["config"]) != settings:
        raise UsageError(f"{path} was trained with other settings; resume with the same, or choose another --out.")
    if json.loads(saved["data"]) != data:
        raise UsageError(f"{path} was trained on other pictures; give the same folder, or choose another --out.")
    _refuse_other_run(out, settings, resume)
    state.load_state_dict(saved)


def _refuse_other_run(out: Path, settings: dict[str, Any], resume: str | Path | None) -> None:
    """Keep a run that lies in ``out`` from being written over by another; the main process decides for all.

    Raises:
        UsageError: There is one, and it is not this one.
    """
    if not is_main():  # the files that it would find may be those of this very run
        return
    if resume is None:
        traces = (out / "log.jsonl", out / "config.json", *(out / "checkpoints").glob("step-*.pt"))
        if any(path.exists() for path in traces):
            raise UsageError(f"{out} holds a run already; go on with it by --resume auto, or choose another --out.")
        return
    try:
        found = json.loads((out / "config.json").read_bytes())["config"]
    except (OSError, ValueError, KeyError, TypeError):  # none, or cut off by a crash: the checkpoint has decided
        return
    if found != settings:
        raise UsageError(
            f"{out} holds a run with other settings; give those to go on with it by --resume auto, or choose another "
            "--out."
        )


class _Log:
    """What the main process writes down; a context manager that keeps other trainings out of the folder.

    Raises:
        UsageError: Another training writes to the folder.
        OutputError: It cannot be written to.
    """

    def __init__(
        self, out: Path, steps_done: int, settings: dict[str, Any], data: dict[str, Any], config: LoopConfig
    ) -> None:
        self._claims = Claims()
        if self._claims.acquire(out / "log.jsonl") is None:
            raise UsageError(f"Another training writes to {out}; end it, or choose another --out.")
        try:
            self._begin(out, steps_done, settings, data, config)
        except BaseException:
            self._claims.close()
            raise

    def _begin(
        self, out: Path, steps_done: int, settings: dict[str, Any], data: dict[str, Any], config: LoopConfig
    ) -> None:
        for folder in (out, out / "checkpoints", out / "strips"):
            for leftovers in find_leftovers(folder).values():
                for leftover in leftovers:
                    leftover.unlink(missing_ok=True)
        versions = {"unhaze": __version__, "torch": torch.__version__, "python": platform.python_version()}
        facts = {"config": settings, "data": data, "versions": versions, "threads": torch.get_num_threads()}
        with atomic_output(out / "config.json", overwrite=True) as temporary:
            temporary.write_text(json.dumps(facts, indent=1), "utf-8")
        self._lines = JsonLog(out / "log.jsonl", resume_at=steps_done)
        self._board = TensorBoardLog(out / "tensorboard", steps_done) if config.tensorboard else None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._claims.close()

    def write(self, step: int, values: Mapping[str, float]) -> None:
        self._lines.write(step=step, **values)
        if self._board:
            self._board.write(step, values)


def _plain(facts: Mapping[str, Any]) -> dict[str, Any]:
    """As JSON reads it back."""
    plain: dict[str, Any] = json.loads(json.dumps(facts))
    return plain
