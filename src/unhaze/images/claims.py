"""Claims: which of several processes, on one machine or on several with a shared folder, makes a file.

A claim is a small hidden file beside the output, ``.NAME.claim``, that only one process can create. Its holder touches
it as long as it lives. A claim whose holder has died is taken over: at once where the death can be seen, else when it
was not touched for :data:`STALE_AFTER` seconds by the clock of the file system. To take one over is to create the next
generation, ``.NAME.claim.1``, which again only one process can do; nobody deletes what another might hold.

Nothing but exclusive creation, reading, time stamps and deletion is asked of the file system, so that network folders
will do.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import socket
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from unhaze.errors import OutputError
from unhaze.images.atomic import make_folder, temporary_path

__all__ = ["STALE_AFTER", "Claim", "Claims", "claim_path"]

STALE_AFTER = 120.0
"""A claim that was not touched for so long [s] is taken over. Network file systems report times up to a minute late."""

_BEAT = 10.0  # between touches [s]
_LONGEST_STEM = 255 - len("..claim.123") - 17  # room for a digest that keeps shortened names apart
_TRIES = 20
_LONGEST_SETTLING = 10.0  # how long claims that other threads make or give up are waited for at the end [s]


def claim_path(output: Path, generation: int = 0) -> Path:
    """Where the claim on ``output`` lies.

    >>> claim_path(Path("out/a.jpg")).as_posix()
    'out/.a.jpg.claim'
    """
    name = os.fsencode(output.name)
    stem = output.name
    if len(name) > _LONGEST_STEM:
        digest = hashlib.blake2b(name, digest_size=8).hexdigest()
        stem = f"{name[:_LONGEST_STEM].decode(errors='ignore')}-{digest}"
    return output.with_name(f".{stem}.claim{f'.{generation}' if generation else ''}")


@dataclass(frozen=True, slots=True)
class Claim(contextlib.AbstractContextManager["Claim"]):
    """The right to make ``output``; a context manager that gives it up.

    Attributes:
        output: The file that is claimed.
        generation: How many holders died before.
        token: Tells this claim from all others.
        made: Folders that were made for it, the innermost first.
    """

    output: Path
    generation: int
    token: str
    made: tuple[Path, ...]
    _board: Claims = field(repr=False)

    def holds(self) -> bool:
        """Whether the claim is still ours: a process that slept for long may have been taken for dead."""
        mine = _read(claim_path(self.output, self.generation))
        return (
            mine is not None and mine.token == self.token and not claim_path(self.output, self.generation + 1).exists()
        )

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._board.release(self)


class Claims(contextlib.AbstractContextManager["Claims"]):
    """The claims of this process; safe to share between threads. A context manager that gives up all of them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._settled = threading.Condition(self._lock)
        self._unsettled = 0  # claims that are being made or given up right now
        self._held: dict[str, Claim] = {}
        self._end = threading.Event()
        self._heart: threading.Thread | None = None

    def acquire(self, output: Path) -> Claim | None:
        """Claim ``output``, or return ``None`` while another process holds it, or once closed. Its folder is made.

        Raises:
            OutputError: The folder cannot be made or written to.
        """
        with self._unsettled_stretch():
            if self._end.is_set():
                return None
            made = make_folder(output.parent)
            try:
                claim = self._create(output, tuple(made))
            except OSError as error:
                reason = error.strerror or error
                raise OutputError(
                    f"The folder {output.parent} cannot be written to ({reason}); choose another, or free some space."
                ) from error
            if claim is None:
                return None
            with self._lock:
                self._held[claim.token] = claim
                if self._heart is None:
                    self._heart = threading.Thread(target=self._beat, name="unhaze-claims", daemon=True)
                    self._heart.start()
            return claim

    def release(self, claim: Claim) -> None:
        """Give a claim up; one that was given up or lost before is left alone."""
        with self._unsettled_stretch():
            with self._lock:
                if self._held.pop(claim.token, None) is None:
                    return
            if claim.holds():
                # the oldest first: whoever still sees an old generation must find ours, not make it anew
                for generation in range(claim.generation + 1):
                    with contextlib.suppress(OSError):
                        claim_path(claim.output, generation).unlink()
            for folder in claim.made:  # only those that stayed empty go
                with contextlib.suppress(OSError):
                    folder.rmdir()

    @contextlib.contextmanager
    def _unsettled_stretch(self) -> Iterator[None]:
        with self._lock:
            self._unsettled += 1
        try:
            yield
        finally:
            with self._settled:
                self._unsettled -= 1
                self._settled.notify_all()

    def close(self) -> None:
        """Give up all claims; on return no file of theirs is left, also of those that other threads were giving up."""
        self._end.set()
        with self._settled:
            self._settled.wait_for(lambda: not self._unsettled, timeout=_LONGEST_SETTLING)
            held = list(self._held.values())
        for claim in held:
            self.release(claim)
        if self._heart is not None:
            self._heart.join(1.0)

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _create(self, output: Path, made: tuple[Path, ...]) -> Claim | None:
        token = secrets.token_hex(8)
        content = json.dumps({**_facts_of(os.getpid()), "token": token}).encode()
        dead: list[str] = []  # tokens of the generations whose holders have died
        failure: OSError | None = None  # of the last try
        for _ in range(_TRIES):
            generation = len(dead)
            path = claim_path(output, generation)
            try:
                handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
            except FileNotFoundError as error:
                make_folder(output.parent)  # its last holder has just removed it for being empty
                failure = error
                continue
            except FileExistsError:
                failure = None
                holder = _read(path)
                if holder is None:  # given up in this moment
                    dead.clear()
                    continue
                if holder.is_alive(output):
                    return None
                dead.append(holder.token)
                continue
            with os.fdopen(handle, "wb", buffering=0) as file:
                file.write(content)
            below = [_read(claim_path(output, older)) for older in range(generation)]
            if [holder.token if holder else None for holder in below] != dead:
                path.unlink(missing_ok=True)  # the dead were cleared away while we looked: begin again
                dead.clear()
                continue
            later = claim_path(output, generation + 1)
            above = _read(later)
            if above is not None and above.is_alive(output):
                path.unlink(missing_ok=True)
                return None
            later.unlink(missing_ok=True)  # what a dead one left: nobody can build on it, its foundation is ours
            return Claim(output, generation, token, made, self)
        if failure is not None:  # no file can be made there, whatever the folder says
            raise failure
        return None

    def _beat(self) -> None:
        while not self._end.wait(_BEAT):
            with self._lock:
                held = list(self._held.values())
            for claim in held:
                with contextlib.suppress(OSError):
                    os.utime(claim_path(claim.output, claim.generation))


