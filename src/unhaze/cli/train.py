"""``unhaze train``: train a network by a published recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from unhaze.cli import _console
from unhaze.cli import _options as opt

__all__ = ["train"]


def train(
    preset: Annotated[str | None, typer.Argument(help="Which recipe and settings; see --list.")] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            help="Folder with the training data; for presets that make haze on the fly, any folder of clear pictures.",
            metavar="FOLDER",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder of the run; default runs/PRESET.", metavar="FOLDER")
    ] = None,
    changes: Annotated[
        list[str] | None, typer.Option("--set", help="Change a setting: optimizer.lr=2e-4.", metavar="KEY=VALUE")
    ] = None,
    resume: Annotated[
        str | None, typer.Option(help="Go on: auto takes the newest checkpoint of --out.", metavar="auto|FILE")
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Check the data, print what it holds and the resolved settings as JSON, with time and memory from two "
            "steps, and stop.",
        ),
    ] = False,
    list_all: Annotated[bool, typer.Option("--list", help="List the presets, and stop.")] = False,
    quiet: opt.Quiet = False,
) -> None:
    """Train a network by a published recipe, or a small one of ours.

    A run that was stopped goes on exactly where it was with --resume auto. The folder of the run holds the settings, a
    log of one JSON object per line, strips of validation pictures, checkpoints, the weights, and report.html.

    Try:

      unhaze train supervised-small --data pictures/ -o run --set loop.steps=500

      torchrun --nproc-per-node 2 -m unhaze train hgdf-small --data pictures/ -o run
    """
    import json

    from unhaze.errors import MissingDependencyError, UsageError
    from unhaze.recipes.presets import list_presets, override, summary
    from unhaze.recipes.presets import preset as find_preset

    if list_all:
        width = max(map(len, list_presets()))
        typer.echo("\n".join(f"{name:{width}}  {summary(name)}".rstrip() for name in list_presets()))
        return
    if preset is None:
        raise UsageError(f"Name a preset: {', '.join(list_presets())}.")
    try:
        recipe, config = find_preset(preset)
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise MissingDependencyError("torch", "torch", "train a network") from error
    for change in changes or []:
        if "=" not in change:
            raise UsageError(f"--set takes KEY=VALUE, but was given {change!r}.")
    pairs = (change.partition("=") for change in changes or [])
    config = override(config, {key.strip(): value.strip() for key, _, value in pairs})
    if dry_run:
        known: dict[str, Any] = dict(recipe.describe(config))  # recipes of other packages may know less
        if data is None:
            _console.log.info("The data was not checked; give its folder with --data.")
        elif inspect := getattr(recipe, "inspect", None):
            known["data"] = inspect(config, data)
        if rehearse := getattr(recipe, "rehearse", None):
            known["estimate"] = rehearse(config)
        typer.echo(json.dumps(known, indent=1))
        return
    if data is None:
        raise UsageError("Training needs data; give its folder with --data.")
    from unhaze.training.distributed import is_main
    from unhaze.training.report import write_report

    folder = out or Path("runs") / preset
    weights = recipe.main(config, data, folder, resume=resume)
    if is_main():
        page = write_report(folder, preset)
        _console.log.info(f"The network is {weights}; how it went is told in {page}")
