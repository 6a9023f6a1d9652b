"""The application: its sub-commands, loaded when called, and how errors become exit codes."""

from __future__ import annotations

import errno
import os
import shlex
import signal
import sys
import threading
import traceback
import warnings
from importlib import import_module
from typing import Annotated, Any, NoReturn, cast

import typer
from typer.core import TyperGroup

from unhaze import __version__
from unhaze.cli import _console
from unhaze.cli._streams import give_up_stdout, leave_streams, prepare_streams
from unhaze.errors import MissingError, PluginWarning, UnhazeError, UsageError

__all__ = ["COMMANDS", "app", "exit_code", "main"]

# name -> (module:function or typer application, what the overview says)
COMMANDS = {
    "run": ("unhaze.cli.run:run", "Remove haze from pictures: files, folders, patterns."),
    "video": ("unhaze.cli.video:video", "Dehaze video files, sound and all."),
    "watch": ("unhaze.cli.watch:watch", "Dehaze every picture that arrives in a folder."),
    "pipe": ("unhaze.cli.pipe:pipe", "Dehaze raw or y4m video frames in a pipe."),
    "serve": ("unhaze.cli.serve:serve", "Serve dehazing over HTTP, and a page to use it."),
    "synth": ("unhaze.cli.synth:synth", "Add haze to clear pictures."),
    "depth": ("unhaze.cli.depth:depth", "Estimate depth, from the haze or with a network."),
    "eval": ("unhaze.cli.eval:eval_", "Score folders of results, or models, by a named protocol."),
    "metric": ("unhaze.cli.metric:metric", "Compute one metric of one or more pictures."),
    "analyze": ("unhaze.cli.analyze:analyze", "Measure what haze does to features and to estimated depth."),
    "data": ("unhaze.cli.data:data", "List data sets; check, measure, show or pack one."),
    "train": ("unhaze.cli.train:train", "Train a network by a published recipe."),
    "models": ("unhaze.cli.models:models", "List what dehazes, tell about a model, or check weights."),
    "convert": ("unhaze.cli.convert:convert", "Turn an official checkpoint into a .safetensors file."),
    "export": ("unhaze.cli.export:export", "Write a model for ONNX, OpenVINO or torch.export."),
    "bench": ("unhaze.cli.bench:bench", "Measure what networks cost."),
    "doctor": ("unhaze.cli.doctor:doctor", "Check this installation and this machine."),
}

INTERRUPTED = 130

_HELP = """Remove haze, fog and smoke from photographs and video.

Begin with: unhaze run photo.jpg

Exit codes: 0 all done, 1 some inputs failed, 2 wrong usage, 3 something must be installed, 130 interrupted.
"""


class _LazyGroup(TyperGroup):
    """Knows its sub-commands by name and summary only, until one is called."""

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        if args and args[0] not in COMMANDS and os.path.splitext(args[0])[1]:  # noqa: PTH122
            raise UsageError(f"{args[0]} is no command; to dehaze it write: unhaze run {shlex.quote(args[0])}")
        name, placeholder, rest = super().resolve_command(ctx, args)
        if not name:
            return name, placeholder, rest
        path, _ = COMMANDS[name]
        module, _, attribute = path.partition(":")
        found = getattr(import_module(module), attribute)
        if not isinstance(found, typer.Typer):
            single = typer.Typer(rich_markup_mode=None, add_completion=False, pretty_exceptions_enable=False)
            single.command(name, context_settings={"help_option_names": ["-h", "--help"]})(found)
            found = single
        return name, typer.main.get_command(found), rest

    def main(self, *args: Any, **options: Any) -> Any:
        with _console.show_log(), warnings.catch_warnings():
            warnings.simplefilter("default", PluginWarning)
            otherwise = warnings.showwarning

            def show(message: Warning | str, category: type[Warning], *rest: Any) -> None:
                if issubclass(category, PluginWarning):  # a sentence
                    _console.log.warning(f"unhaze: {message}")
                else:
                    otherwise(message, category, *rest)

            warnings.showwarning = cast("Any", show)
            try:
                return super().main(*args, **options)
            except Exception as error:
                sys.exit(_report(error))


app = typer.Typer(
    cls=_LazyGroup,
    help=_HELP,
    rich_markup_mode=None,  # the rich help page alone costs as much time as everything else
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(value: bool) -> None:
    if value:
        typer.echo(f"unhaze {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    pass


def _placeholder() -> None:
    raise AssertionError("the real command takes over before this is called")


for _name, (_, _summary) in COMMANDS.items():
    app.command(_name, help=_summary)(_placeholder)


def exit_code(error: BaseException) -> int:
    """What the process returns after ``error``."""
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED
    if isinstance(error, UsageError):
        return 2
    return 3 if isinstance(error, MissingError) else 1


def _report(error: Exception) -> int:
    """Tell the user of an error that ended a command; returns the exit code."""
    if isinstance(error, UnhazeError):
        from dataclasses import fields

        from unhaze.restore.options import Options

        # an option as Python names it, at the beginning, gets the name that a command gives it
        first, space, rest = str(error).partition(" ")
        if first in {each.name for each in fields(Options)} - {"model", "weights", "threads"}:
            first = f"--{first.replace('_', '-')}"
        for line in f"unhaze: {first}{space}{rest}".splitlines():
            _console.log.error(line)
    elif _console.is_verbose():
        traceback.print_exception(error)
    elif isinstance(error, OSError) and error.errno == errno.ENOSPC and error.filename is None:
        give_up_stdout()
        _console.log.error(f"unhaze: The output cannot be written: {error.strerror}; free some space.")
    elif isinstance(error, PermissionError) and error.filename:
        _console.log.error(f"unhaze: {error.filename} cannot be reached: permission denied; check its permissions.")
    else:
        what = f"{type(error).__name__}: {error}".rstrip(": ").partition("\n")[0]
        _console.log.error(f"unhaze: Something unexpected went wrong ({what}); run again with -v to see where.")
    return exit_code(error)


def main() -> NoReturn:
    """Run the command line; the console script ``unhaze``."""
    # whoever stops us politely gets the tidying up that Ctrl-C gets
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    prepare_streams()
    code: Any = 1
    try:
        typer.main.get_command(app).main(prog_name="unhaze")
    except SystemExit as request:
        code = request.code
    except KeyboardInterrupt:
        code = INTERRUPTED
    if code == INTERRUPTED:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # all is said and done; another Ctrl-C would only show a traceback
    code = leave_streams(code if isinstance(code, int) else 0 if code is None else 1)
    if any(thread.name.startswith("unhaze-") and thread.daemon for thread in threading.enumerate()):
        os._exit(code)  # abandoned workers sit in native code, which does not survive the end of the interpreter
    sys.exit(code)
