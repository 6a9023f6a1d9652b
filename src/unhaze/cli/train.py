"""``unhaze train``: train a network by a published recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["train"]


def train(
    preset: Annotated[str | None, typer.Argument(help="Which recipe and settings; see --list.")] = None,
    data: Annotated[Path | None, typer.Option(help="Folder with the training data.", metavar="FOLDER")] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder of the run; default runs/PRESET.", metavar="FOLDER")
    ] = None,
    changes: Annotated[
        list[str] | None, typer.Option("--set", help="Change a setting: optimizer.lr=2e-4.", metavar="KEY=VALUE")
    ] = None,
    resume: Annotated[
        str | None, typer.Option(help="Go on: auto takes the newest checkpoint of --out.", metavar="auto|FILE")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the resolved settings as JSON, and stop.")] = False,
    list_all: Annotated[bool, typer.Option("--list", help="List the presets, and stop.")] = False,
) -> None:
    """Train a network from scratch; a run that was stopped goes on exactly where it was with --resume auto."""
    import json

    from unhaze.errors import MissingDependencyError, UsageError
    from unhaze.recipes.presets import list_presets, override
    from unhaze.recipes.presets import preset as find_preset

    if list_all:
        typer.echo("\n".join(list_presets()))
        return
    if preset is None:
        raise UsageError(f"Name a preset: {', '.join(list_presets())}.")
    try:
        recipe, config = find_preset(preset)
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise MissingDependencyError("torch", "torch", "train a network") from error
    config = override(config, _pairs(changes or []))
    if dry_run:
        typer.echo(json.dumps(recipe.describe(config), indent=1))
        return
    if data is None:
        raise UsageError("Training needs data; give its folder with --data.")
    folder = out or Path("runs") / preset
    weights = recipe.main(config, data, folder, resume=resume)
    typer.echo(f"trained for {config.steps} steps; the network is {weights}", err=True)


def _pairs(changes: list[str]) -> dict[str, str]:
    from unhaze.errors import UsageError

    for change in changes:
        if "=" not in change:
            raise UsageError(f"--set takes KEY=VALUE, but was given {change!r}.")
    return {key.strip(): value.strip() for key, _, value in (change.partition("=") for change in changes)}
