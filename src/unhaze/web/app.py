"""The routes of the service."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from importlib.resources import files
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from unhaze import __version__
from unhaze.batch.workers import Rendered
from unhaze.errors import UnhazeError
from unhaze.images.files import WRITE_FORMATS, identify
from unhaze.models.catalogue import model_info
from unhaze.restore.options import DEFAULT_MODEL
from unhaze.web.fields import FIELD_TYPE
from unhaze.web.guards import Guard
from unhaze.web.jobs import Jobs
from unhaze.web.parameters import picture_parameters, read_wanted, served_models
from unhaze.web.problems import ProblemError, problem_of, problem_response
from unhaze.web.schemas import HazeReport, JobReport, ModelList, job_route, picture_answers, picture_route, problems
from unhaze.web.settings import ServeSettings
from unhaze.web.uploads import receive_upload
from unhaze.web.watching import Watch
from unhaze.web.work import Work

__all__ = ["Service"]

_PAGE = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/worker.js": ("worker.js", "text/javascript; charset=utf-8"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}
_PIECE = 1 << 17  # [bytes] of an answer that are sent at once, so that one who does not read is noticed
_DESCRIPTION = (
    "Removes haze from pictures. Send one to /v1/dehaze, or a zip archive of many to /v1/jobs. "
    "The options are those of the command line, by the same names."
)


class Service:
    """The application and what it works with.

    Args:
        settings: How it runs.

    Attributes:
        app: The ASGI application, guards included.
        is_draining: Set to refuse new work.
    """

    def __init__(self, settings: ServeSettings) -> None:
        self.settings = settings
        self.is_draining = False
        self.work = Work(settings)
        self.jobs = Jobs(settings, self.work)
        self.watch = Watch(
            {
                "waiting": ("Requests that wait for their turn.", lambda: self.work.waiting),
                "busy": ("Pictures that are being worked on.", lambda: self.work.busy),
                "jobs": ("Jobs that are kept.", lambda: len(self.jobs)),
                "engine_loaded": ("Whether the engine is in memory.", lambda: self.work.is_loaded),
                "draining": ("Whether new work is refused.", lambda: self.is_draining),
            }
        )
        routes = FastAPI(
            title="unhaze",
            version=__version__,
            description=_DESCRIPTION,
            docs_url=None,  # these pages would load scripts from another host
            redoc_url=None,
            lifespan=self._lifespan,
            redirect_slashes=False,
        )
        for kind in (ClientDisconnect, HTTPException, MemoryError, ProblemError, UnhazeError):
            routes.add_exception_handler(kind, _tell_problem)
        self._add_routes(routes)
        self.app = Guard(routes, settings, self.watch, lambda: self.is_draining)

    @asynccontextmanager
    async def _lifespan(self, _: FastAPI) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(self.work.unload_when_idle()), asyncio.create_task(self.jobs.forget_old_ones())]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
            await self.jobs.close()

    async def drain(self) -> None:
        """Refuse new work, and return when what is under way has ended, uploads and downloads included."""
        self.is_draining = True
        await self.jobs.wait()
        while self.work.busy or self.app.active:
            await asyncio.sleep(0.02)

    def _add_routes(self, routes: FastAPI) -> None:
        has_token = self.settings.token is not None
        secured: dict[str, Any] = {"security": [{"bearer": []}]} if has_token else {}
        denied = (401,) if has_token else ()
        if has_token:
            _declare_token(routes)
        for path, (name, kind) in _PAGE.items():
            routes.add_api_route(path, _page(name, kind), include_in_schema=False)
        add = routes.add_api_route
        add(
            "/v1/dehaze",
            self.dehaze,
            methods=["POST"],
            summary="Remove haze from a picture",
            openapi_extra={**picture_route(), **secured},
            responses={
                200: {
                    "description": "The picture, or what was found in it where Accept asks for application/json.",
                    "model": HazeReport,
                    "content": picture_answers(),
                },
                **problems(406, 408, 413, 415, 422, 503, *denied),
            },
        )
        # the page's own, and free to change with it
        add("/v1/field", self.field, methods=["POST"], include_in_schema=False)
        add(
            "/v1/jobs",
            self.create_job,
            methods=["POST"],
            status_code=202,
            summary="Remove haze from all pictures of a zip archive",
            openapi_extra={**job_route(), **secured},
            responses={
                202: {"description": "The job has begun.", "model": JobReport},
                **problems(408, 413, 415, 422, 503, *denied),
            },
        )
        of_a_job: tuple[tuple[str, Any, str, dict[str, Any]], ...] = (
            ("", self.job, "Where a job stands", {"model": JobReport}),
            ("/events", self.job_events, "Progress as server-sent events", _content("text/event-stream")),
            ("/result", self.job_result, "The results as a zip archive", _content("application/zip")),
        )
        for path, endpoint, summary, answer in of_a_job:
            add(
                f"/v1/jobs/{{job_id}}{path}",
                endpoint,
                methods=["GET"],
                summary=summary,
                openapi_extra=secured,
                response_class=Response,
                responses={200: answer, **problems(404, 409, *denied)},
            )
        add(
            "/v1/jobs/{job_id}",
            self.remove_job,
            methods=["DELETE"],
            status_code=204,
            summary="Stop a job and forget it",
            openapi_extra=secured,
            responses=problems(404, *denied),
        )
        add(
            "/v1/models",
            self.models,
            methods=["GET"],
            summary="Models, options and limits",
            openapi_extra=secured,
            responses={200: {"model": ModelList}, **problems(*denied)},
        )
        add("/healthz", _alive, methods=["GET"], summary="Whether the process answers", response_class=Response,
            responses={200: _content("text/plain"), **problems()})  # fmt: skip
        add("/readyz", self.ready, methods=["GET"], summary="Whether new work is taken", response_class=Response,
            responses={200: _content("text/plain"), **problems(503)})  # fmt: skip
        add("/metrics", self.metrics, methods=["GET"], summary="Figures for Prometheus", response_class=Response,
            openapi_extra=secured, responses={200: _content("text/plain"), **problems(*denied)})  # fmt: skip

    async def dehaze(self, request: Request) -> Response:
        """Options stand in the query or in the form. The result keeps format and metadata, as on the command line."""
        wants_report = _wants_report(request.headers.get("accept", "*/*"))
        read_wanted(request.query_params.multi_items(), self.settings.options)  # before anything is read
        async with receive_upload(request, what="a picture") as upload:
            wanted = read_wanted(request.query_params.multi_items(), self.settings.options, form=upload.fields)
            gone = asyncio.Event()
            listening = asyncio.create_task(_listen(request, gone))
            try:
                async with self.work.turn() as turn:
                    data = await asyncio.to_thread(upload.read)
                    rendered = await self.work.restore(turn, data, wanted, gone)
            except UnhazeError:
                self.watch.picture(None)
                raise
            finally:
                listening.cancel()
        self.watch.picture(rendered)
        model = wanted.options.model or DEFAULT_MODEL
        width, height = rendered.size
        request.scope["unhaze.request"].more = {"model": model, "width": width, "height": height}
        if wants_report:
            report = {"model": model, "width": width, "height": height, "haze": rendered.haze}
            return JSONResponse({**report, "left_alone": rendered.left_alone, "notes": list(rendered.notes)})
        return _picture_answer(rendered)

    async def field(self, request: Request) -> Response:
        """The haze field of a picture, with which the page restores it itself; see :mod:`unhaze.web.fields`."""
        wanted = read_wanted(request.query_params.multi_items(), self.settings.options)
        async with receive_upload(request, what="a picture") as upload:
            gone = asyncio.Event()
            listening = asyncio.create_task(_listen(request, gone))
            try:
                async with self.work.turn() as turn:
                    data = await asyncio.to_thread(upload.read)
                    packed = await self.work.solve(turn, data, wanted, gone)
            finally:
                listening.cancel()
        return Response(packed, media_type=FIELD_TYPE)

    async def create_job(self, request: Request) -> Response:
        """The answer says where the job can be asked for. Its result names each picture as in the archive."""
        self.jobs.check_room()
        read_wanted(request.query_params.multi_items(), self.settings.options, for_job=True)
        async with receive_upload(request, what="a zip archive") as upload:
            query = request.query_params.multi_items()
            wanted = read_wanted(query, self.settings.options, form=upload.fields, for_job=True)
            job = await self.jobs.create(upload.file, wanted, self.watch.picture)
        return JSONResponse(job.as_dict(), 202, {"Location": f"/v1/jobs/{job.id}"})

    async def job(self, job_id: str) -> Response:
        """States: running, done, cancelled, failed."""
        return JSONResponse(self.jobs.find(job_id).as_dict())

    async def job_events(self, job_id: str) -> Response:
        """Events ``progress``, then ``end``. Data is what the job's own address gives; failures come with the end."""
        return StreamingResponse(self.jobs.find(job_id).events(), media_type="text/event-stream")

    async def job_result(self, job_id: str) -> Response:
        """The pictures, and ``unhaze.json`` that lists what failed."""
        job = self.jobs.find(job_id)
        if job.state != "done":
            raise ProblemError(409, "The job is not done yet; wait for its end.")
        headers = {"Content-Length": str(job.size), "Content-Disposition": 'attachment; filename="dehazed.zip"'}
        return StreamingResponse(job.result(), media_type="application/zip", headers=headers)

    async def remove_job(self, job_id: str) -> Response:
        """Its result is gone."""
        await self.jobs.remove(job_id)
        return Response(status_code=204)

    async def models(self) -> Response:
        """What a request may name, and how much it may send."""
        entries = []
        for name in served_models():
            info = model_info(name)
            facts = {key: getattr(info, key) or "" for key in ("name", "summary", "kind", "paper", "license")}
            entries.append({**facts, "is_default": name == (self.settings.options.model or DEFAULT_MODEL)})
        limits: dict[str, Any] = {"bytes": self.settings.max_bytes, "seconds": self.settings.max_seconds}
        if self.settings.options.max_pixels is not None:
            limits["pixels"] = self.settings.options.max_pixels
        return JSONResponse({"models": entries, "options": picture_parameters(), "limits": limits})

    async def ready(self) -> Response:
        """503 from the moment on that the service is about to end."""
        if self.is_draining:
            raise ProblemError(503, "The service is about to end.", {"Retry-After": "5"})
        return Response("ready\n", media_type="text/plain")

    async def metrics(self) -> Response:
        """Requests, latency, queue, memory, haze density."""
        return Response(self.watch.as_text(), media_type="text/plain")


