"""``unhaze eval``: score folders of results, methods of unhaze, or networks, under a named protocol."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unhaze.cli import _console
from unhaze.cli import _options as opt
from unhaze.restore.engines.base import FOR_FUSIONS
from unhaze.restore.options import Options

if TYPE_CHECKING:
    from unhaze.evaluation.benchmark import Benchmark, Outcome, Run

__all__ = ["eval_"]


_KINDS = 10  # kinds of trouble that are told, each in one line
_FOR_NETWORKS = ("device", "precision", "tile", "compile", *FOR_FUSIONS)


@opt.takes_options("strength", "engine", *_FOR_NETWORKS, before="limit")
def eval_(
    pred: Annotated[
        list[str] | None,
        typer.Option(help="A folder of results; LABEL=FOLDER names it. Give several to compare.", metavar="FOLDER"),
    ] = None,
    target: Annotated[Path | None, typer.Option(help="Folder of clear pictures.", metavar="FOLDER")] = None,
    hazy: Annotated[Path | None, typer.Option(help="Folder of hazy pictures.", metavar="FOLDER")] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            "-m",
            help="A model to run on the hazy pictures; several to compare. Networks need --weights.",
            metavar="NAME",
        ),
    ] = None,
    method: Annotated[list[str] | None, typer.Option("--method", hidden=True)] = None,
    weights: Annotated[
        list[Path] | None,
        typer.Option(
            help="Trained weights of each network, in their order; they may name the network by themselves.",
            metavar="FILE",
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(help="A data set: hazy/ beside gt/ or clear/, or pictures alone (no targets).", metavar="FOLDER"),
    ] = None,
    layout: Annotated[
        str | None,
        typer.Option(
            help="The data set of `unhaze data list` that --data holds, such as nh-haze or rtts.",
            metavar="NAME[:SPLIT]",
        ),
    ] = None,
    video: Annotated[
        list[Path] | None,
        typer.Option(
            help="Print how much a video flickers, before and after dehazing, and stop; several are taken in turn.",
            metavar="FILE",
        ),
    ] = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder of the report; scores found in it are not computed again.")
    ] = Path("unhaze-eval"),
    protocol: Annotated[str, typer.Option(help="How to score; see --list-protocols.", metavar="NAME")] = "full8bit",
    metrics: Annotated[
        str | None,
        typer.Option(help="Metrics, separated by commas; default is what the protocol reports.", metavar="NAMES"),
    ] = None,
    pairing: Annotated[
        str,
        typer.Option(help="How results find their targets.", metavar="auto|same-name|reside|o-haze|regex:EXPRESSION"),
    ] = "auto",
    target_rule: Annotated[
        str, typer.Option(help="What to do about targets of another size.", metavar="equal|sots-indoor")
    ] = "equal",
    dataset: Annotated[
        str | None,
        typer.Option(help="Show what papers report for this data set, such as sots-indoor.", metavar="NAME"),
    ] = None,
    table: Annotated[
        Path | None,
        typer.Option(
            help="Write the table to this file, too: .md, .tex or .csv; with --dataset beside reported rows.",
            metavar="FILE",
        ),
    ] = None,
    limit: Annotated[int | None, typer.Option(help="Score only the first so many pictures.", metavar="N")] = None,
    jobs: opt.Jobs = None,
    seed: Annotated[int, typer.Option(help="Seed of bootstrap and permutations.", min=0, metavar="N")] = 0,
    cases: Annotated[int, typer.Option(help="Worst and best pictures to show per run.", min=0, metavar="N")] = 4,
    plots: Annotated[bool, typer.Option("--plots/--no-plots", help="Whether to draw pictures.")] = True,
    as_json: opt.JsonOutput = False,
    list_protocols: Annotated[
        bool, typer.Option("--list-protocols", help="Tell about the protocols and stop.")
    ] = False,
    quiet: opt.Quiet = False,
    verbose: opt.Verbose = False,
    **given: Any,
) -> None:
    """Score results against clear pictures, or without them, and write a report.

    unhaze eval --pred results/ --target gt/ --protocol dcmpnet

    unhaze eval --model dcp --model cap --data SOTS/indoor --target-rule sots-indoor

    unhaze eval --model gcanet --weights gcanet.pth --model dcp --data SOTS/indoor --target-rule sots-indoor

    A run that is stopped goes on where it was when started again with the same output folder.
    """
    options = opt.collect(given)
    if list_protocols:
        _print_protocols(as_json)
        return
    if video:
        _print_flicker(video, next(iter(model or []), None), options, limit)
        return
    from unhaze.errors import UsageError
    from unhaze.evaluation.benchmark import plan_benchmark, run_benchmark
    from unhaze.evaluation.provenance import portable_command
    from unhaze.evaluation.report import analyze, report_dict, write_report
    from unhaze.evaluation.reported import reported_figures
    from unhaze.evaluation.scoring import metric_label
    from unhaze.evaluation.statistics import require_scipy
    from unhaze.images.atomic import atomic_output
    from unhaze.restore.machine import usable_cores

    if dataset is not None:
        reported_figures(dataset=dataset)  # an unknown name must fail before hours of scoring
    if table is not None and table.suffix.lower() not in (".md", ".tex", ".csv"):
        raise UsageError(f"{table} names no kind of table; give a file that ends in .md, .tex or .csv.")
    require_scipy()  # its absence, too, must be noticed before
    runs = _runs(pred or [], [*(model or []), *(method or [])], weights or [], options)
    plan = plan_benchmark(
        _benchmark(
            runs,
            (target, hazy, data),
            layout,
            protocol=protocol,
            metrics=None if metrics is None else tuple(filter(None, metrics.replace(" ", "").split(","))),
            pairing=pairing,
            target_rule=target_rule,
            limit=limit,
        )
    )
    for label, pairs in plan.pairings.items():
        _console.log.info(f"{label}: {pairs.how}")
    for name, reason in plan.unavailable.items():
        _console.log.info(f"{metric_label(name)} is not scored: {reason}")
    for note in plan.notes:
        _console.log.info(note)
    with _console.progress("Scoring", len(plan.cases)) as advance:
        outcome = run_benchmark(plan, output, workers=jobs or usable_cores(), progress=advance)
    analysis = analyze(outcome, seed=seed, dataset=dataset)
    command = portable_command(["unhaze", *sys.argv[1:]])
    report = write_report(analysis, output, command=command, cases_shown=cases, plots=plots)
    if table is not None:
        shown = {".md": analysis.table.markdown, ".tex": analysis.table.latex, ".csv": analysis.table.csv}
        with atomic_output(table, overwrite=True) as temporary:
            temporary.write_text(shown[table.suffix.lower()](), "utf-8")
    if as_json:
        print(json.dumps(report_dict(analysis, command), indent=2, ensure_ascii=False))
    else:
        print(analysis.table.markdown(), end="")
    _log_troubles(outcome)
    reused = f", {outcome.reused} of them known from before" if outcome.reused else ""
    failed = f"; {len(outcome.failures)} failed" if outcome.failures else ""
    scored = sum(case.key in outcome.scores for case in outcome.plan.cases)
    _console.log.info(f"{scored} pictures scored{reused}{failed}. Report: {report}")
    without = sum(bool(scores.errors) for scores in outcome.scores.values())
    if outcome.failures or without:
        raise typer.Exit(1)


def _print_flicker(files: list[Path], model: str | None, options: Options, limit: int | None) -> None:
    from unhaze.evaluation.flicker import flicker_table, measure_flicker
    from unhaze.restore.dehazer import Dehazer

    with Dehazer.from_options(replace(options, model=model)) as dehazer:
        for path in files:
            if len(files) > 1:
                print(f"{path}:\n")
            print(flicker_table(measure_flicker(path, dehazer, limit=limit)), end="")


def _runs(folders: list[str], names: list[str], files: list[Path], options: Options) -> tuple[Run, ...]:
    """Folders of results, then models; networks and files belong together in their order, and files may name them."""
    from unhaze.cli.models import weights_package
    from unhaze.errors import UsageError, WeightsNotFoundError
    from unhaze.evaluation.benchmark import Run
    from unhaze.models.catalogue import finds_haze, model_info, resolve_model

    resolved = [resolve_model(name) for name in names]
    finders = [name for name in resolved if finds_haze(name)]
    networks = [name for name in resolved if name not in finders]
    if options.engine != "auto" and not any(model_info(name).has_network for name in finders):
        raise UsageError("--engine is for models that ship as ONNX; leave it out, or add one with --model.")
    if options.given(*_FOR_NETWORKS) and not networks and not files:
        raise UsageError(
            "--device, --precision, --tile, --compile, --depth and what goes with it are for networks; add one with "
            "--model NAME."
        )
    if len(files) < len(networks):
        raise WeightsNotFoundError(
            f"The network {networks[len(files)]} needs trained weights; give --weights FILE for each network."
        )
    if networks and len(files) > len(networks):
        raise UsageError(f"{files[len(networks)]} belongs to no network; name one with --model for each --weights.")
    if files and not networks:  # each names its network, with its fusion module if it has one
        networks = [weights_package("score networks").recognise(file) for file in files]
    named = list(zip(networks, files, strict=True))
    if options.given(*FOR_FUSIONS) and named and not any("+" in name for name, _ in named):
        raise UsageError(
            "--depth, --depth-weights, --backbone-weights and --prompts are for networks with a fusion module, such as "
            "sgdnet+hgdf; leave them out, or add one with --model NETWORK+FUSION."
        )
    runs: list[Run] = []
    for text in folders:
        label, sign, folder = text.partition("=")
        path = Path(folder if sign else text)
        runs.append(Run(label if sign else path.resolve().name, results=path))
    taken = set(finders)
    for name in finders:
        engine = options.given("engine") if model_info(name).has_network else {}
        runs.append(Run(name, model=name, options={"strength": options.strength, **engine}))
    for name, file in named:
        label = f"{name} ({file.stem})" if name in taken else name
        taken.add(label)
        useful = [option for option in _FOR_NETWORKS if "+" in name or option not in FOR_FUSIONS]
        settings = {"strength": options.strength, "weights": file, **options.given(*useful)}
        runs.append(Run(label, model=name, options=settings))
    return tuple(runs)


def _benchmark(
    runs: tuple[Run, ...], folders: tuple[Path | None, Path | None, Path | None], layout: str | None, **options: Any
) -> Benchmark:
    from unhaze.errors import UsageError
    from unhaze.evaluation.benchmark import Benchmark, dataset_folders, dataset_pairs

    target, hazy, data = folders
    if not runs:
        raise UsageError("Nothing to score: give a folder of results with --pred, or a model with --model.")
    if layout is not None:
        if data is None or target is not None or hazy is not None:
            raise UsageError("--layout says where hazy and clear pictures lie in --data; give that and nothing else.")
        hazy, target, pairs = dataset_pairs(layout, data)
        return Benchmark(runs, targets=target, hazy=hazy, pairs=pairs, **options)
    if data is not None:
        found_hazy, found_target = dataset_folders(data)
        hazy, target = hazy or found_hazy, target or found_target
    return Benchmark(runs, targets=target, hazy=hazy, **options)


def _log_troubles(outcome: Outcome) -> None:
    """Tell what went wrong with pictures: each one if details are wanted, else one line for all of a kind."""
    from unhaze.evaluation.scoring import metric_label

    kinds: dict[tuple[str, ...], list[str]] = {}
    for each in outcome.failures:
        kinds.setdefault((each.run, "failed", each.message), []).append(f"{each.name}: {each.message}")
    for run in outcome.plan.benchmark.runs:
        for case, scores in outcome.scored(run.label):
            for metric, message in scores.errors.items():
                kind = (run.label, f"have no value of {metric_label(metric)}")
                kinds.setdefault(kind, []).append(f"{case.name}: {message}")
    told = kinds if _console.is_verbose() else dict(list(kinds.items())[:_KINDS])
    for (label, became, *_), pictures in told.items():
        if len(pictures) == 1 or _console.is_verbose():
            for picture in pictures:
                _console.log.error(f"{label}, {picture}")
        else:
            _console.log.error(f"{label}: {len(pictures)} pictures {became}, such as {pictures[0]}")
    left = sum(map(len, kinds.values())) - sum(map(len, told.values()))
    if left:
        _console.log.error(f"{left} more pictures failed or lack a value.")
    if len(kinds) != sum(map(len, kinds.values())) and not _console.is_verbose():
        _console.log.error("The report names them all, as does -v.")


def _print_protocols(as_json: bool) -> None:
    from dataclasses import asdict

    from unhaze.evaluation.protocols import PROTOCOLS

    if as_json:
        entries = [
            {**asdict(protocol), "identical_psnr": str(protocol.identical_psnr)} for protocol in PROTOCOLS.values()
        ]
        print(json.dumps(entries, indent=2, ensure_ascii=False))
        return
    for protocol in PROTOCOLS.values():
        print(f"{protocol.id:16} {protocol.summary}")
        print(f"{'':16} metrics: {', '.join(protocol.metrics)}")
