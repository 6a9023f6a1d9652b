"""Scores whole folders, in parallel and resumably, and keeps what every score was made from.

The work is a list of cases (one picture of one run), each with a key: the hashes of the files that go in, the protocol
and the code that scores. Scores are appended to ``records.jsonl`` as they come; a case whose key is there is not
scored again. So a benchmark that was killed goes on where it stopped, and ends with the same report.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from unhaze.evaluation._cases import Benchmark, Case, Failure, Outcome, Plan, Run
from unhaze.evaluation._files import make_folder
from unhaze.evaluation._planning import dataset_folders, dataset_pairs, plan_benchmark
from unhaze.evaluation._workers import restored_picture, score_cases
from unhaze.evaluation.scoring import Scores
from unhaze.images.manifest import ReportWriter, read_report

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
        found = known.get(case.key)
        if found is not None and all(name in found.values or name in found.errors for name in plan.metrics):
            progress()
        else:
            todo.append(case)
    failures = list(plan.failures)
    with ReportWriter(output / RECORDS_FILE) as records, ReportWriter(output / TIMINGS_FILE) as timings:
        for case, scores, seconds in score_cases(plan, todo, workers):
            progress()
            timings.write({"run": case.run.label, "name": case.name, "seconds": round(seconds, 6)})
            if isinstance(scores, str):
                failures.append(Failure(case.run.label, case.name, scores))
                continue
            known[case.key] = _merged(known.get(case.key), scores)
            finite = {
                name: value if abs(value) != float("inf") else str(value) for name, value in scores.values.items()
            }
            records.write({"key": case.key, "values": finite, "dropped": scores.dropped, "errors": scores.errors})
    wanted = {}  # without metrics that only earlier runs asked for
    for key in (case.key for case in plan.cases if case.key in known):
        scores, names = known[key], plan.metrics
        wanted[key] = Scores(
            {name: scores.values[name] for name in names if name in scores.values},
            {name: scores.dropped[name] for name in names if name in scores.dropped},
            {name: scores.errors[name] for name in names if name in scores.errors},
        )
    failures.sort(key=lambda failure: (failure.run, failure.name))
    return Outcome(plan, wanted, tuple(failures), reused=len(plan.cases) - len(todo))


def _read_records(path: Path) -> dict[str, Scores]:
    found: dict[str, Scores] = {}
    for record in read_report(path) if path.exists() else ():
        try:
            assert isinstance(record["key"], str)
            scores = Scores(
                {name: float(value) for name, value in record["values"].items()},
                {name: float(value) for name, value in record["dropped"].items()},
                {name: str(value) for name, value in record["errors"].items()},
            )
        except (KeyError, TypeError, ValueError):
            continue  # a damaged line costs one picture, not the run
        found[record["key"]] = _merged(found.get(record["key"]), scores)
    return found


def _merged(old: Scores | None, new: Scores) -> Scores:
    if old is None:
        return new
    return Scores({**old.values, **new.values}, {**old.dropped, **new.dropped}, {**old.errors, **new.errors})
