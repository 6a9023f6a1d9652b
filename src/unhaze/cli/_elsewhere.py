"""``unhaze run`` where pictures lie in object storage, or a cluster does the work."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import typer

from unhaze.cli import _console
from unhaze.cli._work import Settings, log_engine, log_names, work_through
from unhaze.errors import UnknownNameError, UsageError
from unhaze.images.storage import is_address

if TYPE_CHECKING:
    from unhaze.batch.planning import Job
    from unhaze.batch.remote import RemoteJob

__all__ = ["PLACES", "run_elsewhere"]

PLACES = ("here", "ray")


def run_elsewhere(
    inputs: Sequence[str],
    listed: Sequence[str],
    settings: Settings,
    shard: str | None,
    *,
    on: str,
    address: str | None,
    json_output: bool,
    report: Path | None,
) -> None:
    """Plan, work off, and report as for files of this machine."""
    from unhaze.batch.planning import Shard, plan
    from unhaze.batch.remote import RemoteBatch, plan_remote
    from unhaze.images.manifest import ReportWriter

    if on not in PLACES:
        raise UnknownNameError("place to work", on, PLACES)
    if address is not None and on != "ray":
        raise UsageError("--address is that of a cluster of Ray; add --on ray.")
    part = None if shard is None else Shard.parse(shard)
    jobs: Sequence[Job | RemoteJob]
    if any(is_address(name) for name in (*inputs, *listed, settings.output or "")):
        jobs = plan_remote([*inputs, *listed], settings.output, **settings.planning(), shard=part)
    else:
        here = plan(inputs, listed=listed, output=settings.output, **settings.planning(), shard=part)
        log_names(here)
        jobs = [
            replace(  # for a process that stands in another folder
                job,
                source=job.source.absolute(),
                output=None if job.output is None else job.output.absolute(),
                sides={name: path.absolute() for name, path in job.sides.items()},
                existing={path.absolute(): seen for path, seen in job.existing.items()},
            )
            for job in here
        ]
    if not jobs:
        _console.log.error(f"No pictures were found in {', '.join([*inputs, *listed])}.")
    options = settings.batch_options()
    batch: Any
    if on == "ray":
        from unhaze.distributed.ray import RayBatch

        workers = settings.jobs or 0  # 0: one for each processor of the cluster
        batch = RayBatch(settings.options, jobs, replace(options, jobs=workers), address=address)
    else:
        dehazer = settings.create_dehazer(side_by_side=options.jobs > 1)
        log_engine(dehazer)
        batch = RemoteBatch(dehazer, cast("Sequence[RemoteJob]", jobs), options)
    writer = None if report is None else ReportWriter(report)
    raise typer.Exit(work_through(batch, len(jobs), settings, writer, json_output=json_output))
