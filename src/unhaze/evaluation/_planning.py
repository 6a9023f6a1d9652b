"""Lists, pairs and hashes what a benchmark is to score."""

from __future__ import annotations

import json
import os
import posixpath
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from unhaze.data.pairing import Listing, Pairing, list_pictures, pair_names
from unhaze.errors import UsageError
from unhaze.evaluation._cases import WEIGHTS_OPTIONS, Benchmark, Case, Failure, Plan, Run
from unhaze.evaluation._workers import dehazer_of
from unhaze.evaluation.protocols import TARGET_RULES, get_protocol
from unhaze.evaluation.provenance import HAZE_MODEL_CODE, NETWORK_CODE, code_hash, hash_bytes, hash_file
from unhaze.evaluation.scoring import resolve_metrics
from unhaze.images.files import READ_SUFFIXES

if TYPE_CHECKING:
    from unhaze.evaluation.protocols import Protocol

__all__ = ["dataset_folders", "dataset_pairs", "plan_benchmark"]

_HAZY_FOLDERS, _CLEAR_FOLDERS = ("hazy", "haze"), ("gt", "clear", "clean", "target")


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
        hazy: Mapping[str, str] = {}
        if self._hazy is not None and run.results is None:
            hazy = {name: name for name in names}
        elif self._hazy is not None and names:
            pairing = pair_names(names, self._hazy.names, "auto")
            hazy = dict(pairing.pairs)
            for name in [*pairing.unmatched, *pairing.ambiguous]:
                message = "No single hazy picture belongs to it; what needs the hazy picture is not scored."
                self._fail(run, name, message)
        for name in names:
            path = listing.root / name
            target = self._targets.root / targets[name] if self._targets is not None else None
            before = self._hazy.root / hazy[name] if self._hazy is not None and name in hazy else None
            unreadable = [part for part in (path, target, before) if part is not None and part not in self._hashes]
            if unreadable:
                message = f"{unreadable[0].name} cannot be read from the disk; check its permissions."
                self._fail(run, name, message)
                continue
            self.cases.append(
                Case(
                    run=run,
                    name=_without_suffix(name),
                    scene=_without_suffix(targets.get(name, name)),
                    result=None if run.results is None else path,
                    target=target,
                    hazy=before,
                    key=self._key(run, path, target, before),
                )
            )

    def inputs(self) -> Iterator[tuple[str, str, Mapping[str, str]]]:
        """What went in, for the record."""
        for (role, root), listing in self._roles.items():
            hashed = {name: self._hashes[root / name] for name in listing.names if root / name in self._hashes}
            yield role, root.resolve().name, hashed

    def _listing(self, role: str, folder: Path | None, chosen: Sequence[str] | None = None) -> Listing | None:
        """The pictures of a folder, noted as input and hashed."""
        if folder is None:
            return None
        if chosen is None:
            listing = list_pictures(folder, READ_SUFFIXES)
        else:
            listing = Listing(folder, tuple(dict.fromkeys(chosen)), ())
        if listing.ignored:
            self.notes.append(f"{len(listing.ignored)} files that are not pictures were passed over ({role}).")
        self._roles[role, folder] = listing
        new = [folder / name for name in listing.names if folder / name not in self._hashes]

        def hashed(path: Path) -> str | None:
            try:
                return hash_file(path)
            except OSError:
                return None

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for path, digest in zip(new, pool.map(hashed, new), strict=True):
                if digest is not None:
                    self._hashes[path] = digest
        return listing

    def _paired_targets(self, run: Run, names: Sequence[str]) -> Mapping[str, str]:
        if self._targets is None:
            return {}
        if self.benchmark.pairs is None:
            pairing = pair_names(names, self._targets.names, self.benchmark.pairing)
        else:
            # results belong to the hazy pictures of their names, and so to the targets of these
            how = "Its layout says which pictures of the data set belong together."
            target_of = dict(self.benchmark.pairs)
            if run.results is None:
                pairing = Pairing("layout", how, tuple((name, target_of[name]) for name in names), (), {}, ())
            else:
                found = pair_names(names, list(target_of), "same-name")
                pairs = tuple((name, target_of[hazy]) for name, hazy in found.pairs)
                pairing = Pairing("layout", how, pairs, found.unmatched, found.ambiguous, ())
        self.pairings[run.label] = pairing
        for name in pairing.unmatched:
            self._fail(run, name, f"No target belongs to it by the rule {pairing.rule}.")
        for name, reason in pairing.ambiguous.items():
            self._fail(run, name, f"By the rule {pairing.rule} it {reason}.")
        if pairing.unused:
            shown = ", ".join(pairing.unused[:5]) + (", …" if len(pairing.unused) > 5 else "")
            self.notes.append(f"{run.label}: {len(pairing.unused)} targets have no result: {shown}.")
        return dict(pairing.pairs)

    def _key(self, run: Run, path: Path, target: Path | None, hazy: Path | None) -> str:
        """What the scores of a case depend on: what restores it, its files, and how it is scored."""
        source: dict[str, Any] = {}
        if run.is_network:
            if run.label not in self._weights:
                self._weights[run.label] = run.weights()
            options = {name: value for name, value in run.options.items() if name not in WEIGHTS_OPTIONS}
            weights, code = self._weights[run.label], code_hash(*NETWORK_CODE)
            source = {"model": run.model, "options": options, "weights": weights, "code": code}
        elif run.model is not None:
            source = {"model": run.model, "options": dict(run.options), "code": code_hash(*HAZE_MODEL_CODE)}
        parts = {
            "source": source,
            "result": self._hashes[path],
            "target": None if target is None else self._hashes[target],
            "hazy": None if hazy is None else self._hashes[hazy],
            "protocol": asdict(self.protocol),
            "target_rule": self.benchmark.target_rule,
            "scoring": code_hash("metrics", "evaluation/scoring.py", "evaluation/protocols.py"),
        }
        return hash_bytes(json.dumps(parts, sort_keys=True).encode())

    def _fail(self, run: Run, name: str, message: str) -> None:
        self.failures.append(Failure(run.label, _without_suffix(name), message))


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
            dehazer_of(run)  # unknown names and options fail now


def _child(folder: Path, names: Sequence[str]) -> Path | None:
    for path in sorted(folder.iterdir()):
        if path.is_dir() and path.name.lower() in names:
            return path
    return None


def _without_suffix(name: str) -> str:
    return PurePosixPath(name).with_suffix("").as_posix()
