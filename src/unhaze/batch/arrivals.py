"""Pictures that arrive in a folder: noticed soon, taken when they are whole, at a cost that does not grow with others.

The system tells of changes where it can (``watchfiles``: inotify, FSEvents, ReadDirectoryChangesW). Where it cannot, as
on network folders, the times of the folders are asked for: they change with every file that comes. In both cases all
files are looked at from time to time, at most 1 % of the time, to find what slipped through.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Self

from unhaze.batch.planning import Found, Planner
from unhaze.images.atomic import Signature, signature_of

__all__ = ["EMPTY_LOOKS", "Arrival", "Arrivals"]

EMPTY_LOOKS = 10
"""How many rests an empty file is given before it is reported."""

_SWEEP = 5.0  # looks at all files are at least so far apart where the system tells of changes [s]
_SLICE = 0.02  # how long such a look goes on before files that are at rest are taken [s]
_LISTINGS, _SWEEPS = 0.014, 0.005  # share of a core for folders that are listed, and for looks at all files
_SAVED = 0.5  # how much time can be saved up for a burst of listings [s]
_WAITING = 0.1  # how much waiting for a disk or a network counts, beside computing
_FINE, _COARSE = 0.05, 2.5  # how long two changes of a folder may bear one time, by the steps of its clock [s]
_NETWORK = frozenset(  # and folders that a virtual machine or a container shares with its host
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "glusterfs", "lustre", "beegfs", "gpfs", "gfs2"}
    | {"ocfs2", "orangefs", "davfs", "sshfs", "rclone", "s3fs", "virtiofs", "vboxsf", "vmhgfs", "vmhgfs-fuse"}
    | {"prl_fs", "drvfs", "grpcfuse", "osxfs"}
)
_MOUNTS = Path("/proc/self/mounts")


@dataclass(frozen=True, slots=True)
class Arrival:
    """A file that has come to rest.

    Attributes:
        found: The file.
        signature: How it looked when it was last looked at, before it is read.
    """

    found: Found
    signature: Signature

    @property
    def is_empty(self) -> bool:
        """Whether the file stayed empty."""
        return self.signature[0] == 0


@dataclass(slots=True)
class _Restless:
    """A file that is new or has changed, and since when it looks as it does."""

    found: Found
    signature: Signature
    since: float


class Arrivals:
    """The pictures of a folder that are new or have changed, each as soon as it is at rest.

    Args:
        folder: The folder.
        planner: Says which of its files are pictures.
        rest: How long a file must not change before it is taken [s].
        is_settled: Whether a file needs no work as it is; asked once for each state of a file.
        notify: Whether to let the system tell of changes where it can.
    """

    def __init__(
        self,
        folder: Path,
        planner: Planner,
        rest: float,
        is_settled: Callable[[Path, Signature], bool] = lambda _path, _signature: False,
        *,
        notify: bool = True,
    ) -> None:
        self._folder, self._planner, self._rest, self._is_settled = folder, planner, rest, is_settled
        self._settled: dict[str, Signature] = {}
        self._restless: dict[str, _Restless] = {}
        self._folders: dict[str, tuple[int, set[str]]] = {}  # time of the last change, and the names seen there
        self._again: dict[str, float] = {}  # folders that may have changed twice at one time; when to list them again
        self._sweep: Iterator[None] | None = None  # a look at all files that is under way
        self._next_sweep = 0.0
        self._sweeps, self._listings = _Pace(_SWEEPS, 0.0), _Pace(_LISTINGS, _SAVED)
        # the system tells of changes, but not of those that other machines make
        notify = notify and importlib.util.find_spec("watchfiles") is not None and _file_system(folder) not in _NETWORK
        self._notifier = _Notifier(folder) if notify else None

    @property
    def is_notified(self) -> bool:
        """Whether the system tells of changes."""
        return self._notifier is not None and self._notifier.is_running

    @property
    def restless(self) -> list[Path]:
        """Files that are still changing or have only just been seen."""
        return [each.found.source for each in self._restless.values()]

    def wait(self) -> None:
        """Wait until it is worth while to look again."""
        seconds = self._rest / 4 if self._restless or not self.is_notified else min(1.0, self._rest / 2)
        if not self.is_notified:
            time.sleep(seconds)
            return
        assert self._notifier is not None
        for path in self._notifier.changes(seconds):
            self._notice(path)

    def look(self) -> list[Arrival]:
        """The files that have come to rest since the last look."""
        if not self.is_notified and self._listings.is_due:
            with self._listings:
                self._glance()
        if time.monotonic() >= self._next_sweep and self._sweeps.is_due:
            with self._sweeps:
                self._sweep_on(_SLICE)
        return self._take_rested()

    def sweep(self) -> None:
        """Look at all files."""
        self._sweep = None
        with self._sweeps:
            self._sweep_on(float("inf"))

    def _sweep_on(self, seconds: float) -> None:
        """Go on with a look at all files, or begin one."""
        self._sweep, end = self._sweep or self._look_at_all(), time.monotonic() + seconds
        for _ in self._sweep:
            if time.monotonic() >= end:
                return
        self._sweep = None
        self._next_sweep = time.monotonic() + (_SWEEP if self.is_notified else self._rest)

    def _look_at_all(self) -> Iterator[None]:
        """Look at all files, with a pause after each."""
        there: set[str] = set()
        folders: set[str] = set()
        for folder in self._walk(self._folder):
            folders.add(str(folder))
            for path in self._scan(folder):
                there.add(path)
                yield
        for vanished in self._folders.keys() - folders:
            if not os.path.isdir(vanished):  # noqa: PTH112  it may have come since the look began
                del self._folders[vanished]
        for gone in self._settled.keys() - there:
            if signature_of(gone) is None:
                del self._settled[gone]

    def close(self) -> None:
        """Let the system tell of nothing more."""
        if self._notifier is not None:
            self._notifier.stop()

    # -- what is there ------------------------------------------------------------------------------------------------

    def _walk(self, top: Path) -> Iterator[Path]:
        for here, folders, _ in os.walk(top):
            folder = Path(here)
            folders[:] = sorted(name for name in folders if self._planner.enters(folder / name))
            yield folder

    def _scan(self, folder: Path) -> Iterator[str]:
        """Look at the pictures of one folder, and name each."""
        try:
            changed = _changed(folder)  # before the names are read: what comes meanwhile is seen next time
            with os.scandir(folder) as entries:
                found = {entry.name: entry for entry in entries}
        except OSError:
            return
        before = self._folders.get(str(folder))
        self._folders[str(folder)] = (changed, set(found))
        if before is None or before[0] != changed:
            self._suspect(str(folder), changed)
        prefix = str(folder / "x")[:-1]
        for name, entry in found.items():
            path = prefix + name
            if path not in self._settled and not self._planner.is_picture(name, found):
                continue
            try:
                status = entry.stat()
            except OSError:
                continue
            signature = (status.st_size, status.st_mtime_ns)
            if self._settled.get(path) != signature and path not in self._restless:
                self._meet(folder, name, signature)
            yield path

    def _glance(self) -> None:
        """Look at the times of the folders, and at the names in those that have changed."""
        now = time.monotonic()
        for folder, (before, known) in list(self._folders.items()):
            try:
                changed = _changed(Path(folder))
                if changed != before:
                    self._suspect(folder, changed)
                elif now >= self._again.get(folder, float("inf")) and self._listings.has_spare:
                    del self._again[folder]
                else:
                    continue
                names = set(os.listdir(folder))  # noqa: PTH208  names are what is wanted, and there may be many
            except OSError:
                continue
            self._folders[folder] = (changed, names)
            for name in names - known:
                self._notice(Path(folder, name))

    def _suspect(self, folder: str, changed: int) -> None:
        """Note that a folder can change once more without its time telling, and is to be listed again."""
        if not self.is_notified:
            self._again[folder] = time.monotonic() + (_FINE if changed % 10**9 else _COARSE)

    def _notice(self, path: Path) -> None:
        """Look at one file or folder that may be new or changed."""
        if path.parent != self._folder and not self._is_inside(path.parent):
            return
        if path.is_dir():
            if self._planner.enters(path) and not path.is_symlink():
                for folder in self._walk(path):
                    for _ in self._scan(folder):
                        pass
            return
        if not self._planner.is_picture(path.name, lambda: _names_in(path.parent)):
            return
        signature = signature_of(path)
        if signature is not None and self._settled.get(str(path)) != signature and str(path) not in self._restless:
            self._meet(path.parent, path.name, signature)

    def _is_inside(self, folder: Path) -> bool:
        """Whether a folder is one of those that are watched."""
        for place in (folder, *folder.parents):
            if place == self._folder:
                return True
            if not self._planner.enters(place) or place.is_symlink():
                return False
        return False

    def _meet(self, folder: Path, name: str, signature: Signature) -> None:
        source = folder / name
        if signature_of(source) is None:
            return
        if self._is_settled(source, signature):
            self._settled[str(source)] = signature
            return
        found = Found(source, folder.relative_to(self._folder))
        self._restless[str(source)] = _Restless(found, signature, time.monotonic())

    # -- what is at rest ----------------------------------------------------------------------------------------------

    def _take_rested(self) -> list[Arrival]:
        rested = []
        for path, each in list(self._restless.items()):
            signature, now = signature_of(path), time.monotonic()
            if signature is None:
                del self._restless[path]
            elif signature != each.signature:
                each.signature, each.since = signature, now
            elif now - each.since >= self._rest * (EMPTY_LOOKS if signature[0] == 0 else 1):
                del self._restless[path]
                # settled by how it was before it is read: what is written into it from now on counts as a change
                self._settled[path] = each.signature
                rested.append(Arrival(each.found, each.signature))
        return sorted(rested, key=lambda arrival: str(arrival.found.source))

    def take_all(self) -> list[Arrival]:
        """Look once more, and take all that has not changed since the last look, empty files too."""
        for path, each in list(self._restless.items()):
            if signature_of(path) is None:
                del self._restless[path]
            else:
                each.since = time.monotonic() - EMPTY_LOOKS * self._rest
        return self._take_rested()


class _Pace:
    """Keeps work to a share of the time in the long run; a context manager that is entered to work.

    Computing counts in full, waiting in part: a busy machine shall not make a new picture wait for long, nor shall a
    slow network be asked all the time.

    Args:
        share: Part of the time.
        saved: How much can be saved up in idle times [s].
    """

    def __init__(self, share: float, saved: float) -> None:
        self._share, self._saved = share, saved
        self._credit, self._told = saved, time.monotonic()
        self._start = (0.0, 0.0)

    @property
    def is_due(self) -> bool:
        """Whether there is time for work."""
        return self._balance() >= 0.0

    @property
    def has_spare(self) -> bool:
        """Whether there is time for work that may wait."""
        return self._balance() > self._saved / 2

    def _balance(self) -> float:
        now = time.monotonic()
        self._credit = min(self._saved, self._credit + self._share * (now - self._told))
        self._told = now
        return self._credit

    def __enter__(self) -> Self:
        self._start = (time.thread_time(), time.monotonic())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        computed, begun = self._start
        self._credit = self._balance() - max(time.thread_time() - computed, _WAITING * (time.monotonic() - begun))


def _changed(folder: Path) -> int:
    """When the names in a folder last changed [ns].

    Raises:
        OSError: It cannot be looked at.
    """
    if not hasattr(os, "O_DIRECTORY"):
        return folder.stat().st_mtime_ns
    # to open it asks a network file system for times that are true now
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        return os.fstat(handle).st_mtime_ns
    finally:
        os.close(handle)


def _names_in(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)  # noqa: PTH208  names are what is wanted, and there may be many
    except OSError:
        return []


# -- what the system tells --------------------------------------------------------------------------------------------


def _file_system(folder: Path) -> str | None:
    """The type of the file system that holds a folder, where the system tells."""
    if not sys.platform.startswith("linux"):
        return None
    place = os.path.realpath(folder)
    best, found = "", None
    try:
        lines = _MOUNTS.read_text(errors="surrogateescape").splitlines()
    except OSError:
        return None
    for line in lines:
        _, point, kind, *_ = line.split(" ")
        point = point.replace("\\040", " ")
        if len(point) >= len(best) and (place == point or place.startswith(point.rstrip("/") + "/")):
            best, found = point, kind
    return found.removeprefix("fuse.") if found else None


class _Notifier:
    """Collects what ``watchfiles`` tells, in a thread of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._root = folder, str(folder.absolute())
        self._queue: SimpleQueue[set[str]] = SimpleQueue()
        self._end = threading.Event()
        self.is_running = True
        threading.Thread(target=self._run, name="unhaze-watch", daemon=True).start()

    def stop(self) -> None:
        """End the thread soon."""
        self._end.set()

    def changes(self, timeout: float) -> set[Path]:
        """What changed, waiting for it up to ``timeout`` seconds."""
        paths: set[str] = set()
        try:
            paths |= self._queue.get(timeout=timeout)
            while True:
                paths |= self._queue.get_nowait()
        except Empty:
            pass
        return {self._folder / os.path.relpath(path, self._root) for path in paths}

    def _run(self) -> None:
        from watchfiles import watch

        try:
            for changes in watch(
                self._root,
                watch_filter=None,
                debounce=400,
                step=100,
                rust_timeout=5000,
                stop_event=self._end,
                raise_interrupt=False,
                ignore_permission_denied=True,
                force_polling=False,
            ):
                self._queue.put({path for _, path in changes})
        except (OSError, RuntimeError):  # too many folders for the system, or the folder has gone: they are asked then
            pass
        finally:
            self.is_running = False
