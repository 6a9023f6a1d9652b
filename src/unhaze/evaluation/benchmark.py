"""Scores whole folders, in parallel and resumably, and keeps what every score was made from.

The work is a list of cases (one picture of one run), each with a key: the hashes of the files that go in, the protocol
and the code that scores. Scores are appended to ``records.jsonl`` as they come; a case whose key is there is not
scored again. So a benchmark that was killed goes on where it stopped, and ends with the same report.
"""

from __future__ import annotations

import contextlib
import json
import os
import posixpath
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from multiprocessing import connection, get_context, parent_process
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from unhaze.data.pairing import Listing, Pairing, list_pictures, pair_names
from unhaze.errors import ImageError, OutputError, UnhazeError, UsageError, WeightsNotFoundError
from unhaze.evaluation.protocols import TARGET_RULES, get_protocol
from unhaze.evaluation.provenance import HAZE_MODEL_CODE, NETWORK_CODE, code_hash, hash_bytes, hash_file, manifest_hash
from unhaze.evaluation.scoring import Scores, read_batch, resolve_metrics, score_picture
from unhaze.images.files import READ_SUFFIXES, identify
from unhaze.images.manifest import ReportWriter, read_report
from unhaze.restore.machine import available_memory

if TYPE_CHECKING:
    from torch import Tensor

    from unhaze.evaluation.protocols import Protocol
    from unhaze.restore.dehazer import Dehazer

__all__ = [
    "Benchmark",
    "Case",
    "Failure",
    "Outcome",
    "Plan",
    "Run",
    "dataset_folders",
    "dataset_pairs",
    "make_folder",
    "plan_benchmark",
    "restored_picture",
    "run_benchmark",
]

RECORDS_FILE, TIMINGS_FILE = "records.jsonl", "timings.jsonl"

_HAZY_FOLDERS, _CLEAR_FOLDERS = ("hazy", "haze"), ("gt", "clear", "clean", "target")
_FEWEST_FOR_POOL = 16  # a worker takes seconds to start
_SHARE_OF_MEMORY = 0.7
_WEIGHTS_OPTIONS = ("weights", "backbone_weights", "depth_weights")


@dataclass(frozen=True, slots=True)
class Run:
    """Something to score: a folder of results, or a model.

    Attributes:
        label: Name in tables.
        results: Folder of restored pictures; ``None`` for what unhaze restores itself.
        model: Name from ``unhaze.list_models``, or ``"NETWORK+FUSION"``; ``None`` for a folder.
        options: Options of :class:`unhaze.Dehazer`; a network needs ``weights``.
    """

    label: str
    results: Path | None = None
    model: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_network(self) -> bool:
        """Whether the model is a network, filled from weights that are named."""
        from unhaze.models.catalogue import finds_haze

        return self.model is not None and not finds_haze(self.model)

    def weights(self) -> dict[str, str]:
        """SHA-256 of the files that a network is filled from, by option; of a folder, that of its listing."""
        given = {name: self.options.get(name) for name in _WEIGHTS_OPTIONS}
        return {name: _hash_weights(Path(path)) for name, path in given.items() if path is not None}

    def portable_options(self) -> dict[str, Any]:
        """The options without the folders that files lie in."""
        return {name: Path(value).name if isinstance(value, Path) else value for name, value in self.options.items()}


@dataclass(frozen=True, slots=True)
class Benchmark:
    """What to score and how.

    Attributes:
        runs: At least one, with different labels.
        targets: Folder of clear pictures.
        hazy: Folder of hazy pictures; needed for models.
        protocol: Name of a protocol.
        metrics: Names of metrics; ``None`` for those of the protocol.
        target_rule: Name from :data:`~unhaze.evaluation.protocols.TARGET_RULES`.
        pairing: Rule that pairs results with targets, see :mod:`unhaze.data.pairing`.
        limit: Score only the first so many pictures of each run; ``None`` for all.
        pairs: (hazy, target) below ``hazy`` and ``targets``, where a layout says which belong together; results are
            then named as the hazy pictures. ``None`` for all pictures of both folders, by ``pairing``.
    """

    runs: tuple[Run, ...]
    targets: Path | None = None
    hazy: Path | None = None
    protocol: str = "full8bit"
    metrics: tuple[str, ...] | None = None
    target_rule: str = "equal"
    pairing: str = "auto"
    limit: int | None = None
    pairs: tuple[tuple[str, str], ...] | None = None


