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
from unhaze.cli._work import NetworkSettings

if TYPE_CHECKING:
    from unhaze.evaluation.benchmark import Benchmark, Outcome, Plan, Run

__all__ = ["eval_"]


def eval_(
    pred: Annotated[
        list[str] | None,
        typer.Option(help="A folder of results; LABEL=FOLDER names it. Give several to compare.", metavar="FOLDER"),
    ] = None,
    target: Annotated[Path | None, typer.Option(help="Folder of clear pictures.", metavar="FOLDER")] = None,
    hazy: Annotated[Path | None, typer.Option(help="Folder of hazy pictures.", metavar="FOLDER")] = None,
    method: Annotated[
        list[str] | None,
        typer.Option(
            "--method",
            "-m",
            help="A method of unhaze to run on the hazy pictures; several to compare.",
            metavar="NAME",
        ),
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(
            help="A network, or NETWORK+FUSION, to run on the hazy pictures; several to compare. Needs --weights.",
            metavar="NAME",
        ),
    ] = None,
    weights: Annotated[
        list[Path] | None,
        typer.Option(
            help="Trained weights of each --model, in their order; they may name the network by themselves.",
            metavar="FILE",
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(help="A data set: hazy/ beside gt/ or clear/, or pictures alone (no targets).", metavar="FOLDER"),
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
    strength: Annotated[
        float, typer.Option(help="Strength of methods, -1 to 1, and networks, 0 to 1.", metavar="X")
    ] = 1.0,
    engine: opt.Engine = "auto",
    device: opt.Device = NetworkSettings.device,
    precision: opt.Precision = NetworkSettings.precision,
    tile: opt.TileSize = None,
    compile: opt.Compile = False,
    depth: opt.Depth = None,
    depth_weights: opt.DepthWeights = None,
    backbone_weights: opt.BackboneWeights = None,
    prompts: opt.Prompts = NetworkSettings.prompts,
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
) -> None:
    """Score results against clear pictures, or without them, and write a report.

    unhaze eval --pred results/ --target gt/ --protocol dcmpnet

    unhaze eval --method dcp --method cap --data SOTS/indoor --target-rule sots-indoor

    unhaze eval --model gcanet --weights gcanet.pth --method dcp --data SOTS/indoor --target-rule sots-indoor

    A run that is stopped goes on where it was when started again with the same output folder.
    """
    if list_protocols:
        _print_protocols(as_json)
        return
    _check_dataset(dataset)
    from unhaze.evaluation.benchmark import plan_benchmark
    from unhaze.evaluation.report import analyze, report_dict, write_report
    from unhaze.evaluation.statistics import require_scipy
    from unhaze.inference.machine import usable_cores

    require_scipy()  # its absence, too, must be noticed before hours of scoring
    network = NetworkSettings(
        None, None, device, precision, tile, compile, depth, depth_weights, backbone_weights, prompts
    )
    runs = _runs(pred or [], method or [], strength, engine)
    networks = _network_runs(model or [], weights or [], network, strength)
    plan = plan_benchmark(
        _benchmark(
            (*runs, *networks),
            (target, hazy, data),
            protocol=protocol,
            metrics=None if metrics is None else tuple(filter(None, metrics.replace(" ", "").split(","))),
            pairing=pairing,
            target_rule=target_rule,
            limit=limit,
        )
    )
    _log_plan(plan)
    outcome = _score(plan, output, jobs or usable_cores())
    analysis = analyze(outcome, seed=seed, dataset=dataset)
    command = _command()
    report = write_report(analysis, output, command=command, cases_shown=cases, plots=plots)
    if as_json:
        print(json.dumps(report_dict(analysis, command), indent=2, ensure_ascii=False))
    else:
        print(analysis.table.markdown(), end="")
    _log_outcome(outcome, report)
    without = sum(bool(scores.errors) for scores in outcome.scores.values())
    if outcome.failures or without:
        raise typer.Exit(1)


def _runs(folders: list[str], methods: list[str], strength: float, engine: str) -> tuple[Run, ...]:
    """Runs over folders and over methods; an engine is for those methods that have a network."""
    from unhaze.errors import UsageError
    from unhaze.evaluation.benchmark import Run
    from unhaze.inference.methods import method_info

    runs = []
    for text in folders:
        label, sign, folder = text.partition("=")
        path = Path(folder if sign else text)
        runs.append(Run(label if sign else path.resolve().name, results=path))
    with_network = [name for name in methods if method_info(name).has_network]
    if engine != "auto" and not with_network:
        raise UsageError("--engine is for methods that have a network; leave it out, or add one with --method.")
    options: dict[str, Any] = {"strength": strength}
    chosen = {} if engine == "auto" else {"engine": engine}
    runs += [Run(name, method=name, options=options | (chosen if name in with_network else {})) for name in methods]
    return tuple(runs)


def _network_runs(names: list[str], files: list[Path], network: NetworkSettings, strength: float) -> tuple[Run, ...]:
    """Runs over networks; names and files belong together in their order, and files may name their networks."""
    from unhaze.errors import UsageError, WeightsNotFoundError
    from unhaze.evaluation.benchmark import Run
    from unhaze.inference.network import resolve_model

    resolved = [resolve_model(name) for name in names]
    if not names and not files:
        network.check()
        return ()
    if len(files) < len(names):
        raise WeightsNotFoundError(
            f"The network {resolved[len(files)]} needs trained weights; give --weights FILE for each --model."
        )
    if names and len(files) > len(names):
        raise UsageError(f"{files[len(names)]} belongs to no network; name one with --model for each --weights.")
    runs: list[Run] = []
    for name, file in zip(resolved or map(_named_by, files), files, strict=True):
        settings = {
            key: value
            for key, value in replace(network, model=name, weights=file).as_options().items()
            if key != "model" and value != getattr(NetworkSettings, key)
        }
        taken = {run.label for run in runs}
        label = name if name not in taken else f"{name} ({file.stem})"
        runs.append(Run(label, model=name, options={"strength": strength, **settings}))
    return tuple(runs)


def _named_by(file: Path) -> str:
    """The network that a weights file belongs to."""
    from unhaze.inference.dehazer import Dehazer

    return Dehazer(weights=file, device="cpu").method


def _benchmark(
    runs: tuple[Run, ...], folders: tuple[Path | None, Path | None, Path | None], **options: Any
) -> Benchmark:
    from unhaze.errors import UsageError
    from unhaze.evaluation.benchmark import Benchmark, dataset_folders

    target, hazy, data = folders
    if not runs:
        raise UsageError(
            "Nothing to score: give a folder of results with --pred, a method with --method, or a network with --model."
        )
    if data is not None:
        found_hazy, found_target = dataset_folders(data)
        hazy, target = hazy or found_hazy, target or found_target
    return Benchmark(runs, targets=target, hazy=hazy, **options)


def _score(plan: Plan, output: Path, jobs: int) -> Outcome:
    from unhaze.evaluation.benchmark import run_benchmark

    with _console.ProgressBar("Scoring", len(plan.cases)) as bar:
        return run_benchmark(plan, output, workers=jobs, progress=bar.advance)


def _check_dataset(name: str | None) -> None:
    from unhaze.evaluation.reported import reported_figures

    if name is not None:
        reported_figures(dataset=name)  # an unknown name must fail before hours of scoring


def _log_plan(plan: Plan) -> None:
    from unhaze.evaluation.scoring import metric_label

    for label, pairing in plan.pairings.items():
        _console.log.info(f"{label}: {pairing.how}")
    for name, reason in plan.unavailable.items():
        _console.log.info(f"{metric_label(name)} is not scored: {reason}")
    for note in plan.notes:
        _console.log.info(note)


def _log_outcome(outcome: Outcome, report: Path) -> None:
    for failure in outcome.failures:
        _console.log.error(f"{failure.run}, {failure.name}: {failure.message}")
    for case in outcome.plan.cases:
        for message in outcome.scores[case.key].errors.values() if case.key in outcome.scores else ():
            _console.log.error(f"{case.run.label}, {case.name}: {message}")
    reused = f", {outcome.reused} of them known from before" if outcome.reused else ""
    failed = f"; {len(outcome.failures)} failed" if outcome.failures else ""
    scored = sum(case.key in outcome.scores for case in outcome.plan.cases)
    _console.log.info(f"{scored} pictures scored{reused}{failed}. Report: {report}")


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


def _command() -> str:
    from unhaze.evaluation.provenance import portable_command

    return portable_command(["unhaze", *sys.argv[1:]])
