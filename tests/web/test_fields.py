"""The haze field that the page gets, against the one that the library finds."""

import io
import json

import numpy as np
import pytest
from PIL import Image

from unhaze.images.files import read_image
from unhaze.restore.dehazer import Dehazer


def unpack(data):
    """Head and numbers of a packed field."""
    size = int.from_bytes(data[:4], "little")
    assert size % 4 == 0
    return json.loads(data[4 : 4 + size]), np.frombuffer(data[4 + size :], "<f4")


@pytest.mark.parametrize("model", ["field-m", "dcp"])
def test_the_field_is_the_one_of_the_library(server, hazy, model):
    answer = server.post(f"/v1/field?model={model}&strength=0.2&keep-exposure=0.1", hazy)
    assert answer.status == 200
    head, values = unpack(answer.body)
    with Dehazer(model) as dehazer:
        field = dehazer.solve(read_image(hazy).pixels)
    assert (head["height"], head["width"]) == field.slope.shape
    parts = [field.slope.ravel(), field.offset.ravel(), field.confidence.ravel(), field.airlight.ravel()]
    assert head["lights"] == field.airlight.size
    np.testing.assert_allclose(values, np.concatenate(parts), atol=2e-4)
    assert head["lift"] == pytest.approx(field.lift, abs=1e-3)  # whatever the request says of strength and exposure
    assert head["density"] == pytest.approx(field.density, abs=1e-3)
    assert head["least"] == pytest.approx(field.least)


def test_what_cannot_be_solved_is_told_in_a_sentence(server):
    file = io.BytesIO()
    Image.new("L", (2000, 1200)).save(file, "PNG")
    assert "not a picture" in server.post("/v1/field", b"no picture").detail
    assert "2000 x 1200 pixels" in server.post("/v1/field", file.getvalue()).detail
    assert server.post("/v1/field?model=nothing", b"x").status == 422


def test_a_token_is_needed_where_one_is_set(start_server, hazy):
    guarded = start_server(UNHAZE_TOKEN="0123456789abcdef")
    assert guarded.post("/v1/field", hazy).status == 401
    assert guarded.get("/worker.js").status == 200
    assert guarded.post("/v1/field", hazy, Authorization="Bearer 0123456789abcdef").status == 200