@dataclass(frozen=True, slots=True)
class Case:
    """One picture of one run.

    Attributes:
        run: The run.
        name: Name of the result (of the hazy picture for a method), relative to its folder, without suffix.
        scene: Name of the target, which hazy versions of one scene share; the own name where there is none.
        result, target, hazy: Files; ``None`` where there is none.
        key: What the scores depend on, as a hash.
    """

    run: Run
    name: str
    scene: str
    result: Path | None
    target: Path | None
    hazy: Path | None
    key: str


@dataclass(frozen=True, slots=True)
class Failure:
    """A picture that could not be scored, and why."""

    run: str
    name: str
    message: str


@dataclass(frozen=True, slots=True)
class Plan:
    """All that is decided before anything is scored.

    Attributes:
        benchmark: What was asked for.
        protocol: The protocol.
        metrics: Metrics that will be computed.
        unavailable: Metrics of the protocol that will not be, and why.
        cases: All cases, by run and name.
        failures: Pictures that no case could be made of.
        pairings: Label -> how its pictures were paired with targets.
        notes: Sentences for the report.
        inputs: (role, name of the folder, name of the file -> SHA-256).
    """

    benchmark: Benchmark
    protocol: Protocol
    metrics: tuple[str, ...]
    unavailable: Mapping[str, str]
    cases: tuple[Case, ...]
    failures: tuple[Failure, ...]
    pairings: Mapping[str, Pairing]
    notes: tuple[str, ...]
    inputs: tuple[tuple[str, str, Mapping[str, str]], ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """All scores.

    Attributes:
        plan: What was planned.
        scores: Case key -> scores.
        failures: Those of the plan and pictures that failed while being scored, by run and name.
        reused: Cases whose scores were there already.
    """

    plan: Plan
    scores: Mapping[str, Scores]
    failures: tuple[Failure, ...]
    reused: int

    def scored(self, label: str) -> list[tuple[Case, Scores]]:
        """Cases of a run that have scores, by name."""
        return [
            (case, self.scores[case.key])
            for case in self.plan.cases
            if case.run.label == label and case.key in self.scores
        ]


def dataset_folders(data: Path) -> tuple[Path, Path | None]:
    """Folders of hazy and clear pictures below a data set's folder.

    Knows ``hazy/`` beside ``gt/`` (or ``clear/``, ``clean/``, ``target/``), in any case, in the folder itself or in
    exactly one folder below (RESIDE: ``SOTS/indoor/hazy``). A folder of pictures alone is hazy without ground truth.

    Raises:
        UsageError: No such folder, no layout that is known, or several data sets, which are named.
    """
    if not data.is_dir():
        raise UsageError(f"{data} is not a folder; give the folder of a data set.")
    candidates = [data, *sorted(path for path in data.rglob("*") if path.is_dir())]
    found = [(hazy, folder) for folder in candidates if (hazy := _child(folder, _HAZY_FOLDERS)) is not None]
    if len(found) > 1:
        names = ", ".join(folder.relative_to(data).as_posix() for _, folder in found)
        raise UsageError(f"{data.name} holds several data sets ({names}); give the folder of one.")
    if found:
        hazy, folder = found[0]
        return hazy, _child(folder, _CLEAR_FOLDERS)
    if any(path.suffix.lower() in READ_SUFFIXES for path in data.iterdir()):
        return data, None
    raise UsageError(f"{data.name} has no folder named hazy and no pictures; give --hazy and --target instead.")


def dataset_pairs(name: str, root: Path) -> tuple[Path, Path | None, tuple[tuple[str, str], ...]]:
    """Hazy and clear pictures of a data set of the catalogue, as its layout says.

    Args:
        name: One of :func:`unhaze.data.list_datasets`, or ``NAME:SPLIT``. Without a split its ``test`` is taken, if
            it has one, else its first.
        root: Its folder.

    Returns:
        The folder of the hazy pictures, that of the clear ones (``None`` where there are none), and the pairs below
        them.

    Raises:
        UsageError: There is no such data set or split, or its pictures are not there.
    """
    from unhaze.data import create_dataset, dataset_info

    name, _, split = name.partition(":")
    entry = dataset_info(name)
    opened = create_dataset(name, root, split or ("test" if "test" in entry.splits else None))
    pairs = getattr(opened, "pairs", None)
    if pairs is None or not all(isinstance(pair.hazy, str) for pair in pairs):
        raise UsageError(f"{name} is not made of picture files, so it cannot be scored; give one of picture files.")
    sides = [[pair.hazy for pair in pairs], [pair.clear for pair in pairs]]
    tops = [os.path.commonpath([posixpath.dirname(file) or "." for file in side]) for side in sides]
    below = [[posixpath.relpath(file, top) for file in side] for side, top in zip(sides, tops, strict=True)]
    target = None if getattr(entry, "unpaired", False) else root / tops[1]
    return root / tops[0], target, tuple(zip(*below, strict=True))


def plan_benchmark(benchmark: Benchmark) -> Plan:
    """List, pair and hash everything that is to be scored.

    Raises:
        UsageError: Something is missing or contradictory; ``UnknownNameError`` for unknown names.
        MissingError: A metric that was asked for is not available.
    """
    _check(benchmark)
    protocol = get_protocol(benchmark.protocol)
    metrics, unavailable = resolve_metrics(
        benchmark.metrics, protocol, has_target=benchmark.targets is not None, has_hazy=benchmark.hazy is not None
    )
    planner = _Planner(benchmark, protocol)
    for run in benchmark.runs:
        planner.add(run)
    return Plan(
        benchmark=benchmark,
        protocol=protocol,
        metrics=metrics,
        unavailable=unavailable,
        cases=tuple(planner.cases),
        failures=tuple(planner.failures),
        pairings=planner.pairings,
        notes=tuple(planner.notes),
        inputs=tuple(planner.inputs()),
    )


def run_benchmark(
    plan: Plan, output: Path, *, workers: int = 1, progress: Callable[[], None] = lambda: None
) -> Outcome:
    """Score what is not scored yet.

    Args:
        plan: From :func:`plan_benchmark`.
        output: Folder that keeps the records; made if it is not there.
        workers: Processes. With more than one, a script must guard its start with ``if __name__ == "__main__"``.
        progress: Called once for every case, scored now or before.

    Raises:
        OutputError: The records cannot be written.
        UnhazeError: A worker died, for lack of memory as a rule; what was scored is kept.
    """
    make_folder(output)
    known = _read_records(output / RECORDS_FILE)
    todo = []
    for case in plan.cases:
        if _is_complete(known.get(case.key), plan.metrics):
            progress()
        else:
            todo.append(case)
    failures = list(plan.failures)
    with ReportWriter(output / RECORDS_FILE) as records, ReportWriter(output / TIMINGS_FILE) as timings:
        for case, scores, seconds in _results(plan, todo, workers):
            progress()
            timings.write({"run": case.run.label, "name": case.name, "seconds": round(seconds, 6)})
            if isinstance(scores, str):
                failures.append(Failure(case.run.label, case.name, scores))
                continue
            known[case.key] = _merged(known.get(case.key), scores)
            records.write({"key": case.key, **_encode(scores)})
    wanted = {case.key: _only(known[case.key], plan.metrics) for case in plan.cases if case.key in known}
    failures.sort(key=lambda failure: (failure.run, failure.name))
    return Outcome(plan, wanted, tuple(failures), reused=len(plan.cases) - len(todo))


def make_folder(path: Path) -> None:
    """Make a folder for output, unless it is there.

    Raises:
        OutputError: It cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"The folder {path} cannot be made ({error.strerror}); name another folder for the report."
        ) from error


def restored_picture(case: Case) -> Tensor:
    """The restored picture of a case, (1, 3, H, W) in [0, 1]; a model is run again.

    Raises:
        ImageError: It cannot be read or restored.
    """
    from unhaze.metrics.functional import as_batch

    if case.result is not None:
        return read_batch(case.result.read_bytes())
    assert case.hazy is not None
    pixels = _as_float(case.hazy.read_bytes())
    return as_batch(_dehazer_of(case.run)(pixels, maps=False).image)


class _Planner:
    """Collects cases run by run; every file is listed and hashed once."""

    def __init__(self, benchmark: Benchmark, protocol: Protocol) -> None:
        self.benchmark, self.protocol = benchmark, protocol
        self.cases: list[Case] = []
        self.failures: list[Failure] = []
        self.pairings: dict[str, Pairing] = {}
        self.notes: list[str] = []
        self._hashes: dict[Path, str] = {}
        self._weights: dict[str, dict[str, str]] = {}
        self._roles: dict[tuple[str, Path], Listing] = {}
        chosen = None if benchmark.pairs is None else list(zip(*benchmark.pairs, strict=True))
        self._targets = self._listing("target", benchmark.targets, None if chosen is None else chosen[1])
        self._hazy = self._listing("hazy", benchmark.hazy, None if chosen is None else chosen[0])

    def add(self, run: Run) -> None:
        listing = self._hazy if run.results is None else self._listing(f"results of {run.label}", run.results)
        assert listing is not None
        names = listing.names[: self.benchmark.limit]
        targets = self._paired_targets(run, names)
        if self._targets is not None:
            names = tuple(name for name in names if name in targets)  # the others are failures by now
        hazy = self._paired_hazy(run, names)
        for name in names:
            before = self._path(self._hazy, hazy.get(name))
            self._add_case(run, listing.root / name, name, self._path(self._targets, targets.get(name)), before)

    def inputs(self) -> Iterator[tuple[str, str, Mapping[str, str]]]:
        """What went in, for the record."""
        for (role, root), listing in self._roles.items():
            hashed = {name: self._hashes[root / name] for name in listing.names if root / name in self._hashes}
            yield role, root.resolve().name, hashed

    def _listing(self, role: str, folder: Path | None, chosen: Sequence[str] | None = None) -> Listing | None:
        if folder is None:
            return None
        if chosen is None:
            listing = list_pictures(folder, READ_SUFFIXES)
        else:
            listing = Listing(folder, tuple(dict.fromkeys(chosen)), ())
        if listing.ignored:
            self.notes.append(f"{len(listing.ignored)} files that are not pictures were passed over ({role}).")
        self._roles[role, folder] = listing
        self._hash([folder / name for name in listing.names])
        return listing

    def _hash(self, paths: Iterable[Path]) -> None:
        new = [path for path in paths if path not in self._hashes]

        def hashed(path: Path) -> str | None:
            try:
                return hash_file(path)
            except OSError:
                return None

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for path, digest in zip(new, pool.map(hashed, new), strict=True):
                if digest is not None:
                    self._hashes[path] = digest

    def _paired_targets(self, run: Run, names: Sequence[str]) -> Mapping[str, str]:
        if self._targets is None:
            return {}
        if self.benchmark.pairs is None:
            pairing = pair_names(names, self._targets.names, self.benchmark.pairing)
        else:
            pairing = self._by_layout(run, names, dict(self.benchmark.pairs))
        self.pairings[run.label] = pairing
        for name in pairing.unmatched:
            self._fail(run, name, f"No target belongs to it by the rule {pairing.rule}.")
        for name, reason in pairing.ambiguous.items():
            self._fail(run, name, f"By the rule {pairing.rule} it {reason}.")
        if pairing.unused:
            shown = ", ".join(pairing.unused[:5]) + (", …" if len(pairing.unused) > 5 else "")
            self.notes.append(f"{run.label}: {len(pairing.unused)} targets have no result: {shown}.")
        return dict(pairing.pairs)

    def _by_layout(self, run: Run, names: Sequence[str], target_of: Mapping[str, str]) -> Pairing:
        """Results belong to the hazy pictures of their names, and so to the targets of these."""
        how = "Its layout says which pictures of the data set belong together."
        if run.results is None:
            return Pairing("layout", how, tuple((name, target_of[name]) for name in names), (), {}, ())
        found = pair_names(names, list(target_of), "same-name")
        pairs = tuple((name, target_of[hazy]) for name, hazy in found.pairs)
        return Pairing("layout", how, pairs, found.unmatched, found.ambiguous, ())

    def _paired_hazy(self, run: Run, names: Sequence[str]) -> Mapping[str, str]:
        if self._hazy is None or not names:
            return {}
        if run.results is None:
            return {name: name for name in names}
        pairing = pair_names(names, self._hazy.names, "auto")
        for name in [*pairing.unmatched, *pairing.ambiguous]:
            self._fail(run, name, "No single hazy picture belongs to it; what needs the hazy picture is not scored.")
        return dict(pairing.pairs)

    def _add_case(self, run: Run, path: Path, name: str, target: Path | None, hazy: Path | None) -> None:
        unreadable = [part.name for part in (path, target, hazy) if part is not None and part not in self._hashes]
        if unreadable:
            self._fail(run, name, f"{unreadable[0]} cannot be read from the disk; check its permissions.")
            return
        stem = _without_suffix(name)
        target_name = None if target is None or self._targets is None else target.relative_to(self._targets.root)
        self.cases.append(
            Case(
                run=run,
                name=stem,
                scene=stem if target_name is None else _without_suffix(target_name.as_posix()),
                result=None if run.results is None else path,
                target=target,
                hazy=hazy,
                key=self._key(run, path, target, hazy),
            )
        )

    def _key(self, run: Run, path: Path, target: Path | None, hazy: Path | None) -> str:
        parts = {
            "source": self._source(run),
            "result": self._hashes[path],
            "target": None if target is None else self._hashes[target],
            "hazy": None if hazy is None else self._hashes[hazy],
            "protocol": asdict(self.protocol),
            "target_rule": self.benchmark.target_rule,
            "scoring": code_hash("metrics", "evaluation/scoring.py", "evaluation/protocols.py"),
        }
        return hash_bytes(json.dumps(parts, sort_keys=True).encode())

    def _source(self, run: Run) -> dict[str, Any]:
        """What restores the pictures, as far as results depend on it."""
        if run.model is None:
            return {}
        if not run.is_network:
            return {"model": run.model, "options": dict(run.options), "code": code_hash(*HAZE_MODEL_CODE)}
        if run.label not in self._weights:
            self._weights[run.label] = run.weights()
        options = {name: value for name, value in run.options.items() if name not in _WEIGHTS_OPTIONS}
        code = code_hash(*NETWORK_CODE)
        return {"model": run.model, "options": options, "weights": self._weights[run.label], "code": code}

    def _fail(self, run: Run, name: str, message: str) -> None:
        self.failures.append(Failure(run.label, _without_suffix(name), message))

    @staticmethod
    def _path(listing: Listing | None, name: str | None) -> Path | None:
        return None if listing is None or name is None else listing.root / name


def _check(benchmark: Benchmark) -> None:
    if not benchmark.runs:
        raise UsageError("Nothing to score: give a folder of results or a model.")
    labels = [run.label for run in benchmark.runs]
    if len(set(labels)) != len(labels):
        raise UsageError("Two runs have the same label; name them with LABEL=FOLDER.")
    if benchmark.target_rule not in TARGET_RULES:
        raise UsageError(f"There is no target rule {benchmark.target_rule!r}; choose {' or '.join(TARGET_RULES)}.")
    if benchmark.limit is not None and benchmark.limit < 1:
        raise UsageError(f"The limit must be at least 1, not {benchmark.limit}.")
    for run in benchmark.runs:
        if (run.results is None) == (run.model is None):
            raise UsageError(f"The run {run.label} must have either a folder of results or a model.")
        if run.results is None:
            if benchmark.hazy is None:
                raise UsageError(f"The model {run.model} needs hazy pictures; give a data set or a folder of them.")
            if run.options.get("depth") is not None and Path(run.options["depth"]).is_file():
                raise UsageError(
                    f"{run.options['depth']} is the depth of one picture; name a depth estimator, see: unhaze depth "
                    "--list."
                )
            _dehazer_of(run)  # unknown names and options fail now


def _results(plan: Plan, cases: Sequence[Case], workers: int) -> Iterator[tuple[Case, Scores | str, float]]:
    arguments = (plan.protocol.name, plan.metrics, plan.benchmark.target_rule)
    workers = _workers_that_fit(cases, workers)
    if workers <= 1 or len(cases) < _FEWEST_FOR_POOL:
        with _one_thread():
            for case in cases:
                yield case, *_score_case(case, *arguments)
        return
    pool = ProcessPoolExecutor(min(workers, len(cases)), get_context("spawn"), _start_worker)
    try:
        futures = {pool.submit(_score_case, case, *arguments): case for case in cases}
        for future in as_completed(futures):
            yield futures[future], *future.result()
    except BrokenProcessPool as error:
        raise UnhazeError(
            "A worker died, for lack of memory as a rule; start again with fewer --jobs. What was scored is kept."
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _score_case(case: Case, protocol: str, metrics: Sequence[str], target_rule: str) -> tuple[Scores | str, float]:
    started = time.perf_counter()
    scores: Scores | str
    try:
        scores = _scored(case, protocol, metrics, target_rule)
    except UnhazeError as error:
        scores = str(error)
    except OSError as error:
        scores = f"One of its files cannot be read from the disk ({error.strerror})."
    except Exception as error:  # one picture must not end the others' run
        scores = f"Something unexpected went wrong ({type(error).__name__}: {error})."
    return scores, time.perf_counter() - started


def _scored(case: Case, protocol: str, metrics: Sequence[str], target_rule: str) -> Scores:
    restored = _named("The result", lambda: restored_picture(case))
    target, hazy = (
        None if path is None else _named(what, lambda path=path: read_batch(path.read_bytes()))  # type: ignore[misc]
        for what, path in (("The target", case.target), ("The hazy picture", case.hazy))
    )
    return score_picture(
        restored, target=target, hazy=hazy, protocol=get_protocol(protocol), metrics=metrics, target_rule=target_rule
    )


def _named(what: str, read: Callable[[], Tensor]) -> Tensor:
    try:
        return read()
    except ImageError as error:
        raise ImageError(f"{what} cannot be used: {error}") from error


def _as_float(data: bytes) -> Any:
    import numpy as np

    from unhaze.images.files import read_image

    pixels = read_image(data, finite=True).pixels
    if pixels.dtype.kind == "f":
        return pixels
    return (pixels / np.float32(np.iinfo(pixels.dtype).max)).astype(np.float32)


def _dehazer_of(run: Run) -> Dehazer:
    return _dehazer(run.model, tuple(sorted(run.options.items())))


@lru_cache(maxsize=2)  # cases come run by run, and networks are large
def _dehazer(model: str | None, options: tuple[tuple[str, Any], ...]) -> Dehazer:
    from unhaze.restore.dehazer import Dehazer

    return Dehazer(model, threads=1, **dict(options))


def _workers_that_fit(cases: Sequence[Case], workers: int) -> int:
    """At most ``workers``, fewer where networks on their largest pictures would not fit into memory side by side.

    A network on a device other than the processor has that to itself.
    """
    largest: dict[str, Case] = {}
    for case in cases:
        if case.run.is_network and case.hazy is not None:
            before = largest.get(case.run.label, case)
            largest[case.run.label] = max(before, case, key=_pixels)
    for case in largest.values():
        dehazer, free = _dehazer_of(case.run), available_memory()
        if dehazer.device != "cpu":
            return 1
        if free is not None and _pixels(case):
            assert case.hazy is not None
            need = dehazer.memory_needed(identify(case.hazy), maps=False)
            workers = max(1, min(workers, int(_SHARE_OF_MEMORY * free) // need))
    return workers


def _pixels(case: Case) -> int:
    """Number of pixels of the hazy picture; 0 if it is damaged, which scoring will report."""
    try:
        return 0 if case.hazy is None else identify(case.hazy).pixels
    except (ImageError, OSError):
        return 0


def _hash_weights(path: Path) -> str:
    try:
        if path.is_dir():
            files = (each for each in path.rglob("*") if each.is_file())
            return manifest_hash({each.relative_to(path).as_posix(): hash_file(each) for each in files})
        return hash_file(path)
    except OSError as error:
        raise WeightsNotFoundError(f"The weights {path} cannot be read ({error.strerror}); check the path.") from error


def _start_worker() -> None:
    import cv2
    import torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which lets workers finish
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    threading.Thread(target=_leave_with_parent, daemon=True).start()


def _leave_with_parent() -> None:
    """A parent that is killed cannot stop its workers, and they would wait for work for ever."""
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """One thread, as in a worker: sums over several threads differ in the last bit."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _read_records(path: Path) -> dict[str, Scores]:
    found: dict[str, Scores] = {}
    if path.exists():
        for record in read_report(path):
            try:
                scores = _decode(record)
            except (KeyError, TypeError, ValueError):
                continue  # a damaged line costs one picture, not the run
            found[record["key"]] = _merged(found.get(record["key"]), scores)
    return found


def _encode(scores: Scores) -> dict[str, Any]:
    values = {name: value if abs(value) != float("inf") else str(value) for name, value in scores.values.items()}
    return {"values": values, "dropped": scores.dropped, "errors": scores.errors}


def _decode(record: Mapping[str, Any]) -> Scores:
    assert isinstance(record["key"], str)
    return Scores(
        {name: float(value) for name, value in record["values"].items()},
        {name: float(value) for name, value in record["dropped"].items()},
        {name: str(value) for name, value in record["errors"].items()},
    )


def _merged(old: Scores | None, new: Scores) -> Scores:
    if old is None:
        return new
    return Scores({**old.values, **new.values}, {**old.dropped, **new.dropped}, {**old.errors, **new.errors})


def _only(scores: Scores, metrics: Sequence[str]) -> Scores:
    def chosen(entries: Mapping[str, Any]) -> dict[str, Any]:
        return {name: entries[name] for name in metrics if name in entries}

    return Scores(chosen(scores.values), chosen(scores.dropped), chosen(scores.errors))


def _is_complete(scores: Scores | None, metrics: Sequence[str]) -> bool:
    return scores is not None and all(name in scores.values or name in scores.errors for name in metrics)


def _child(folder: Path, names: Sequence[str]) -> Path | None:
    for path in sorted(folder.iterdir()):
        if path.is_dir() and path.name.lower() in names:
            return path
    return None


def _without_suffix(name: str) -> str:
    return PurePosixPath(name).with_suffix("").as_posix()
