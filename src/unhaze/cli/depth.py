"""``unhaze depth``: depth of a picture, from its haze or with an estimator."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unhaze.cli import _console
from unhaze.cli import _options as opt
from unhaze.errors import UsageError
from unhaze.restore.options import Options

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from unhaze.batch.planning import Job
    from unhaze.depth.base import DepthEstimator
    from unhaze.types import DepthMap

    # a picture file to its depth, and facts for the user
    Estimate = Callable[[Path], tuple[DepthMap[NDArray[np.float32]], dict[str, Any]]]

__all__ = ["depth"]


@opt.takes_options("model", "engine", "device", before="estimator")
def depth(
    inputs: Annotated[
        list[str] | None,
        typer.Argument(help="Pictures, folders and patterns.", metavar="INPUT...", show_default=False),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File or folder; default NAME-depth.png beside the input.")
    ] = None,
    color: Annotated[
        bool, typer.Option("--color", help="8-bit colours for the eye, near is red and far is blue.")
    ] = False,
    estimator: Annotated[
        str | None,
        typer.Option(
            "--depth",
            help="A depth estimator instead of the haze, or a depth map in a file; see: unhaze depth --list.",
            metavar="NAME|FILE",
        ),
    ] = None,
    weights: Annotated[
        Path | None, typer.Option(help="File or folder with the estimator's weights.", metavar="PATH")
    ] = None,
    longest: Annotated[
        int | None,
        typer.Option(
            help="Long side at which the estimator sees a picture [px]; default is its own. Larger finds finer detail "
            "and takes longer.",
            min=1,
            metavar="N",
        ),
    ] = None,
    preprocessing: Annotated[
        str | None,
        typer.Option(
            help="How Depth Anything and Distill-Any-Depth resize a picture; default is antialiased.",
            metavar="antialiased|official",
        ),
    ] = None,
    kind: Annotated[
        str | None,
        typer.Option(
            help="What the numbers of a depth map in a file mean; default is what the file says, else relative.",
            metavar="metric|relative|inverse_relative",
        ),
    ] = None,
    cache: Annotated[
        bool, typer.Option("--cache", help="Keep what an estimator finds, and take what was found before.")
    ] = False,
    cache_folder: Annotated[
        Path | None,
        typer.Option(
            help="Where to keep it; implies --cache. Default is depth in $UNHAZE_CACHE or ~/.cache/unhaze.",
            metavar="FOLDER",
        ),
    ] = None,
    cache_features: Annotated[
        bool,
        typer.Option(
            "--cache-features",
            help="Keep the estimator's feature maps, too, for trainings that fuse them; implies --cache.",
        ),
    ] = False,
    list_estimators: Annotated[bool, typer.Option("--list", help="List the depth estimators, and stop.")] = False,
    recursive: opt.Recursive = True,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace outputs that exist.")] = False,
    json_output: opt.JsonOutput = False,
    quiet: opt.Quiet = False,
    verbose: opt.Verbose = False,
    **given: Any,
) -> None:
    """Estimate depth, from the haze or with a network.

    Writes a grey 16-bit PNG in which far is bright, whatever the estimator's own numbers mean; its text and the JSON
    say what a level is. From haze depth is known up to a factor only, 0 is the camera, and not where there is no haze
    or nothing but haze.
    """
    options = opt.collect(given)
    from unhaze.batch.planning import plan
    from unhaze.cli._each_file import for_each_file
    from unhaze.depth import depth_info, list_depth

    if list_estimators:
        cards = [depth_info(name) for name in list_depth()]
        if json_output:
            print(json.dumps([asdict(card) for card in cards], indent=2))
            return
        width = max(len(card.name) for card in cards)
        for card in cards:
            print(f"{card.name:{width}}  licence: {card.license}; weights: {card.weights}")
        return
    if not inputs:
        raise UsageError("No picture is named; give files or folders, or --list for the depth estimators.")
    jobs = plan(
        inputs,
        output=output,
        suffix="-depth",
        format="png",
        recursive=recursive,
        existing="overwrite" if overwrite else "error",
    )
    if not jobs:
        _console.log.error(f"No pictures were found in {', '.join(inputs)}.")
    settings = _EstimatorSettings(
        weights, options.device, longest, preprocessing, kind, cache or cache_features, cache_folder, cache_features
    )
    with ExitStack() as stack:
        if estimator is None:
            settings.refuse()
            estimate = _from_haze(options, stack)
        else:
            if options.given("model", "engine"):
                raise UsageError("--model and --engine are for depth from haze; leave them out, or leave out --depth.")
            estimate = _from_estimator(estimator, settings)
        for_each_file(jobs, lambda job: _write_depth(job, estimate, color), "depth", as_json=json_output)


@dataclass(frozen=True, slots=True)
class _EstimatorSettings:
    """What was asked of an estimator; the defaults ask nothing."""

    weights: Path | None = None
    device: str = "auto"
    longest: int | None = None
    preprocessing: str | None = None
    kind: str | None = None
    cache: bool = False
    cache_folder: Path | None = None
    cache_features: bool = False

    def refuse(self) -> None:
        """Complain where there is no estimator to ask."""
        if self != _EstimatorSettings():
            raise UsageError(
                "--weights, --device, --longest, --preprocessing, --kind and --cache with what goes with it are for "
                "depth estimators; add --depth NAME."
            )

    def create(self, model: str) -> DepthEstimator:
        """The estimator, where it shall run."""
        from unhaze.catalog import check_device
        from unhaze.depth import create_depth

        check_device(self.device)
        given = {name: getattr(self, name) for name in ("weights", "longest", "preprocessing", "kind")}
        estimator = create_depth(model, **{name: value for name, value in given.items() if value is not None})
        from unhaze.models.layers.device import (
            choose_device,  # needs torch, and it is create_depth that tells a user so
        )

        return estimator.to(choose_device(self.device))


def _write_depth(job: Job, estimate: Estimate, color: bool) -> dict[str, Any]:
    """Estimate and write the depth of one picture; returns facts for the user."""
    from unhaze.batch.workers import Rendered, write_products
    from unhaze.images.depth_maps import color_depth, gray_depth

    assert job.output is not None
    found, facts = estimate(job.source)
    picture = color_depth(found) if color else gray_depth(found)
    height, width = found.map.shape
    write_products(Rendered(picture.data, {}, (width, height), ()), job.output, {}, overwrite=job.overwrite)
    far_is_large = found.far_is_large
    near, far = (found.map.min(), found.map.max()) if far_is_large else (found.map.max(), found.map.min())
    return {
        "width": width,
        "height": height,
        **facts,
        "kind": found.kind,
        "far": "cold" if color else "bright",
        "near": "warm" if color else "dark",
        "scale": picture.scale,
        "nearest": float(near),
        "farthest": float(far),
    }


def _from_haze(options: Options, stack: ExitStack) -> Estimate:
    """Depth from a model's transmission."""
    import numpy as np

    from unhaze.images.color import tone_curve
    from unhaze.images.files import read_image
    from unhaze.restore.dehazer import Dehazer
    from unhaze.restore.strips import transmission_strips
    from unhaze.types import DepthMap

    # a sky that is protected from dehazing would come out near
    dehazer = stack.enter_context(Dehazer.from_options(replace(options, protect_sky=0.0)))

    def estimate(source: Path) -> tuple[DepthMap[NDArray[np.float32]], dict[str, Any]]:
        picture = read_image(source, max_pixels=dehazer.max_pixels)
        curve = tone_curve(picture.metadata.icc)
        seen: dict[str, Any] = {"white": picture.white, "hidden": picture.hidden()}
        transmission = transmission_strips(picture.pixels, dehazer.solve(picture.pixels, curve, **seen), curve, **seen)
        # the optical depth, beta d (He et al. 2011, Eq. 2)
        return DepthMap(-np.log(transmission), "relative"), {"model": dehazer.model}

    return estimate


