"""``unhaze metric``: one score of a few pictures."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unhaze.cli import _console
from unhaze.cli import _options as opt

if TYPE_CHECKING:
    pass

__all__ = ["metric"]


def metric(
    arguments: Annotated[
        list[str] | None,
        typer.Argument(
            help="Names of metrics, then pictures. A metric that compares takes RESTORED and TARGET (or HAZY).",
            metavar="NAME... FILE...",
            show_default=False,
        ),
    ] = None,
    protocol: Annotated[
        str | None,
        typer.Option(help="Round and crop as this protocol does; ssim is then its SSIM.", metavar="NAME"),
    ] = None,
    target_rule: Annotated[
        str, typer.Option(help="What to do about a target of another size.", metavar="equal|sots-indoor")
    ] = "equal",
    list_: Annotated[bool, typer.Option("--list", help="Tell about all metrics and stop.")] = False,
    as_json: opt.JsonOutput = False,
    quiet: opt.Quiet = False,
    verbose: opt.Verbose = False,
) -> None:
    """Score a few pictures.

    unhaze metric niqe fade a.png b.png

    unhaze metric psnr ssim_dcmpnet restored.png target.png

    unhaze metric clipped restored.png hazy.png
    """
    if list_:
        _print_list(as_json)
        return
    from unhaze.errors import UsageError
    from unhaze.metrics import metric_info

    names, files = _split(arguments or [])
    infos = [metric_info(name) for name in names]
    with_target = [info.name for info in infos if info.needs_target]
    with_hazy = [info.name for info in infos if info.needs_hazy]
    if with_target and with_hazy:
        raise UsageError(
            f"{with_target[0]} compares with the clear picture and {with_hazy[0]} with the hazy one; ask for one kind."
        )
    comparing = bool(with_target or with_hazy)
    rows, failures = (_score_pair if comparing else _score_each)(names, files, protocol, target_rule)
    if as_json:
        for row in rows:  # JSON has no word for infinity
            row["scores"] = {name: x if math.isfinite(x) else str(x) for name, x in row["scores"].items()}
        print(json.dumps(rows, indent=2, ensure_ascii=False))
    else:
        for row in rows:
            for name, value in row["scores"].items():
                print(f"{name}\t{value:.6f}\t{row['file']}")
    if failures:
        for message in failures:
            _console.log.error(message)
        raise typer.Exit(1)


def _split(arguments: list[str]) -> tuple[list[str], list[Path]]:
    """Leading names of metrics, and files."""
    from unhaze.errors import UnknownNameError, UsageError
    from unhaze.metrics import list_metrics

    known = list_metrics()
    count = 0
    while count < len(arguments) and arguments[count] in known:
        count += 1
    if count == 0:
        if not arguments:
            raise UsageError("Name a metric and pictures; unhaze metric --list tells about the metrics.")
        raise UnknownNameError("metric", arguments[0], known)
    if count < len(arguments) and not Path(arguments[count]).suffix and not Path(arguments[count]).exists():
        raise UnknownNameError("metric", arguments[count], known)
    if count == len(arguments):
        raise UsageError("Name at least one picture after the metrics.")
    return arguments[:count], [Path(argument) for argument in arguments[count:]]


def _score_pair(
    names: list[str], files: list[Path], protocol: str | None, target_rule: str
) -> tuple[list[dict[str, Any]], list[str]]:
    from unhaze.errors import ImageError, UsageError
    from unhaze.evaluation.scoring import score_picture
    from unhaze.metrics import create_metric, metric_info

    if len(files) != 2:
        raise UsageError(f"{names[0]} compares two pictures, the restored one first; {len(files)} are given.")
    for name in names:
        create_metric(name)  # what is missing must be said as such, not as a fault of the picture
    recipe, names = _recipe(protocol, names)
    role = "hazy" if any(metric_info(name).needs_hazy for name in names) else "target"
    try:
        first, second = (_read(path) for path in files)
        scores = score_picture(first, protocol=recipe, metrics=names, target_rule=target_rule, **{role: second})
    except ImageError as error:
        return [], [str(error)]
    row = {"file": str(files[0]), role: str(files[1]), "scores": scores.values}
    return [row | ({"dropped": scores.dropped} if scores.dropped else {})], list(scores.errors.values())


def _score_each(
    names: list[str], files: list[Path], protocol: str | None, target_rule: str
) -> tuple[list[dict[str, Any]], list[str]]:
    from unhaze.errors import ImageError
    from unhaze.evaluation.scoring import score_picture

    recipe, names = _recipe(protocol, names)
    rows, failures = [], []
    for path in files:
        try:
            scores = score_picture(_read(path), protocol=recipe, metrics=names, target_rule=target_rule)
        except ImageError as error:
            failures.append(str(error))
            continue
        dropped = {"dropped": scores.dropped} if scores.dropped else {}
        rows.append({"file": str(path), "scores": scores.values, **dropped})
        failures += [f"{path}: {message}" for message in scores.errors.values()]
    return rows, failures


def _recipe(name: str | None, metrics: list[str]) -> tuple[Any, list[str]]:
    from dataclasses import replace

    from unhaze.evaluation.protocols import get_protocol

    if name is None:  # the metric as it stands: nothing rounded, nothing cropped
        return replace(get_protocol("full8bit"), name="plain", rounding="none"), metrics
    recipe = get_protocol(name)
    return recipe, [recipe.ssim_metric if metric == "ssim" else metric for metric in metrics]


def _read(path: Path) -> Any:
    from unhaze.errors import ImageError
    from unhaze.evaluation.scoring import read_batch

    try:
        return read_batch(path)
    except ImageError as error:
        raise type(error)(str(error) if str(path) in str(error) else f"{path}: {error}") from error


def _print_list(as_json: bool) -> None:
    from dataclasses import asdict

    from unhaze.evaluation.scoring import unavailable_reason
    from unhaze.metrics import list_metrics, metric_info

    infos = [metric_info(name) for name in list_metrics()]
    if as_json:
        entries = [{**asdict(info), "range": [str(limit) for limit in info.range]} for info in infos]
        print(json.dumps(entries, indent=2, ensure_ascii=False))
        return
    for info in infos:
        better = "higher" if info.higher_is_better else "lower"
        reason = unavailable_reason(info.name)
        inputs = "restored and hazy" if info.needs_hazy else "one picture"
        inputs = "restored and target" if info.needs_target else inputs
        print(f"{info.name:18} {better} is better; {inputs}; {info.color_space}")
        print(f"{'':18} {info.source}" + (f" (unavailable: {reason})" if reason else ""))
