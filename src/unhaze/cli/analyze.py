"""``unhaze analyze``: what haze does to the features of networks and to estimated depth."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unhaze.cli import _console
from unhaze.cli import _options as opt
from unhaze.errors import MissingDependencyError, OutputError, UsageError, WeightsNotFoundError

if TYPE_CHECKING:
    from unhaze.depth.base import DepthEstimator
    from unhaze.evaluation.studies.consistency import Consistency
    from unhaze.evaluation.studies.divergence import Divergence
    from unhaze.evaluation.studies.probes import Origin, Probe
    from unhaze.evaluation.studies.spread import Spread

__all__ = ["analyze"]

_HELP_NAMES = {"help_option_names": ["-h", "--help"]}

analyze = typer.Typer(
    help="Measure what haze does to features and to estimated depth.",
    rich_markup_mode=None,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings=_HELP_NAMES,
)

Data = Annotated[
    Path,
    typer.Option(help="A folder with rgbd or camvid (validation split), or with clear and depth.", metavar="FOLDER"),
]
Output = Annotated[
    Path, typer.Option("--output", "--out", "-o", help="Folder for the numbers and plots.", metavar="FOLDER")
]
Models = Annotated[
    list[str] | None,
    typer.Option(
        help="A network, or a network with a fusion module; several to compare. field-m needs no weights.",
        metavar="NAME[+FUSION]",
    ),
]
Weights = Annotated[list[Path] | None, typer.Option(help="Weights of the networks, in their order.", metavar="FILE")]
BackboneWeights = Annotated[
    Path | None, typer.Option(help="Weights of the network where a file holds the fusion module alone.", metavar="FILE")
]
Depth = Annotated[
    list[str] | None,
    typer.Option(help="A depth estimator; several to compare. See: unhaze depth --list.", metavar="NAME[=WEIGHTS]"),
]
Random = Annotated[
    bool, typer.Option("--random", help="Measure random weights: beside given ones as a control, or where none are.")
]
Controls = Annotated[bool, typer.Option("--controls/--no-controls", help="Measure controls made by hand as well.")]
Levels = Annotated[int, typer.Option(help="Levels of haze.", min=1, metavar="N")]
Betas = Annotated[
    str, typer.Option(help="Thinnest and densest haze, as scattering coefficients [1/m].", metavar="LOW,HIGH")
]
Airlight = Annotated[float, typer.Option(help="Grey of the haze, 0 to 1.", metavar="A")]
Group = Annotated[str | None, typer.Option(help="One group of the data alone.", metavar="rgbd|camvid")]
Count = Annotated[int, typer.Option(help="Pictures to take, spread over those there are.", min=1, metavar="N")]
Size = Annotated[int, typer.Option(help="Long side to which larger pictures are reduced [px].", min=1, metavar="N")]
DepthScale = Annotated[
    float, typer.Option(help="Metres per unit of the maps in depth; 0.001 for millimetres.", metavar="METRES")
]
Seed = Annotated[int, typer.Option(help="Of random weights.", min=0, metavar="N")]
Format = Annotated[str, typer.Option(help="Format of the plots.", metavar="svg|png")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace outputs that exist.")]


@analyze.callback()
def _group() -> None:
    """Measure what haze does to features and to estimated depth."""


@analyze.command(context_settings=_HELP_NAMES)
def consistency(
    data: Data,
    output: Output,
    model: Models = None,
    weights: Weights = None,
    backbone_weights: BackboneWeights = None,
    depth: Depth = None,
    random: Random = False,
    controls: Controls = True,
    levels: Levels = 6,
    betas: Betas = "0.04,0.20",
    airlight: Airlight = 0.85,
    group: Group = None,
    count: Count = 12,
    size: Size = 320,
    depth_scale: DepthScale = 0.001,
    seed: Seed = 0,
    format: Format = "svg",
    overwrite: Overwrite = False,
    json_output: opt.JsonOutput = False,
    quiet: opt.Quiet = False,
    verbose: opt.Verbose = False,
) -> None:
    """Measure how far haze moves features from those of the clear twin (P2, Figs. 1 to 3).

    unhaze analyze consistency --model gcanet-base --weights gcanet.pth --data DATA --out study

    A network with a fusion module is measured with it and without it. The first --depth is what it takes its depth
    from; without one, that is the estimator it was made with, or the true depth.
    """
    _need_torch()
    from unhaze.evaluation.studies.consistency import MEASURES, measure_consistency
    from unhaze.evaluation.studies.plots import plot_consistency
    from unhaze.evaluation.studies.probes import control_probes
    from unhaze.evaluation.studies.scenes import haze_levels, load_scenes

    names = ["consistency.json", "consistency.md", *(f"consistency-{measure}.{format}" for measure in MEASURES)]
    _check_outputs(output, names, overwrite, format)
    found = haze_levels(levels, *_range(betas))
    estimators = _estimators(depth or [], random, seed)
    probes = _probes(model or [], weights or [], backbone_weights, estimators, random, seed)
    if not probes:
        raise UsageError("There is nothing to measure; name a network with --model, or an estimator with --depth.")
    probes += control_probes() if controls else ()
    scenes = load_scenes(data, group=group, count=count, long_side=size, depth_scale=depth_scale)
    with _console.progress("Measuring", len(scenes)) as advance:
        result = measure_consistency(probes, scenes, found, airlight=airlight, progress=advance)
    table = _consistency_table(result)
    plots = {
        f"consistency-{measure}.{format}": plot_consistency(result, measure, format)
        for measure in MEASURES
        if not all(math.isnan(stage.spread(measure, 0).mean) for stage in result.stages)  # it means something there
    }
    _write(output, {"consistency.json": result.to_json(), "consistency.md": table, **plots}, overwrite)
    print(result.to_json() if json_output else table, end="\n" if json_output else "")
    _console.log.info(f"{len(result.pictures)} pictures, {len(result.betas)} levels of haze. Written to {output}.")


@analyze.command(context_settings=_HELP_NAMES)
def features(
    data: Data,
    output: Output,
    model: Models = None,
    weights: Weights = None,
    backbone_weights: BackboneWeights = None,
    depth: Depth = None,
    random: Random = False,
    controls: Controls = False,
    levels: Levels = 4,
    betas: Betas = "0.04,0.20",
    airlight: Airlight = 0.85,
    group: Group = None,
    count: Count = 2,
    size: Size = 240,
    depth_scale: DepthScale = 0.001,
    seed: Seed = 0,
    overwrite: Overwrite = False,
    quiet: opt.Quiet = False,
    verbose: opt.Verbose = False,
) -> None:
    """Draw features and depth over levels of haze (P2, Figs. 1 to 3, 11 and 12): a PNG for each picture.

    unhaze analyze features --model gcanet-base --weights gcanet.pth --depth compact --data DATA --out sheets

    Levels across, stages down. Colours are principal components of the clear features; depth is the row nearness.
    """
    _need_torch()
    import cv2

    from unhaze.evaluation.studies.pictures import feature_sheet
    from unhaze.evaluation.studies.probes import control_probes
    from unhaze.evaluation.studies.scenes import haze_levels, load_scenes

    found = haze_levels(levels, *_range(betas))
    names = [f"features-{i}.png" for i in range(1, count + 1)]
    _check_outputs(output, names, overwrite)
    probes = _probes(model or [], weights or [], backbone_weights, _estimators(depth or [], random, seed), random, seed)
    probes += control_probes() if controls else ()
    if not probes:
        raise UsageError("There is nothing to draw; name a network with --model, or an estimator with --depth.")
    sheets: dict[str, str | bytes] = {}
    scenes = load_scenes(data, group=group, count=count, long_side=size, depth_scale=depth_scale)
    for name, scene in zip(names, scenes, strict=False):
        sheets[name] = cv2.imencode(".png", feature_sheet(probes, scene, found, airlight)[..., ::-1])[1].tobytes()
    _write(output, sheets, overwrite)
    _console.log.info(f"{len(sheets)} pictures, {len(found)} levels of haze. Written to {output}.")


@analyze.command(context_settings=_HELP_NAMES)
def kl(
    data: Data,
    output: Output,
    depth: Depth = None,
    random: Random = False,
    controls: Controls = True,
    levels: Levels = 6,
    betas: Betas = "0.04,0.20",
    airlight: Airlight = 0.85,
    group: Group = None,
    count: Count = 12,
    size: Size = 320,
    depth_scale: DepthScale = 0.001,
    seed: Seed = 0,
    format: Format = "svg",
    overwrite: Overwrite = False,
    json_output: opt.JsonOutput = False,
    quiet: opt.Quiet = False,
    verbose: opt.Verbose = False,
) -> None:
    """Measure the KL divergence between depth of clear and of hazy pictures (P2, Fig. 9).

    unhaze analyze kl --depth compact --depth depth-anything-v2-small=vits.pth --data DATA --out study

    By two definitions, because the paper does not say which it uses: nearness as a distribution over pixels, and its
    histogram.
    """
    _need_torch()
    from unhaze.evaluation.studies.divergence import control_estimators, measure_divergence
    from unhaze.evaluation.studies.plots import plot_divergence
    from unhaze.evaluation.studies.scenes import haze_levels, load_scenes

    _check_outputs(output, ["kl.json", "kl.md", f"kl.{format}"], overwrite, format)
    found = haze_levels(levels, *_range(betas))
    estimators = _estimators(depth or [], random, seed)
    if not estimators:
        raise UsageError("There is nothing to measure; name a depth estimator with --depth.")
    estimators |= control_estimators() if controls else {}
    scenes = load_scenes(data, group=group, count=count, long_side=size, depth_scale=depth_scale)
    with _console.progress("Measuring", len(scenes)) as advance:
        result = measure_divergence(estimators, scenes, found, airlight=airlight, progress=advance)
    table = _divergence_table(result)
    plot = plot_divergence(result, format)
    _write(output, {"kl.json": result.to_json(), "kl.md": table, f"kl.{format}": plot}, overwrite)
    print(result.to_json() if json_output else table, end="\n" if json_output else "")
    _console.log.info(f"{len(result.pictures)} pictures, {len(result.betas)} levels of haze. Written to {output}.")


def _need_torch() -> None:
    try:
        import torch  # noqa: F401
    except ModuleNotFoundError as error:
        raise MissingDependencyError("torch", "torch", "analyse networks and depth estimators") from error


def _check_outputs(folder: Path, names: Sequence[str], overwrite: bool, format: str | None = None) -> None:
    """Refuse before minutes of work what would be refused after them; ``format`` is that of plots, if any are drawn."""
    from unhaze.errors import UnknownNameError
    from unhaze.evaluation.studies.plots import FORMATS

    if format is not None and format not in FORMATS:
        raise UnknownNameError("format of plots", format, FORMATS)
    existing = [name for name in names if (folder / name).exists()]
    if existing and not overwrite:
        raise OutputError(f"{folder / existing[0]} exists already; add --overwrite, or name another folder.")
    if format is None:
        return
    try:
        import matplotlib as mpl  # noqa: F401
    except ModuleNotFoundError as error:
        raise MissingDependencyError("matplotlib", "eval", "draw curves") from error
    try:
        import scipy  # noqa: F401
    except ModuleNotFoundError as error:
        raise MissingDependencyError("scipy", "eval", "say how sure a mean is") from error


def _range(text: str) -> tuple[float, float]:
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError as error:
        raise UsageError(f"--betas is {text!r}; give two numbers, such as 0.04,0.20.") from error
    return low, high


def _estimators(texts: Sequence[str], random: bool, seed: int) -> dict[str, tuple[DepthEstimator, Origin]]:
    """Estimators by label, with where their weights come from."""
    import torch

    from unhaze.depth import create_depth
    from unhaze.depth.base import announce_license

    found: dict[str, tuple[DepthEstimator, Origin]] = {}
    for text in texts:
        name, _, weights = text.partition("=")
        noise = None
        if random:
            with torch.random.fork_rng(devices=[]), contextlib.suppress(UsageError):
                # no such option where trained weights are needed; what else is wrong with the name is told below
                torch.manual_seed(seed)
                noise = create_depth(name, untrained=True)
        try:
            trained = create_depth(name, **({"weights": weights} if weights else {}))
            announce_license(trained)
        except WeightsNotFoundError:
            if weights or noise is None:
                raise
        else:
            found[text if name in found else name] = (trained, "trained")
        if noise is not None:
            found[f"{name} (random)"] = (noise, "random")
    return found


def _probes(
    names: Sequence[str],
    files: Sequence[Path],
    backbone_weights: Path | None,
    estimators: dict[str, tuple[DepthEstimator, Origin]],
    random: bool,
    seed: int,
) -> tuple[Probe, ...]:
    """All that features are taken from, in the order in which it was named."""
    from unhaze.evaluation.studies.probes import (
        FIELD_MODEL,
        estimator_probe,
        field_probe,
        fused_probe,
        network_probe,
        random_network_probe,
    )
    from unhaze.models.checkpoints.loading import load_network
    from unhaze.models.guided import is_guided, load_model
    from unhaze.models.networks import resolve_network

    left = list(files)
    chosen = next((estimator for estimator, _ in estimators.values()), None)
    probes: list[Probe] = []
    for name in names:
        if name == FIELD_MODEL:
            probes.append(field_probe())
            continue
        backbone = resolve_network(name.partition("+")[0])
        if not left and not random:
            raise WeightsNotFoundError(
                f"{name} needs trained weights; give them with --weights FILE, or measure random ones with --random."
            )
        if left and is_guided(name):  # without its fusion module and with it
            full = "+".join((backbone, name.partition("+")[2]))
            model = load_model(left.pop(0), full, chosen, backbone_weights=backbone_weights)
            probes += [network_probe(model.backbone, f"{full}, fusion off"), fused_probe(model, full)]
        elif left:
            probes.append(network_probe(load_network(left.pop(0), backbone)[0], backbone))
        if random:
            probes.append(random_network_probe(backbone, seed))
    if left:
        raise UsageError(f"{left[0]} belongs to no network; name one with --model for each --weights.")
    probes += [estimator_probe(estimator, label, origin) for label, (estimator, origin) in estimators.items()]
    return tuple(probes)


def _consistency_table(result: Consistency) -> str:
    """Distances at the thinnest and the densest haze, as Markdown."""
    last = len(result.betas) - 1
    ends = [0, last] if last else [0]
    cells = [f"{label}, {result.betas[level]:g}" for label in ("relative L2", "1 - cos", "/ scene") for level in ends]
    lines = [_row("probe", "weights", "stage", "channels", *cells), _row(*(["---"] * (4 + len(cells))))]
    for stage in result.stages:
        spreads = [stage.spread(measure, level) for measure in ("relative", "cosine", "scene") for level in ends]
        lines.append(_row(stage.probe, stage.weights, stage.stage, stage.channels, *map(_shown, spreads)))
    return "\n".join([*lines, "", _haze(result)]) + "\n"


def _divergence_table(result: Divergence) -> str:
    """Divergences at the thinnest and the densest haze, and to another scene, as Markdown."""
    from unhaze.evaluation.studies.divergence import DEFINITIONS

    last = len(result.betas) - 1
    ends = [0, last] if last else [0]
    cells = [
        f"{definition}, {what}"
        for definition in DEFINITIONS
        for what in (*(f"{result.betas[level]:g}" for level in ends), "other scene")
    ]
    lines = [_row("estimator", "weights", *cells), _row(*(["---"] * (2 + len(cells))))]
    for each in result.estimators:
        spreads = [
            spread
            for definition in DEFINITIONS
            for spread in (*(each.spread(definition, level) for level in ends), each.other(definition))
        ]
        lines.append(_row(each.name, each.weights, *map(_shown, spreads)))
    return "\n".join([*lines, "", _haze(result)]) + "\n"


def _haze(result: Consistency | Divergence) -> str:
    """What the levels mean for these pictures."""
    levels = ", ".join(f"{b:g}: {t:.2f}" for b, t in zip(result.betas, result.transmission, strict=True))
    return (
        f"Mean ± standard deviation over {len(result.pictures)} pictures. "
        f"Scattering coefficient [1/m] and mean transmission: {levels}."
    )


def _shown(spread: Spread) -> str:
    if math.isnan(spread.mean):
        return "-"
    return f"{spread.mean:.3f}" + ("" if math.isnan(spread.std) else f" ± {spread.std:.3f}")


def _row(*cells: Any) -> str:
    return f"| {' | '.join(map(str, cells))} |"


def _write(folder: Path, contents: dict[str, str | bytes], overwrite: bool) -> None:
    from unhaze.images.atomic import atomic_output

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"The folder {folder} cannot be made: {error.strerror}; name another with --out.") from error
    for name, content in contents.items():
        with atomic_output(folder / name, overwrite=overwrite) as temporary:
            temporary.write_bytes(content.encode() if isinstance(content, str) else content)