@dataclass(frozen=True, slots=True)
class _Holder:
    """What a claim says of its holder; nothing but its time where it is empty or damaged."""

    token: str
    facts: dict[str, Any]
    touched: float

    def is_alive(self, output: Path) -> bool:
        pid = self.facts.get("pid")
        here = _facts_of(pid if isinstance(pid, int) else None)
        if here["place"] is not None and self.facts.get("place") == here["place"]:
            return here["started"] is not None and here["started"] == self.facts.get("started")
        # the clock that stamps files in the folder of the output may be another machine's
        probe = temporary_path(output)
        try:
            return probe.stat().st_mtime - self.touched < STALE_AFTER
        finally:
            probe.unlink(missing_ok=True)


def _read(path: Path) -> _Holder | None:
    try:
        with path.open("rb") as file:  # to open asks a network file system for times that are true now
            facts, touched = file.read(4096), os.fstat(file.fileno()).st_mtime
    except OSError:
        return None
    try:
        found = json.loads(facts)
    except ValueError:
        found = {}
    found = found if isinstance(found, dict) else {}
    return _Holder(str(found.get("token", f"unknown, {touched}")), found, touched)


def _facts_of(pid: int | None) -> dict[str, Any]:
    """What tells a process of this machine from all others; nothing has started where there is none."""
    place = None  # what process numbers are counted in: this boot of this machine, or a container on it
    if sys.platform.startswith("linux"):
        with contextlib.suppress(OSError):
            boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
            place = f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    started = None  # when it began, in ticks since the boot: numbers of processes are used again
    with contextlib.suppress(OSError, ValueError, IndexError):
        started = int(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[19])
    return {"host": socket.gethostname(), "pid": pid, "place": place, "started": started}
