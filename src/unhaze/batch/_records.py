"""How a batch is worked off, and what is told of each of its pictures."""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from unhaze.errors import MissingError, UnhazeError
from unhaze.images.files import DEFAULT_MAX_PIXELS

__all__ = ["BatchOptions", "Record", "Summary", "describe_failure", "failure_record"]

Status = Literal["done", "skipped", "failed"]


@dataclass(frozen=True, slots=True)
class BatchOptions:
    """How a batch is worked off.

    Attributes:
        jobs: How many pictures are worked on at once.
        on_error: Whether a picture that fails is left out (``"skip"``), or no further one is started (``"stop"``).
        metadata: Whether the metadata of the inputs is kept.
        quality: 1 to 100 for formats that lose information; ``None`` keeps the class of the input.
        max_memory: Bytes that all pictures under way may need together; ``None`` is 70 % of what is available.
        max_pixels: Larger pictures are refused before they are decoded; ``None`` for no limit.
    """

    jobs: int = 1
    on_error: Literal["skip", "stop"] = "skip"
    metadata: Literal["keep", "strip"] = "keep"
    quality: int | None = None
    max_memory: int | None = None
    max_pixels: int | None = DEFAULT_MAX_PIXELS


@dataclass(frozen=True, slots=True)
class Record:
    """What became of one input.

    Attributes:
        input: The input, as named or found.
        status: ``"done"``, ``"skipped"`` or ``"failed"``.
        output: The restored picture that was, or would have been, written.
        sides: Further files that were written.
        reason: Why it was skipped or failed, in a sentence.
        error_type: Name of the class of the error; ``None`` unless failed.
        is_missing: Whether it failed for want of something to install.
        trace: Where an error that nobody foresaw came from; not part of the report.
        seconds: Wall time of each phase [s].
        width: Columns [px].
        height: Rows [px].
        notes: What could not be kept of the input, and the like.
        naming: Why the output has not the name one would expect; among the notes of the report.
        haze: Density, share beyond sight, airlight and confidence, see :class:`~unhaze.types.DehazeResult`; empty from
            a network.
        left_alone: Why the picture was left almost as it was, if it was.
    """

    input: str
    status: Status
    output: str | None = None
    sides: tuple[str, ...] = ()
    reason: str | None = None
    error_type: str | None = None
    is_missing: bool = False
    trace: str | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)
    width: int | None = None
    height: int | None = None
    notes: tuple[str, ...] = ()
    naming: str | None = None
    haze: Mapping[str, Any] = field(default_factory=dict)
    left_alone: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """For JSON: the attributes with ``reason`` as ``error`` or ``skipped``."""
        return {
            "input": self.input,
            "output": self.output,
            "sides": list(self.sides),
            "status": self.status,
            "error": self.reason if self.status == "failed" else None,
            "error_type": self.error_type,
            "reason": self.reason if self.status == "skipped" else None,
            "width": self.width,
            "height": self.height,
            "seconds": {phase: round(seconds, 4) for phase, seconds in self.seconds.items()},
            "notes": [*filter(None, [self.naming]), *self.notes],
            "haze": dict(self.haze) or None,
            "left_alone": self.left_alone,
        }


@dataclass(slots=True)
class Summary:
    """How a batch ended: counts, and the records of what failed.

    Attributes:
        not_started: Jobs that were never looked at, after ``on_error="stop"``.
    """

    done: int = 0
    skipped: int = 0
    failures: list[Record] = field(default_factory=list)
    not_started: int = 0

    @property
    def failed(self) -> int:
        """How many failed."""
        return len(self.failures)

    @property
    def only_missing(self) -> bool:
        """Whether there are failures and all are for want of something to install."""
        return bool(self.failures) and all(record.is_missing for record in self.failures)

    def add(self, record: Record) -> None:
        """Count one record."""
        if record.status == "failed":
            self.failures.append(record)
        elif record.status == "done":
            self.done += 1
        else:
            self.skipped += 1


def describe_failure(error: BaseException) -> str:
    """One sentence on why a picture failed; for errors that nobody foresaw, one that says how to learn more."""
    if isinstance(error, UnhazeError):
        return str(error)
    if isinstance(error, MemoryError):
        return "There is not enough memory for this picture; set --max-memory, or close other programs."
    what = f"{type(error).__name__}: {error}".rstrip(": ").splitlines()[0]
    return f"Something unexpected went wrong ({what}); run again with -v to see where, and please report it."


def failure_record(source: str, output: str | None, error: Exception, seconds: Mapping[str, float]) -> Record:
    """What is told of an input that failed."""
    return Record(
        source,
        "failed",
        output,
        reason=describe_failure(error),
        error_type=type(error).__name__,
        is_missing=isinstance(error, MissingError),
        trace=None if isinstance(error, UnhazeError) else "".join(traceback.format_exception(error)),
        seconds=seconds,
    )
