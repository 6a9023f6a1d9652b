"""What answers look like, for the OpenAPI document and for those who read it."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Literal, cast

from pydantic import BaseModel, ConfigDict, Field

from unhaze.web.parameters import dehaze_parameters, job_parameters, picture_parameters
from unhaze.web.problems import PROBLEM_TYPE

__all__ = [
    "BINARY",
    "EVENTS",
    "FIGURES",
    "RESULT_TYPES",
    "HazeReport",
    "JobReport",
    "ModelList",
    "job_route",
    "picture_answers",
    "picture_route",
    "problems",
]

_MEDIA = ("image/jpeg", "image/png", "image/tiff", "image/webp", "image/avif", "image/bmp")
RESULT_TYPES = ("application/zip", "video/mp4", "video/quicktime", "video/x-matroska", "video/webm", "video/x-msvideo")
BINARY = {"type": "string", "format": "binary"}
EVENTS = (
    'event: progress\ndata: {"id": "hjbm0YlvCfQ4ywZQnXS8Rg", "kind": "pictures", "state": "running", ...}\n\n'
    'event: end\ndata: {"id": "hjbm0YlvCfQ4ywZQnXS8Rg", "kind": "pictures", "state": "done", ...}\n\n'
)
FIGURES = 'unhaze_requests_total{method="POST",route="/v1/dehaze",status="200"} 93.0\nunhaze_waiting 0.0\n'
_SENTENCES = {
    400: "The Host header names another host.",
    401: "A token is needed: send the header Authorization: Bearer TOKEN.",
    403: "Pages of this origin may not call this service.",
    404: "There is no job of this id; it may have been deleted, or its time is over.",
    406: "Accept neither allows a picture nor application/json.",
    408: "The request came too slowly; send it over a faster line.",
    409: "The job is not done yet; wait for its end.",
    413: "The picture has 20000 x 20000 pixels, more than the 100000000 that are taken here; make it smaller.",
    415: "The picture is a PDF file, which is not read; convert it to PNG or TIFF.",
    422: "strength is '3', but must be a number between -1 and 1.",
    429: "Too many requests are waiting; send it again later.",
    503: "The service is about to end and takes no new work; send it again later.",
}


class Problem(BaseModel):
    """What went wrong (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str = Field(description="One sentence: what is wrong, and what to do.")
    request_id: str


class Haze(BaseModel):
    """How much haze a picture holds."""

    density: float = Field(description="Mean optical depth: 0 is clear, about 1 hazy, 2 dense fog.")
    beyond_sight: float = Field(
        description="0 to 1: share of the picture where less than 15 % of the light of the scene comes through."
    )
    airlight: list[float] = Field(description="Colour of the haze: red, green, blue, 0 to 1, sRGB-encoded.")
    confidence: float = Field(description="0 to 1: how sure the model is, in the mean.")


class HazeReport(BaseModel):
    """What was found in a picture."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "model": "field-m",
                    "width": 1920,
                    "height": 1080,
                    "haze": {
                        "density": 0.52,
                        "beyond_sight": 0.01,
                        "airlight": [0.81, 0.83, 0.86],
                        "confidence": 0.9,
                    },
                    "left_alone": None,
                    "notes": [],
                    "links": {
                        "picture": "/v1/results/Zk0cX1mYV2vH3uC8n4YpGQ/picture",
                        "depth": "/v1/results/Zk0cX1mYV2vH3uC8n4YpGQ/depth",
                    },
                }
            ]
        }
    )

    model: str
    width: int
    height: int
    haze: Haze
    left_alone: str | None = Field(description="Why the picture is left almost as it is, if it is.")
    notes: list[str] = Field(description="What storing the result would change or lose.")
    links: dict[str, str] = Field(description="Where the picture and what save and compare name are kept for a while.")


class ModelEntry(BaseModel):
    """A model that a request may name."""

    name: str
    summary: str
    kind: str
    paper: str
    license: str
    is_default: bool


class ModelList(BaseModel):
    """What a request may name and choose."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "models": [
                        {
                            "name": "dcp",
                            "summary": "Dark channel prior",
                            "kind": "classic",
                            "paper": "He, Sun, Tang: Single Image Haze Removal Using Dark Channel Prior, 2009",
                            "license": "",
                            "is_default": False,
                        }
                    ],
                    "options": cast("Any", picture_parameters()[1:2]),
                    "limits": {"bytes": 104857600, "seconds": 60.0, "pixels": 100000000},
                }
            ]
        }
    )

    models: list[ModelEntry]
    options: list[dict[str, Any]] = Field(description="The options of a picture, as parameters of OpenAPI.")
    limits: dict[str, float] = Field(description="Bytes, pixels and seconds that are taken.")


