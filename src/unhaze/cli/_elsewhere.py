"""``unhaze run`` where pictures lie in object storage."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

import typer

from unhaze.cli import _console
from unhaze.cli._work import Reporter, Settings, log_engine, work_off

if TYPE_CHECKING:
    from unhaze.batch.workers import Batch, Record

__all__ = ["run_elsewhere"]


def run_elsewhere(
    inputs: Sequence[str],
    settings: Settings,
    *,
    listed: Sequence[str],
    shard: str | None,
    json_output: bool,
    report: Path | None,
) -> None:
    """Plan, work off, and report as for files of this machine."""
    from unhaze.batch.planning import Shard
    from unhaze.batch.remote import RemoteBatch, plan_remote

    jobs = plan_remote(
        [*inputs, *listed],
        settings.output,
        suffix=settings.suffix,
        format=settings.format,
        recursive=settings.recursive,
        existing=settings.existing,
        sides=settings.sides,
        shard=None if shard is None else Shard.parse(shard),
    )
    if not jobs:
        _console.log.error(f"No pictures were found in {', '.join([*inputs, *listed])}.")
    options = settings.batch_options()
    dehazer = settings.create_dehazer(side_by_side=options.jobs > 1)
    if _console.is_verbose():
        log_engine(dehazer)
    batch = RemoteBatch(dehazer, jobs, options)
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