async def _alive() -> Response:
    """The process answers; the engine is loaded by the first picture."""
    return Response("alive\n", media_type="text/plain")


def _page(name: str, kind: str) -> Any:
    content = (files("unhaze.web") / "page" / name).read_bytes()

    async def page() -> Response:
        return Response(content, headers={"Content-Type": kind, "Cache-Control": "no-cache"})

    return page


def _content(kind: str) -> dict[str, Any]:
    schema = {"type": "string", "format": "binary"} if kind == "application/zip" else {"type": "string"}
    return {"content": {kind: {"schema": schema}}}


def _declare_token(routes: FastAPI) -> None:
    """Say in the OpenAPI document that a token is needed."""
    make = routes.openapi

    def openapi() -> dict[str, Any]:
        document = make()
        schemes = {"bearer": {"type": "http", "scheme": "bearer"}}
        document.setdefault("components", {})["securitySchemes"] = schemes
        return document

    routes.openapi = openapi  # type: ignore[method-assign]  # the way that FastAPI documents


async def _tell_problem(request: Request, error: Exception) -> Response:
    request_id = request.scope["unhaze.request"].id
    if isinstance(error, HTTPException):  # of the router
        sentences = {404: "There is nothing at this address.", 405: "This address does not know this method."}
        detail = sentences.get(error.status_code, "The request cannot be understood.")
        headers = {"Allow": _methods_at(request)} if error.status_code == 405 else error.headers
        return problem_response(ProblemError(error.status_code, detail, headers), request_id)
    if isinstance(error, ClientDisconnect):
        return problem_response(ProblemError(400, "The client has gone."), request_id)
    problem = problem_of(error)
    if problem is None:
        raise error
    return problem_response(problem, request_id)