class Failure(BaseModel):
    """A picture of a job that failed."""

    index: int = Field(description="Its place among the pictures of the archive, from 0 on.")
    name: str = Field(description="Its name in the archive.")
    error: str


class JobReport(BaseModel):
    """Where a job stands."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": "hjbm0YlvCfQ4ywZQnXS8Rg",
                    "kind": "pictures",
                    "state": "running",
                    "total": 12,
                    "done": 5,
                    "failed": 1,
                    "ignored": 0,
                    "failures": [
                        {
                            "index": 2,
                            "name": "trip/a.jpg",
                            "error": "The picture is truncated; copy it again from its source.",
                        }
                    ],
                    "notes": [],
                    "error": None,
                    "links": {
                        "self": "/v1/jobs/hjbm0YlvCfQ4ywZQnXS8Rg",
                        "events": "/v1/jobs/hjbm0YlvCfQ4ywZQnXS8Rg/events",
                    },
                }
            ]
        }
    )

    id: str
    kind: Literal["pictures", "video"]
    state: Literal["running", "done", "cancelled", "failed"]
    total: int | None = Field(description="Pictures or frames; of a video not exact before its end, or not known.")
    done: int
    failed: int
    ignored: int = Field(description="Files of the archive that are no pictures by their names.")
    failures: list[Failure]
    notes: list[str] = Field(description="What could not stay as it was in a video.")
    error: str | None = Field(description="Why the job as a whole failed, if it did.")
    links: dict[str, str]


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Answers of a route that are problems, with an example each."""
    schema = Problem.model_json_schema()
    found: dict[int | str, dict[str, Any]] = {}
    for status in sorted({400, 403, 429, *statuses}):
        example = {
            "type": "about:blank",
            "title": HTTPStatus(status).phrase,
            "status": status,
            "detail": _SENTENCES[status],
            "request_id": "5d3c0b1f9a7e2468",
        }
        found[status] = {
            "description": _SENTENCES[status],
            "content": {PROBLEM_TYPE: {"schema": schema, "example": example}},
        }
        if status in (429, 503):
            header = {"description": "Seconds to wait.", "schema": {"type": "integer", "minimum": 1}}
            found[status]["headers"] = {"Retry-After": header}
    return found


def picture_route() -> dict[str, Any]:
    """Parameters and body of the route that takes a picture."""
    parameters = dehaze_parameters()
    return {"parameters": parameters, "requestBody": _body("A picture.", parameters, *_MEDIA)}


def job_route() -> dict[str, Any]:
    """Parameters and body of the route that takes an archive or a video."""
    parameters = job_parameters()
    return {"parameters": parameters, "requestBody": _body("A zip archive, or a video.", parameters, *RESULT_TYPES)}


def picture_answers() -> dict[str, Any]:
    """Media types of an answer with a picture."""
    return {kind: {"schema": BINARY} for kind in _MEDIA}


def _body(what: str, parameters: list[dict[str, Any]], *types: str) -> dict[str, Any]:
    texts = {each["name"]: {**each["schema"], "description": each["description"]} for each in parameters}
    form = {
        "type": "object",
        "required": ["file"],
        "additionalProperties": False,
        "properties": {"file": {**BINARY, "description": what}, **texts},
    }
    raw = {kind: {"schema": BINARY} for kind in (*types, "application/octet-stream")}
    return {
        "description": f"{what} Options may stand in the query or in the form.",
        "required": True,
        "content": {"multipart/form-data": {"schema": form}, **raw},
    }
