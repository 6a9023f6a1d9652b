"""What a benchmark is asked for, what it plans, and what comes out of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unhaze.errors import WeightsNotFoundError
from unhaze.evaluation.provenance import hash_file, manifest_hash

if TYPE_CHECKING:
    from unhaze.data.pairing import Pairing
    from unhaze.evaluation.protocols import Protocol
    from unhaze.evaluation.scoring import Scores

__all__ = ["WEIGHTS_OPTIONS", "Benchmark", "Case", "Failure", "Outcome", "Plan", "Run"]

WEIGHTS_OPTIONS = ("weights", "backbone_weights", "depth_weights")
"""Options of a network that name files."""


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
        """SHA-256 of the files that a network is filled from, by option; of a folder, that of its listing.

        Raises:
            WeightsNotFoundError: One of them cannot be read.
        """
        hashes = {}
        for name in WEIGHTS_OPTIONS:
            if self.options.get(name) is None:
                continue
            path = Path(self.options[name])
            try:
                if path.is_dir():
                    files = (each for each in path.rglob("*") if each.is_file())
                    hashes[name] = manifest_hash({each.relative_to(path).as_posix(): hash_file(each) for each in files})
                else:
                    hashes[name] = hash_file(path)
            except OSError as error:
                raise WeightsNotFoundError(
                    f"The weights {path} cannot be read ({error.strerror}); check the path."
                ) from error
        return hashes

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
