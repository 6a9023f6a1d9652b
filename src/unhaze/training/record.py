"""The folder of a run: what it was started with, its log, its checkpoints, and where it may go on.

A recipe opens a :class:`RunRecord` around its loop and tells it what came of every step::

    with RunRecord(out, config.loop, settings=asdict(config), data=facts, batch=8, resume=resume) as run:
        if run.checkpoint is not None:
            state.load_state_dict(run.checkpoint)
        for batch in batches(...):
            values = step(state, batch, config)
            check_values(values, state.steps_done)
            run.record(state.steps_done, values)
            if run.is_checkpoint(state.steps_done):
                run.save(state.steps_done, state.state_dict())
"""

from __future__ import annotations

import datetime
import json
import logging
import platform
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch

from unhaze import __version__
from unhaze.errors import MissingDependencyError, OutputError, UsageError
from unhaze.images.atomic import atomic_output, find_leftovers
from unhaze.images.claims import Claims
from unhaze.training.checkpoint import latest_checkpoint, load_checkpoint, save_checkpoint
from unhaze.training.distributed import is_main

__all__ = ["JsonLog", "LoopConfig", "RunRecord", "TensorBoardLog", "check_values"]


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


def check_values(values: Mapping[str, float], step: int) -> None:
    """Stop where a term of the loss is infinite or no number.

    Args:
        values: Terms by name.
        step: Steps done.

    Raises:
        UsageError: Naming the terms, and what may help.
    """
    bad = [name for name, value in values.items() if value != value or abs(value) == float("inf")]
    if bad:
        raise UsageError(
            f"At step {step} {', '.join(bad)} is no number any more; lower the learning rate, clip the gradients "
            "(--set optimizer.clip=1.0), or train with precision fp32, and resume from the last checkpoint."
        )


class RunRecord:
    """The folder of a run; a context manager that keeps other trainings out of it.

    Only the main process writes. Every line of the log is also a message of this module's logger, at level INFO.

    Args:
        out: The folder: ``config.json``, ``log.jsonl``, ``checkpoints/`` and what validations write.
        config: How long, and what is written when.
        settings: Of the recipe, as JSON; a checkpoint of other settings is refused.
        data: Facts on the training data, as JSON; a checkpoint of other data is refused.
        batch: Pictures of a step, all processes together.
        resume: ``"auto"`` for the newest whole checkpoint in ``out`` if there is one, or a checkpoint file.

    Attributes:
        checkpoint: Content of the checkpoint to go on from; ``None`` at the start.

    Raises:
        UsageError: ``out`` holds another run or is in use, or the checkpoint is of other settings or data.
        OutputError: ``out`` cannot be written to.
    """

    def __init__(
        self,
        out: str | Path,
        config: LoopConfig,
        *,
        settings: Mapping[str, Any],
        data: Mapping[str, Any],
        batch: int,
        resume: str | Path | None = None,
    ) -> None:
        # as JSON reads them back
        self._settings: dict[str, Any] = json.loads(json.dumps(settings))
        self._data: dict[str, Any] = json.loads(json.dumps(data))
        self._out, self._config, self._batch = Path(out), config, batch
        self._scores: Mapping[str, float] = {}
        self.checkpoint = self._find_checkpoint(resume)
        if is_main():
            self._refuse_other_run(resume)

    def __enter__(self) -> Self:
        self._first = 0 if self.checkpoint is None else int(self.checkpoint["step"])
        self._started = time.perf_counter()
        if is_main():
            self._claims = Claims()
            if self._claims.acquire(self._out / "log.jsonl") is None:
                raise UsageError(f"Another training writes to {self._out}; end it, or choose another --out.")
            try:
                self._begin()
            except BaseException:
                self._claims.close()
                raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if is_main():
            self._claims.close()

    def is_validation(self, step: int) -> bool:
        """Whether this process is to score the network after so many steps: every so often, and at the end."""
        every = self._config.validate_every
        return is_main() and (step == self._config.steps or (every > 0 and step % every == 0))

    def is_checkpoint(self, step: int) -> bool:
        """Whether this process is to write a checkpoint after so many steps: every so often, and at the end."""
        every = self._config.checkpoint_every
        return is_main() and (step == self._config.steps or (every > 0 and step % every == 0))

    def record(self, step: int, values: Mapping[str, float], scores: Mapping[str, float] | None = None) -> None:
        """Log a step, where the settings ask for a line.

        Args:
            step: Steps done.
            values: Terms of the loss by name.
            scores: Of the validation, where there was one; these are always logged.

        Raises:
            OutputError: The disk is full, or the log cannot be written.
        """
        if not is_main():
            return
        if scores:
            self._scores = scores
            self._write(step, {f"val_{name}": value for name, value in scores.items()})
        if step % self._config.log_every and step != self._config.steps:
            return
        rate = (time.perf_counter() - self._started) / (step - self._first)
        self._write(step, {**values, "pictures_per_second": self._batch / rate})
        left = datetime.timedelta(seconds=round(rate * (self._config.steps - step)))
        loss = f", loss {values['loss']:.4g}" if "loss" in values else ""
        found = "".join(f", {name} {value:.4g}" for name, value in self._scores.items())
        logging.getLogger(__name__).info(
            f"step {step} of {self._config.steps}, {left} left, {self._batch / rate:.3g} pictures/s{loss}{found}"
        )

    def save(self, step: int, state: dict[str, Any]) -> None:
        """Write a checkpoint, with the settings and what identifies the data.

        Args:
            step: Steps done.
            state: Tensors, numbers, text, lists and dictionaries.

        Raises:
            OutputError: The disk is full, or the folder cannot be written to; the last checkpoint is as it was.
        """
        content = {**state, "config": json.dumps(self._settings), "data": json.dumps(self._data)}
        save_checkpoint(self._out / "checkpoints", step, content, keep=self._config.keep)

    def _find_checkpoint(self, resume: str | Path | None) -> dict[str, Any] | None:
        """What to go on from; of these settings and these data, or refused."""
        path = latest_checkpoint(self._out / "checkpoints") if str(resume) == "auto" else resume
        if path is None:
            return None
        saved = load_checkpoint(path)
        if "config" not in saved or "data" not in saved:
            raise UsageError(f"{path} is no checkpoint of a training; give one that a run has left.")
        if json.loads(saved["config"]) != self._settings:
            raise UsageError(f"{path} was trained with other settings; resume with the same, or choose another --out.")
        if json.loads(saved["data"]) != self._data:
            raise UsageError(f"{path} was trained on other pictures; give the same folder, or choose another --out.")
        return saved

    def _refuse_other_run(self, resume: str | Path | None) -> None:
        """Keep a run that lies in the folder from being written over by another; the main process decides for all.

        Others would find files of this very run.
        """
        out = self._out
        if resume is None:
            traces = (out / "log.jsonl", out / "config.json", *(out / "checkpoints").glob("step-*.pt"))
            if any(path.exists() for path in traces):
                raise UsageError(f"{out} holds a run already; go on with it by --resume auto, or choose another --out.")
            return
        try:
            found = json.loads((out / "config.json").read_bytes())["config"]
        except (OSError, ValueError, KeyError, TypeError):  # none, or cut off by a crash: the checkpoint has decided
            return
        if found != self._settings:
            raise UsageError(
                f"{out} holds a run with other settings; give those to go on with it by --resume auto, or choose "
                "another --out."
            )

    def _begin(self) -> None:
        """Clear away what a crash has left, write the settings, and open the logs."""
        out = self._out
        for folder in (out, out / "checkpoints", out / "strips"):
            for leftovers in find_leftovers(folder).values():
                for leftover in leftovers:
                    leftover.unlink(missing_ok=True)
        versions = {"unhaze": __version__, "torch": torch.__version__, "python": platform.python_version()}
        facts = {"config": self._settings, "data": self._data, "versions": versions, "threads": torch.get_num_threads()}
        with atomic_output(out / "config.json", overwrite=True) as temporary:
            temporary.write_text(json.dumps(facts, indent=1), "utf-8")
        self._log = JsonLog(out / "log.jsonl", resume_at=self._first)
        self._board = TensorBoardLog(out / "tensorboard", self._first) if self._config.tensorboard else None

    def _write(self, step: int, values: Mapping[str, float]) -> None:
        self._log.write(step=step, **values)
        if self._board:
            self._board.write(step, values)


