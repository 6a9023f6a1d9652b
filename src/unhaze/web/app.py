"""The routes of the service."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from importlib.resources import files
from typing import Annotated, Any

from fastapi import FastAPI, Path, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from unhaze import __version__
from unhaze.errors import UnhazeError
from unhaze.models.catalogue import model_info
from unhaze.restore.options import DEFAULT_MODEL
from unhaze.web.answers import in_request_words, picture_answer, wants_json
from unhaze.web.fields import FIELD_TYPE
from unhaze.web.guards import Guard
from unhaze.web.jobs import Jobs
from unhaze.web.parameters import picture_parameters, read_wanted, served_models
from unhaze.web.problems import ProblemError, problem_of, problem_response, retry_later
from unhaze.web.results import Results
from unhaze.web.schemas import (
    BINARY,
    EVENTS,
    FIGURES,
    RESULT_TYPES,
    HazeReport,
    JobReport,
    ModelList,
    job_route,
    picture_answers,
    picture_route,
    problems,
)
from unhaze.web.settings import ServeSettings
from unhaze.web.uploads import receive_upload
from unhaze.web.watching import Watch
from unhaze.web.work import Work

__all__ = ["Service"]

JobId = Annotated[str, Path(description="From the answer to POST /v1/jobs.", examples=["hjbm0YlvCfQ4ywZQnXS8Rg"])]
ResultId = Annotated[str, Path(description="From links in JSON.", examples=["Zk0cX1mYV2vH3uC8n4YpGQ"])]
Part = Annotated[str, Path(description="The picture, a map, or before and after.", examples=["picture", "depth"])]
_PAGE = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/worker.js": ("worker.js", "text/javascript; charset=utf-8"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}
_DESCRIPTION = (
    "Removes haze from pictures. Send one to /v1/dehaze, or a zip archive of many, or a video, to /v1/jobs. "
    "The options are those of the command line, by the same names."
)


class Service:
    """The application and what it works with.

    Args:
        settings: How it runs.

    Attributes:
        app: The ASGI application, guards included.
        is_draining: Set to refuse new work.
        is_recycling: Set to refuse what would have to be kept.
    """

    def __init__(self, settings: ServeSettings) -> None:
        self.settings = settings
        self.is_draining = self.is_recycling = False
        self.work = Work(settings)
        self.jobs = Jobs(settings, self.work)
        self.results = Results(settings.keep_seconds)
        self.watch = Watch(
            {
                "waiting": ("Requests that wait for their turn.", lambda: self.work.waiting),
                "busy": ("Pictures that are being worked on.", lambda: self.work.busy),
                "jobs": ("Jobs that are kept.", lambda: len(self.jobs)),
                "results": ("Results that are kept for links.", lambda: len(self.results)),
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
        for kind in (ClientDisconnect, HTTPException, MemoryError, OSError, ProblemError, UnhazeError):
            routes.add_exception_handler(kind, _tell_problem)
        self._add_routes(routes)
        self.app = Guard(routes, settings, self.watch, lambda: self.is_draining)

    @asynccontextmanager
    async def _lifespan(self, _: FastAPI) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(self.work.unload_when_idle()), asyncio.create_task(self._forget_old_ones())]
        try:
            with suppress(asyncio.CancelledError):  # a second signal ends the loop without waiting, which is no failure
                yield
        finally:
            for task in tasks:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
            await self.jobs.close()
            self.results.close()

    async def _forget_old_ones(self) -> None:
        while True:
            await asyncio.sleep(min(1.0, self.settings.keep_seconds))
            await self.jobs.forget_old_ones()
            self.results.forget_old_ones()

    @property
    def is_worn(self) -> bool:
        """Whether the process should start anew, and loses nothing by it."""
        worn = 0 < self.settings.recycle_after <= self.app.served
        return worn and not (len(self.jobs) or len(self.results) or self.work.busy or self.app.active)

    def _check_keeping(self) -> None:
        """Refuse what would be lost when the process starts anew, which it is about to do.

        Raises:
            ProblemError: 503.
        """
        if self.is_recycling:
            raise retry_later(503, "The service is starting anew; send it again.", 1)

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
        _finish_document(routes, has_token)
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
            summary="Remove haze from all pictures of a zip archive, or from a video",
            openapi_extra={**job_route(), **secured},
            responses={
                202: {"description": "The job has begun.", "model": JobReport},
                **problems(408, 413, 415, 422, 503, *denied),
            },
        )
        of_a_job: tuple[tuple[str, Any, str, dict[str, Any]], ...] = (
            ("", self.job, "Where a job stands", {"model": JobReport}),
            (
                "/events",
                self.job_events,
                "Progress as server-sent events",
                _content("text/event-stream", example=EVENTS),
            ),
            ("/result", self.job_result, "The results as a zip archive, or as a video", _content(*RESULT_TYPES)),
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
            "/v1/results/{result_id}/{part}",
            self.result,
            methods=["GET"],
            summary="A picture or a map that JSON links to",
            openapi_extra=secured,
            response_class=Response,
            responses={200: {"description": "The file.", "content": picture_answers()}, **problems(404, *denied)},
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
            responses={200: _content("text/plain", example="alive\n"), **problems()})  # fmt: skip
        add("/readyz", self.ready, methods=["GET"], summary="Whether new work is taken", response_class=Response,
            responses={200: _content("text/plain", example="ready\n"), **problems(503)})  # fmt: skip
        add(
            "/metrics",
            self.metrics,
            methods=["GET"],
            summary="Figures for Prometheus",
            response_class=Response,
            openapi_extra=secured,
            responses={200: _content("text/plain", example=FIGURES), **problems(*denied)},
        )

    async def dehaze(self, request: Request) -> Response:
        """Options stand in the query or in the form. The result keeps format and metadata, as on the command line.

        Maps are files of their own: JSON links to those that ``save`` names, and to the picture.
        """
        wants_report = wants_json(request.headers.get("accept", "*/*"))
        read_wanted(request.query_params.multi_items(), self.settings.options)  # before anything is read
        async with receive_upload(request, what="a picture") as upload:
            wanted = read_wanted(request.query_params.multi_items(), self.settings.options, form=upload.fields)
            if wanted.sides and not wants_report:
                raise ProblemError(422, "save and compare need an answer in JSON; ask with Accept: application/json.")
            if wanted.sides:
                self._check_keeping()
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
            spared = rendered.left_alone and in_request_words(rendered.left_alone)
            report |= {"left_alone": spared, "notes": list(rendered.notes)}
            return JSONResponse({**report, "links": await self.results.add(rendered) if wanted.sides else {}})
        return picture_answer(rendered)

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
        self._check_keeping()
        self.jobs.check_room()
        read_wanted(request.query_params.multi_items(), self.settings.options, for_job=True)
        async with receive_upload(request, what="a zip archive or a video") as upload:
            query = request.query_params.multi_items()
            wanted = read_wanted(query, self.settings.options, form=upload.fields, for_job=True)
            job = await self.jobs.create(upload.file, wanted, self.watch.picture)
        return JSONResponse(job.as_dict(), 202, {"Location": f"/v1/jobs/{job.id}"})

    async def job(self, job_id: JobId) -> Response:
        """States: running, done, cancelled, failed."""
        return JSONResponse(self.jobs.find(job_id).as_dict())

    async def job_events(self, job_id: JobId) -> Response:
        """Events ``progress``, then ``end``. Data is what the job's own address gives; failures come with the end."""
        return StreamingResponse(self.jobs.find(job_id).events(), media_type="text/event-stream")

    async def job_result(self, job_id: JobId) -> Response:
        """The pictures of an archive, and ``unhaze.json`` that lists what failed; a video of a video."""
        job = self.jobs.find(job_id)
        if job.state != "done":
            raise ProblemError(409, "The job is not done yet; wait for its end.")
        disposition = f'attachment; filename="{job.filename}"'
        headers = {"Content-Length": str(job.size), "Content-Disposition": disposition}
        return StreamingResponse(job.result(), media_type=job.media_type, headers=headers)

    async def result(self, result_id: ResultId, part: Part) -> Response:
        """``picture``, or what was asked for with ``save`` and ``compare``."""
        found, pieces = self.results.find(result_id, part)
        headers = {"Content-Length": str(found.size), "Content-Disposition": f'inline; filename="{found.filename}"'}
        return StreamingResponse(pieces, media_type=found.media_type, headers=headers)

    async def remove_job(self, job_id: JobId) -> Response:
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