def _from_estimator(model: str, settings: _EstimatorSettings) -> Estimate:
    """Depth from an estimator of the catalogue, one estimate on each whole picture.

    Args:
        model: Its name, or the path of a depth map.
        settings: What was asked of it.
    """
    import numpy as np

    from unhaze.images.color import tone_curve
    from unhaze.images.files import read_image
    from unhaze.restore.strips import full_scale

    estimator = settings.create(model)
    # these need torch, and it is create_depth that tells a user so
    from unhaze.depth.base import announce_license, gives_features
    from unhaze.depth.cache import DepthCache, enlarged, estimate_pixels
    from unhaze.depth.file import FileDepth

    if not isinstance(estimator, FileDepth):
        announce_license(estimator)
    kept = None
    if settings.cache or settings.cache_folder is not None:
        kept = DepthCache(settings.cache_folder, features=settings.cache_features and gives_features(estimator))
    facts = {"model": model, "license": estimator.license, "cache": None if kept is None else str(kept.folder)}

    def estimate(source: Path) -> tuple[DepthMap[NDArray[np.float32]], dict[str, Any]]:
        picture = read_image(source)
        pixels, curve = picture.pixels, tone_curve(picture.metadata.icc)
        if curve is not None or pixels.dtype != np.uint8:  # what an estimator sees are 8 bits of sRGB
            white = full_scale(pixels) if picture.white is None else picture.white
            values = np.clip(np.nan_to_num(pixels.astype(np.float32)) / np.float32(white), 0, 1)
            values = values if curve is None else curve.to_srgb(values)
            pixels = np.rint(values * 255).astype(np.uint8)
        if pixels.ndim == 2:
            pixels = np.repeat(pixels[..., None], 3, axis=2)
        found = estimate_pixels(estimator, pixels) if kept is None else kept.estimate(estimator, pixels)
        return enlarged(found, *pixels.shape[:2]), facts

    return estimate
