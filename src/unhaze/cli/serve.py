"""``unhaze serve``: a service that dehazes pictures over HTTP, and a page to use it."""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from unhaze.cli import _console
from unhaze.cli import _options as opt
from unhaze.errors import MissingDependencyError, UsageError
from unhaze.restore.machine import MOST_WORKERS, parse_bytes
from unhaze.restore.options import parse_count

__all__ = ["TOKEN_VARIABLE", "serve"]

TOKEN_VARIABLE = "UNHAZE_TOKEN"
_LONGEST_TOKEN_FILE = 4096  # bytes


@opt.takes_options(
    *("model", "strength", "color_blend", "protect_sky", "keep_exposure", "spare_clear", "white", "engine"),
    *("max_memory", "threads"),
    before="max_pixels",
    without=(),
)
def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.", metavar="ADDRESS")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0 takes a free one.", metavar="N")] = 8000,
    token_file: Annotated[
        Path | None,
        typer.Option(
            help="File with the token that callers must show; or set UNHAZE_TOKEN. Needed where others reach the "
            "address.",
            metavar="FILE",
        ),
    ] = None,
    no_auth: Annotated[
        bool, typer.Option("--no-auth", help="Serve an address that others reach without a token.")
    ] = False,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(help="Also answer to this name in the Host header; may be repeated.", metavar="NAME"),
    ] = None,
    allow_origin: Annotated[
        list[str] | None,
        typer.Option(help="Let pages of this origin call (CORS), such as https://example.org.", metavar="ORIGIN"),
    ] = None,
    trust_proxy: Annotated[
        str | None, typer.Option(help="Address of a proxy that says who the client is.", metavar="ADDRESS")
    ] = None,
    max_pixels: Annotated[
        str, typer.Option(help="Refuse pictures of more pixels than this before decoding them.", metavar="N")
    ] = "100M",
    max_bytes: Annotated[str, typer.Option(help="Refuse requests of more bytes than this.", metavar="SIZE")] = "100M",
    max_seconds: Annotated[
        float, typer.Option(help="Seconds that one picture may take, waiting not counted.", metavar="X")
    ] = 60.0,
    queue: Annotated[int, typer.Option(help="Requests that may wait for their turn.", metavar="N")] = 32,
    per_client: Annotated[int, typer.Option(help="Requests of one client at once.", metavar="N")] = 16,
    max_jobs: Annotated[int, typer.Option(help="Jobs that are kept, done ones included.", metavar="N")] = 8,
    max_job_seconds: Annotated[
        float, typer.Option(help="Seconds that a job may take, waiting not counted.", metavar="X")
    ] = 3600.0,
    keep_seconds: Annotated[float, typer.Option(help="Seconds that the result of a job is kept.", metavar="X")] = 600.0,
    jobs: Annotated[
        int | None,
        typer.Option(
            "--jobs",
            "-j",
            help="Pictures worked on at once; default is the number of processors.",
            min=1,
            max=MOST_WORKERS,
            show_default=False,
            metavar="N",
        ),
    ] = None,
    idle_seconds: Annotated[
        float, typer.Option(help="Unload the engine after this time without work.", metavar="X")
    ] = 300.0,
    grace_seconds: Annotated[
        float, typer.Option(help="Time for work under way to end after a termination signal.", metavar="X")
    ] = 30.0,
    recycle_after: Annotated[
        int,
        typer.Option(
            help="Start the process anew after so many requests, when nothing is under way; no connection is refused "
            "meanwhile. 0 for never.",
            metavar="N",
        ),
    ] = 10_000,
    quiet: opt.Quiet = False,
    verbose: opt.Verbose = False,
    **given: Any,
) -> None:
    """Serve dehazing over HTTP, and a page to use it in a browser.

    Pictures go to POST /v1/dehaze, zip archives and videos to POST /v1/jobs; /openapi.json describes all. Only this
    machine reaches the service unless --host says otherwise. On stderr there is a line of JSON for each request.

    Try:

      unhaze serve

      curl --data-binary @photo.jpg http://127.0.0.1:8000/v1/dehaze -o clear.jpg
    """
    options = opt.collect(given)
    try:
        from unhaze.web.server import bind, serve, url_of
        from unhaze.web.settings import ServeSettings
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "unhaze":
            raise
        raise MissingDependencyError((error.name or "fastapi").partition(".")[0], "serve", "run the service") from error

    from unhaze.models.catalogue import finds_haze, resolve_model
    from unhaze.restore.engines.onnx import ENGINES

    if options.engine not in ENGINES:
        raise UsageError(f"--engine is {options.engine!r}, but must be one of {', '.join(ENGINES)}.")
    if options.model is not None and not finds_haze(resolve_model(options.model)):
        raise UsageError(f"{options.model} needs weights and is not served; choose one of the models without.")
    options.restoration(network=False)
    settings = ServeSettings(
        host=host,
        port=port,
        token=_read_token(token_file),
        no_auth=no_auth,
        allow_hosts=tuple(allow_host or ()),
        allow_origins=tuple(allow_origin or ()),
        trust_proxy=trust_proxy,
        options=replace(options, max_pixels=parse_count(max_pixels, "the pixel limit")),
        max_bytes=parse_bytes(max_bytes),
        max_seconds=max_seconds,
        queue=queue,
        per_client=per_client,
        jobs=max_jobs,
        job_seconds=max_job_seconds,
        keep_seconds=keep_seconds,
        workers=jobs,
        idle_seconds=idle_seconds,
        grace_seconds=grace_seconds,
        recycle_after=recycle_after,
    )
    listener = bind(settings)
    _console.log.info(f"Serving at {url_of(settings, listener)} (Ctrl-C ends it)")
    sys.stderr.flush()
    if serve(settings, listener) == signal.SIGINT:
        raise KeyboardInterrupt


def _read_token(path: Path | None) -> str | None:
    """The token of a file, or of the environment; never of the command line, which others on the machine see."""
    if path is None:
        return os.environ.get(TOKEN_VARIABLE) or None
    try:
        with path.open("rb") as file:
            token = file.read(_LONGEST_TOKEN_FILE).decode().strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise UsageError(f"The token file {path} cannot be read ({reason}); check its name.") from error
    if not token:
        raise UsageError(f"The token file {path} is empty; write a token of at least 16 characters into it.")
    return token
