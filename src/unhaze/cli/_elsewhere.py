"""``unhaze run`` where pictures lie in object storage, or a cluster does the work."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import typer

from unhaze.cli import _console
from unhaze.cli._work import Reporter, Settings, log_engine, log_names, work_off
from unhaze.errors import UnknownNameError, UsageError
from unhaze.images.storage import is_address

if TYPE_CHECKING:
    from unhaze.batch.planning import Job
    from unhaze.batch.remote import RemoteJob
    from unhaze.batch.workers import Batch, Record

__all__ = ["PLACES", "run_elsewhere"]

PLACES = ("here", "ray")


def run_elsewhere(
    inputs: Sequence[str],
    settings: Settings,
    *,
    listed: Sequence[str],
    shard: str | None,
    on: str,
    address: str | None,
    json_output: bool,
    report: Path | None,
) -> None:
    """Plan, work off, and report as for files of this machine."""
    if on not in PLACES:
        raise UnknownNameError("place to work", on, PLACES)
    if address is not None and on != "ray":
        raise UsageError("--address is that of a cluster of Ray; add --on ray.")
    jobs = _plan(inputs, settings, listed, shard)
    if not jobs:
        _console.log.error(f"No pictures were found in {', '.join([*inputs, *listed])}.")
    batch = _batch(jobs, settings, on, address)
    from unhaze.images.manifest import ReportWriter

    writer = None if report is None else ReportWriter(report)
    reporter = Reporter(writer, keep=json_output)
    interrupted = True
    try:
        with _console.ProgressBar("Dehazing", len(jobs)) as bar:

            def receive(record: Record) -> None:
                reporter(record)
                bar.advance()

            work_off(cast("Batch", batch), receive)
        interrupted = False
    finally:
        if writer:
            writer.close()
        summary = reporter.summary
        summary.not_started = len(jobs) - summary.done - summary.skipped - summary.failed
        if summary.failures:
            reporter.log_failures()
        if interrupted:
            reporter.log_interruption(len(jobs), settings.existing)
        reporter.log_summary()
        if json_output:
            print(json.dumps(reporter.as_json(interrupted=interrupted), indent=2))
    raise typer.Exit(reporter.exit_code())


def _plan(
    inputs: Sequence[str], settings: Settings, listed: Sequence[str], shard: str | None
) -> Sequence[Job | RemoteJob]:
    from unhaze.batch.planning import Shard, plan

    part = None if shard is None else Shard.parse(shard)
    if any(is_address(name) for name in (*inputs, *listed, settings.output or "")):
        from unhaze.batch.remote import plan_remote

        return plan_remote(
            [*inputs, *listed],
            settings.output,
            suffix=settings.suffix,
            format=settings.format,
            recursive=settings.recursive,
            existing=settings.existing,
            sides=settings.sides,
            shard=part,
        )
    jobs = plan(
        inputs,
        listed=listed,
        output=settings.output,
        suffix=settings.suffix,
        format=settings.format,
        recursive=settings.recursive,
        existing=settings.existing,
        sides=settings.sides,
        shard=part,
    )
    log_names(jobs)
    return [_absolute(job) for job in jobs]


def _absolute(job: Job) -> Job:
    """The same job for a process that stands in another folder."""
    from dataclasses import replace

    return replace(
        job,
        source=job.source.absolute(),
        output=None if job.output is None else job.output.absolute(),
        sides={name: path.absolute() for name, path in job.sides.items()},
        existing={path.absolute(): seen for path, seen in job.existing.items()},
    )


def _batch(jobs: Sequence[Job | RemoteJob], settings: Settings, on: str, address: str | None) -> Any:
    options = settings.batch_options()
    if on == "ray":
        from dataclasses import replace

        from unhaze.distributed.ray import RayBatch

        workers = settings.jobs or 0  # 0: one for each processor of the cluster
        return RayBatch(settings.options, jobs, replace(options, jobs=workers), address=address)
    from unhaze.batch.remote import RemoteBatch

    dehazer = settings.create_dehazer(side_by_side=options.jobs > 1)
    if _console.is_verbose():
        log_engine(dehazer)
    return RemoteBatch(dehazer, cast("Sequence[RemoteJob]", jobs), options)