class JsonLog:
    """A JSONL file that is appended to, one flushed line at a time.

    Args:
        path: The file; folders are made.
        resume_at: Drop lines whose ``step`` is above this: they belong to work that was lost and is done again. Lines
            that a crash has damaged are dropped, too.

    Raises:
        OutputError: The file cannot be read or written.
    """

    def __init__(self, path: str | Path, *, resume_at: int | None = None) -> None:
        self.path = Path(path)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            if resume_at is not None and self.path.exists():
                # drop lines of later steps, and what is no line of a log: the end of one that a crash has cut, or worse
                before = self.path.read_bytes()
                kept = b"".join(line + b"\n" for line in before.splitlines() if _step_of(line) <= resume_at)
                if kept != before:
                    with atomic_output(self.path, overwrite=True) as temporary:
                        temporary.write_bytes(kept)
        except OSError as error:
            raise self._failure(error) from error

    def write(self, **values: Any) -> None:
        """Append one object; floats are rounded to six digits.

        Raises:
            OutputError: The disk is full, or the file cannot be written.
        """
        rounded = {key: float(f"{value:.6g}") if isinstance(value, float) else value for key, value in values.items()}
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(rounded) + "\n")
        except OSError as error:
            raise self._failure(error) from error

    def _failure(self, error: OSError) -> OutputError:
        return OutputError(
            f"The log {self.path} cannot be written ({error.strerror or error}); free some space or mend its "
            "permissions, and go on with --resume auto."
        )


class TensorBoardLog:
    """The same values for TensorBoard.

    Args:
        folder: For its files.
        resume_at: Values of later steps, of work that was lost, are hidden.

    Raises:
        MissingDependencyError: tensorboard is not installed.
    """

    def __init__(self, folder: str | Path, resume_at: int = 0) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ModuleNotFoundError as error:
            raise MissingDependencyError("tensorboard", "tensorboard", "write TensorBoard files") from error
        self._writer = SummaryWriter(str(folder), purge_step=resume_at + 1 if resume_at else None)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Add the values of one step."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()


def _step_of(line: bytes) -> int:
    """The step of a line; a line cut off by a crash belongs to lost work."""
    try:
        return int(json.loads(line).get("step", 0))
    except (ValueError, AttributeError, TypeError):
        return 2**62