def _methods_at(request: Request) -> str:
    """Methods that an address knows, of all routes that lead to it; the router names those of one."""
    here = [route for route in request.app.routes if route.path_regex.match(request.url.path)]
    return ", ".join(sorted({method for route in here for method in route.methods}))


async def _listen(request: Request, gone: asyncio.Event) -> None:
    """Notice that the client has gone; its body has been read."""
    while True:
        if (await request.receive())["type"] == "http.disconnect":
            gone.set()
            return


def _wants_report(accept: str) -> bool:
    """Whether an Accept header asks for JSON rather than for a picture.

    Raises:
        ProblemError: It allows neither.

    >>> _wants_report("application/json"), _wants_report("*/*"), _wants_report("image/*, application/json;q=0.5")
    (True, False, False)
    """
    best = {"json": 0.0, "image": 0.0}
    for part in accept.split(","):
        kind, *parameters = (each.strip().lower() for each in part.split(";"))
        share = 1.0
        for parameter in parameters:
            if parameter.startswith("q="):
                with suppress(ValueError):
                    share = float(parameter[2:])
        if kind in ("application/json", "application/*"):
            best["json"] = max(best["json"], share)
        elif kind.startswith("image/"):
            best["image"] = max(best["image"], share)
        elif kind in ("*/*", ""):
            best["image"] = max(best["image"], share * 0.999)
    if not any(best.values()):
        raise ProblemError(406, "Accept neither allows a picture nor application/json; ask for one of them.")
    return best["json"] > best["image"]


def _picture_answer(rendered: Rendered) -> Response:
    """The picture, with the figures on it in headers."""
    data = rendered.data
    format = identify(data).format
    headers = {
        "Content-Length": str(len(data)),
        "Content-Disposition": f'inline; filename="dehazed{WRITE_FORMATS[format]}"',
        "X-Unhaze-Density": str(rendered.haze.get("density", "")),
        "X-Unhaze-Airlight": ",".join(map(str, rendered.haze.get("airlight", ()))),
        "X-Unhaze-Notes": str(len(rendered.notes)),
    }
    if rendered.left_alone is not None:
        headers["X-Unhaze-Left-Alone"] = rendered.left_alone

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(data), _PIECE):
            yield data[start : start + _PIECE]

    return StreamingResponse(pieces(), media_type=f"image/{format}", headers=headers)