def _content(*kinds: str, example: str | None = None) -> dict[str, Any]:
    what = {"schema": BINARY} if example is None else {"schema": {"type": "string"}, "example": example}
    return {"content": dict.fromkeys(kinds, what)}


def _finish_document(routes: FastAPI, has_token: bool) -> None:
    """Say in the OpenAPI document whether a token is needed, and leave out errors that FastAPI alone would tell."""
    make = routes.openapi

    def openapi() -> dict[str, Any]:
        document = make()
        for methods in document["paths"].values():
            for route in methods.values():
                if "application/json" in route["responses"].get("422", {}).get("content", {}):
                    del route["responses"]["422"]  # of text in an address, which is never wrong by its type
        parts = document.setdefault("components", {})
        for name in ("HTTPValidationError", "ValidationError"):
            parts.get("schemas", {}).pop(name, None)
        if has_token:
            parts["securitySchemes"] = {"bearer": {"type": "http", "scheme": "bearer"}}
        return document

    routes.openapi = openapi  # type: ignore[method-assign]  # the way that FastAPI documents


async def _tell_problem(request: Request, error: Exception) -> Response:
    request_id = request.scope["unhaze.request"].id
    if isinstance(error, HTTPException):  # of the router
        sentences = {404: "There is nothing at this address.", 405: "This address does not know this method."}
        detail = sentences.get(error.status_code, "The request cannot be understood.")
        headers = error.headers
        if error.status_code == 405:  # the router names the methods of one route, and several may lead to an address
            here = [route for route in request.app.routes if route.path_regex.match(request.url.path)]
            headers = {"Allow": ", ".join(sorted({method for route in here for method in route.methods}))}
        return problem_response(ProblemError(error.status_code, detail, headers), request_id)
    if isinstance(error, ClientDisconnect):
        return problem_response(ProblemError(400, "The client has gone."), request_id)
    problem = problem_of(error)
    if problem is None:
        raise error
    return problem_response(problem, request_id)


async def _listen(request: Request, gone: asyncio.Event) -> None:
    """Notice that the client has gone; its body has been read."""
    while True:
        if (await request.receive())["type"] == "http.disconnect":
            gone.set()
            return
