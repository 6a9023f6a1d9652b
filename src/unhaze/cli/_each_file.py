"""Working through the pictures of a command one after another, whatever happens to one of them."""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import typer

from unhaze.cli import _console
from unhaze.errors import MissingError

if TYPE_CHECKING:
    from unhaze.batch.planning import Job

__all__ = ["for_each_file"]


def for_each_file(jobs: Sequence[Job], work: Callable[[Job], Mapping[str, Any]], label: str, *, as_json: bool) -> None:
    """Call ``work`` for every job and tell what became of it.

    Args:
        jobs: From :func:`unhaze.batch.planning.plan`.
        work: Does one job and returns what is worth telling, ready for JSON.
        label: What is being done, for the progress bar.
        as_json: Whether to print the records of all inputs as JSON on stdout.

    Raises:
        typer.Exit: With 0 if all went well, with 1 if an input failed, with 3 if all that failed did so for want of
            something to install.
    """
    from unhaze.batch.workers import describe_failure

    records: list[dict[str, Any]] = []
    failures: list[BaseException] = []
    with _console.progress(label, len(jobs)) as advance:
        for job in jobs:
            record: dict[str, Any] = {"input": str(job.source), "output": job.output and str(job.output)}
            source = record["input"]
            try:
                if job.error is not None:
                    raise job.error
                record |= {"status": "done", "error": None, **work(job)}
                _console.log.debug(f"done: {source} -> {record['output']}")
                for note in record.get("notes", ()):
                    _console.log.debug(f"  note: {note}")
            except Exception as error:
                failures.append(error)
                record |= {"status": "failed", "error": describe_failure(error), "error_type": type(error).__name__}
                _console.log.debug("".join(traceback.format_exception(error)))
                named = record["error"] if source in record["error"] else f"{source}: {record['error']}"
                _console.log.error(f"failed: {named}")
            records.append(record)
            advance()
    done = len(records) - len(failures)
    _console.log.info(
        f"{done} done, {len(failures)} failed" + (f" ({records[0]['output']})" if len(jobs) == done == 1 else "")
    )
    if as_json:
        print(json.dumps({"done": done, "failed": len(failures), "records": records}, indent=2))
    raise typer.Exit(0 if not failures else 3 if all(isinstance(error, MissingError) for error in failures) else 1)
