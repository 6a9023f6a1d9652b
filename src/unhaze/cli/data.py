"""``unhaze data``: which data sets are known, and whether one is whole, what is in it, and packing it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unhaze.cli import _console
from unhaze.cli import _options as opt

if TYPE_CHECKING:
    pass

__all__ = ["data"]

_HELP_NAMES = {"help_option_names": ["-h", "--help"]}
_SHOWN = 20  # names in a table; --json has them all
_SAMPLED = 200  # of a data set without end
_FINITE = 1 << 30

data = typer.Typer(
    help="List the data sets, check, measure, show or pack one.",
    rich_markup_mode=None,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings=_HELP_NAMES,
)

Name = Annotated[str, typer.Argument(help="The data set; see: unhaze data list.", show_default=False)]
Root = Annotated[Path, typer.Argument(help="Its folder.", metavar="FOLDER", show_default=False)]
Split = Annotated[str | None, typer.Option(help="Its split; default is the first that it has.", metavar="NAME")]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", help="An option of the data set, such as hazy=foggy or night=0.3.", metavar="KEY=VALUE"),
]


@data.command("list", context_settings=_HELP_NAMES)
def list_all(json_output: opt.JsonOutput = False) -> None:
    """List all data sets, those that other packages bring included."""
    from unhaze.data import dataset_info, list_datasets

    entries = []
    for name in list_datasets():
        entry = dataset_info(name)
        facts = {key: getattr(entry, key) for key in ("name", "summary", "splits", "paper", "source", "license")}
        parts = getattr(entry, "parts", {})
        entries.append({**facts, "published_pairs": {split: part.pairs for split, part in parts.items()}})
    if json_output:
        print(json.dumps(entries, indent=2))
        return
    width = max(len(entry["name"]) for entry in entries)
    for entry in entries:
        print(f"{entry['name']:{width}}  {entry['summary']} Splits: {', '.join(entry['splits'])}.")


@data.command(context_settings=_HELP_NAMES)
def check(
    name: Name,
    root: Root,
    split: Split = None,
    settings: Settings = None,
    quick: Annotated[bool, typer.Option("--quick", help="Look at names only, read no picture.")] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Count what differs from what was published as wrong, too.")
    ] = False,
    jobs: opt.Jobs = None,
    json_output: opt.JsonOutput = False,
    quiet: opt.Quiet = False,
    verbose: opt.Verbose = False,
) -> None:
    """Check that every picture is there, has its partner, can be read and has its partner's size.

    Exit code 0 if all is well, 1 if something is wrong, 2 if the data set cannot be found at all.
    """
    from dataclasses import asdict

    from unhaze.data.dataset import PairedDataset
    from unhaze.data.inspection import unreadable_pairs
    from unhaze.restore.machine import usable_cores

    dataset = _open(name, root, split, settings)
    report, unreadable = dataset.report, {}
    if isinstance(dataset, PairedDataset) and not quick:
        with _console.progress("Reading", len(dataset)) as advance:
            unreadable = unreadable_pairs(dataset, threads=jobs or usable_cores(), progress=advance)
    wrong = bool(report.problems or unreadable or (strict and report.remarks))
    if json_output:
        facts = {**asdict(report), "problems": report.problems, "remarks": report.remarks, "unreadable": unreadable}
        print(json.dumps({**facts, "ok": not wrong}, indent=2, ensure_ascii=False))
    else:
        _print_rows(
            [
                ("data set", f"{report.dataset}, split {report.split}"),
                ("folder", report.folder),
                ("hazy", f"{report.hazy:,}"),
                ("clear", f"{report.clear:,}"),
                ("pairs", f"{report.pairs:,} (by the rule {report.rule})"),
                ("published", " or ".join(f"{count:,}" for count in report.published) or "-"),
                ("read", "not tried" if quick else f"{report.pairs - len(unreadable):,} pairs"),
                *(("wrong", problem) for problem in report.problems),
                *(("wrong", message) for message in list(unreadable.values())[:_SHOWN]),
                *([("wrong", f"{len(unreadable) - _SHOWN} more")] if len(unreadable) > _SHOWN else []),
                *(("note", remark) for remark in report.remarks),
                ("result", "something is wrong" if wrong else "all is well"),
            ]
        )
    if wrong:
        raise typer.Exit(1)


@data.command(context_settings=_HELP_NAMES)
def stats(
    name: Name,
    root: Root,
    split: Split = None,
    settings: Settings = None,
    limit: Annotated[
        int | None, typer.Option(help="Look at so many pairs only, evenly spread.", min=1, metavar="N")
    ] = None,
    jobs: opt.Jobs = None,
    json_output: opt.JsonOutput = False,
    quiet: opt.Quiet = False,
    verbose: opt.Verbose = False,
) -> None:
    """Measure sizes, colours and haze, and find pictures that occur twice.

    Exit code 1 if a picture cannot be read.
    """
    from dataclasses import asdict

    from unhaze.data.inspection import spread, statistics
    from unhaze.restore.machine import usable_cores

    dataset = _open(name, root, split, settings)
    dataset, limit = _finite(dataset, limit)
    with _console.progress("Measuring", len(spread(len(dataset), limit))) as advance:
        found = statistics(dataset, limit=limit, threads=jobs or usable_cores(), progress=advance)
    if json_output:
        sizes = [{"width": w, "height": h, "pairs": n} for (w, h), n in found.sizes.items()]
        print(json.dumps({**asdict(found), "sizes": sizes}, indent=2, ensure_ascii=False))
    else:
        shown = [f"{width}x{height} px: {count:,}" for (width, height), count in list(found.sizes.items())[:5]]
        shown += [f"{len(found.sizes) - 5} more sizes"] if len(found.sizes) > 5 else []
        hazy_mean, hazy_std, clear_mean, clear_std = (
            " ".join(f"{value:.3f}" for value in values)
            for values in (found.hazy_mean, found.hazy_std, found.clear_mean, found.clear_std)
        )
        _print_rows(
            [
                ("pairs", f"{found.pairs:,}, of which {found.looked_at:,} were looked at"),
                *(("size", line) for line in shown),
                ("hazy", f"mean {hazy_mean}, deviation {hazy_std}"),
                ("clear", f"mean {clear_mean}, deviation {clear_std}"),
                ("dark channel", f"hazy {found.dark_hazy:.3f}, clear {found.dark_clear:.3f}"),
                ("depth", f"{found.with_depth:,} pairs"),
                *(("hazy twice", ", ".join(names)) for names in found.hazy_duplicates[:_SHOWN]),
                *(("clear twice", ", ".join(names)) for names in found.clear_duplicates[:_SHOWN]),
                *(("unreadable", message) for message in list(found.unreadable.values())[:_SHOWN]),
            ]
        )
    if found.unreadable:
        raise typer.Exit(1)


@data.command(context_settings=_HELP_NAMES)
def sheet(
    name: Name,
    root: Root,
    output: Annotated[Path, typer.Argument(help="The picture to write.", metavar="PICTURE", show_default=False)],
    split: Split = None,
    settings: Settings = None,
    count: Annotated[int, typer.Option(help="Samples to show, evenly spread.", min=1, metavar="N")] = 12,
    columns: Annotated[int, typer.Option(help="Samples side by side.", min=1, metavar="N")] = 2,
    height: Annotated[int, typer.Option(help="Height of each picture [px].", min=8, metavar="N")] = 160,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the picture if it exists.")] = False,
    quiet: opt.Quiet = False,
    verbose: opt.Verbose = False,
) -> None:
    """Draw samples into one picture: hazy, clear, and depth where the data set has it (near is bright)."""
    from unhaze.data.inspection import contact_sheet, spread
    from unhaze.images.files import Picture, write_image

    dataset, _ = _finite(_open(name, root, split, settings), count)
    picture = contact_sheet([dataset[i] for i in spread(len(dataset), count)], height=height, columns=columns)
    written = write_image(Picture(picture, None, "png"), output, overwrite=overwrite)
    _console.log.info(f"{min(count, len(dataset))} samples of {name}: {written}")


@data.command(context_settings=_HELP_NAMES)
def pack(
    name: Name,
    root: Root,
    output: Annotated[
        str,
        typer.Argument(help="Folder for the shards, or its address (s3://...).", metavar="OUTPUT", show_default=False),
    ],
    split: Split = None,
    settings: Settings = None,
    store: Annotated[
        str,
        typer.Option(
            help="What is stored: pixels are fastest to read, files take the space they took.", metavar="pixels|files"
        ),
    ] = "pixels",
    shard_size: Annotated[int, typer.Option(help="Size of a shard [MB].", min=1, metavar="N")] = 1024,
    webdataset: Annotated[
        bool, typer.Option("--webdataset", help="Lay members out for loaders of WebDataset; takes more room.")
    ] = False,
    skip: Annotated[
        bool, typer.Option("--skip", help="Leave pairs out that cannot be read, and name them; default is to stop.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a data set that lies there.")] = False,
    json_output: opt.JsonOutput = False,
    quiet: opt.Quiet = False,
    verbose: opt.Verbose = False,
) -> None:
    """Pack a data set into large tar files, which are read from front to back.

    Exit code 1 if pairs were left out. The packed data set opens under its own name.
    """
    import tempfile
    from contextlib import ExitStack

    from unhaze.data.dataset import PairedDataset
    from unhaze.data.shards import INDEX
    from unhaze.data.shards import pack as pack_shards
    from unhaze.errors import OutputError, UsageError
    from unhaze.images.storage import exists, is_address, join, upload

    dataset = _open(name, root, split, settings, on_error="skip" if skip else "stop")
    if not isinstance(dataset, PairedDataset):
        raise UsageError(f"{name} is made on the fly, without end; there is nothing to pack.")
    with ExitStack() as stack:
        folder = output
        if is_address(output):  # packed here, then copied, the index last
            if not overwrite and exists(join(output, INDEX)):
                raise OutputError(f"{output} holds a packed data set; allow overwriting or choose another folder.")
            folder = stack.enter_context(tempfile.TemporaryDirectory())
        with _console.progress("Packing", len(dataset)) as advance:
            index = pack_shards(
                dataset,
                folder,
                store=store,
                shard_size=shard_size << 20,
                webdataset=webdataset,
                overwrite=overwrite,
                progress=advance,
            )
        if is_address(output):
            for path in sorted(Path(folder).iterdir(), key=lambda each: each.name == INDEX):
                upload(path, join(output, path.name))
    where = join(output, INDEX) if is_address(output) else str(index)
    left_out = dataset.skipped
    for message in left_out.values():
        _console.log.error(f"Left out: {message}")
    if json_output:
        facts = {
            "index": where,
            "pairs": len(dataset) - len(left_out),
            "left_out": left_out,
        }
        print(json.dumps(facts, indent=2, ensure_ascii=False))
    _console.log.info(f"{len(dataset) - len(left_out)} pairs of {name} packed: {where}")
    if left_out:
        raise typer.Exit(1)


def _open(name: str, root: Path, split: str | None, settings: list[str] | None, **options: Any) -> Any:
    """The data set; ``night=0.3`` among the settings is ``{"night": 0.3}``, and what is no Python value is text."""
    import ast

    from unhaze.data import create_dataset
    from unhaze.errors import UsageError

    for text in settings or []:
        key, sign, value = text.partition("=")
        if not sign or not key.isidentifier():
            raise UsageError(f"--set takes KEY=VALUE, not {text!r}.")
        try:
            options[key] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            options[key] = value
    dataset: Any = create_dataset(name, root, split, **options)
    for warning in dataset.report.warnings:
        _console.log.debug(warning)
    return dataset


def _finite(dataset: Any, limit: int | None) -> tuple[Any, int | None]:
    """A data set that is made on the fly has no last sample: the first few stand for it."""
    from unhaze.data.dataset import Series

    if len(dataset) < _FINITE:
        return dataset, limit
    few = limit or _SAMPLED
    return Series(dataset, few, shuffle=False), few


def _print_rows(rows: list[tuple[str, str]]) -> None:
    width = max(len(label) for label, _ in rows)
    for label, text in rows:
        print(_console.one_line(f"{label:{width}}  {text}"))
