"""The routes, asked as a caller asks them."""

import io
import json
import re
import zipfile

import numpy as np
import pytest
from PIL import Image
from tests.patience import wait_until
from tests.web.conftest import zipped
from typer.testing import CliRunner

from unhaze.cli import app as command_line
from unhaze.images.files import identify
from unhaze.restore.dehazer import Dehazer


def as_run_writes_it(tmp_path, data, *arguments, suffix=".jpg", output="out.jpg"):
    (tmp_path / f"in{suffix}").write_bytes(data)
    done = CliRunner().invoke(
        command_line, ["run", str(tmp_path / f"in{suffix}"), "-o", str(tmp_path / output), *arguments]
    )
    assert done.exit_code == 0, done.output
    return (tmp_path / output).read_bytes()


# ------------------------------------------------------------------------------------------------------------- pictures


def test_a_raw_body_comes_back_as_run_writes_it(server, hazy, tmp_path):
    answer = server.post("/v1/dehaze", hazy, Content_Type="image/jpeg")
    assert answer.status == 200
    assert answer.headers["content-type"] == "image/jpeg"
    assert answer.body == as_run_writes_it(tmp_path, hazy)
    assert answer.body != hazy
    with Image.open(io.BytesIO(answer.body)) as image:
        assert image.getexif()[0x010F] == "Maker"


@pytest.mark.parametrize("kind", ["", "application/octet-stream", "application/x-www-form-urlencoded"])
def test_a_body_of_no_type_is_a_picture(server, hazy, kind):
    assert server.post("/v1/dehaze", hazy, Content_Type=kind).status == 200


def test_options_mean_what_they_mean_on_the_command_line(server, hazy, tmp_path):
    wanted = as_run_writes_it(
        tmp_path, hazy, "--strength", "0.6", "--color-blend", "0.2", "--format", "png", "--metadata", "strip",
        output="out.png",
    )  # fmt: skip
    query = server.post("/v1/dehaze?strength=0.6&color-blend=0.2&format=png&metadata=strip", hazy)
    assert query.headers["content-type"] == "image/png"
    assert query.headers["content-disposition"] == 'inline; filename="dehazed.png"'
    assert query.body == wanted
    fields = {"strength": "0.6", "color_blend": "0.2", "format": "png", "metadata": "strip"}
    assert server.form("/v1/dehaze", hazy, **fields).body == wanted
    assert server.form("/v1/dehaze?strength=0.1&format=png", hazy, **fields).body == wanted  # the form counts


def test_a_model_is_chosen_by_name(server, hazy, tmp_path):
    answer = server.form("/v1/dehaze", hazy, model="dcp", quality="40")
    assert answer.body == as_run_writes_it(tmp_path, hazy, "--model", "dcp", "--quality", "40")


def test_16_bits_stay_16_bits(server, tmp_path):
    pixels = np.random.default_rng(0).integers(20000, 50000, (30, 40), np.uint16)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "TIFF")
    answer = server.post("/v1/dehaze", file.getvalue())
    assert answer.headers["content-type"] == "image/tiff"
    assert identify(answer.body).dtype == "uint16"
    assert answer.body == as_run_writes_it(tmp_path, file.getvalue(), suffix=".tif", output="out.tif")


def test_json_tells_the_haze(server, hazy):
    answer = server.post("/v1/dehaze?model=dcp", hazy, Accept="application/json")
    assert answer.headers["content-type"] == "application/json"
    with Dehazer("dcp") as dehazer:
        info = dehazer(hazy, maps=False).info
    report = answer.json()
    assert report["haze"] == info["haze"]
    assert (report["model"], report["width"], report["height"]) == ("dcp", 240, 160)
    picture = server.post("/v1/dehaze?model=dcp", hazy, Accept="image/*")
    assert float(picture.headers["x-unhaze-density"]) == report["haze"]["density"]
    assert [float(x) for x in picture.headers["x-unhaze-airlight"].split(",")] == report["haze"]["airlight"]


def test_accept_that_allows_nothing_is_refused(server, hazy):
    assert "Accept" in server.post("/v1/dehaze", hazy, Accept="text/html").detail
    assert server.post("/v1/dehaze", hazy, Accept="text/html").status == 406


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("strength=3", "strength is '3', but must be a number between -1 and 1."),
        ("strength=nan", "must be a number"),
        ("strength=1_0", "must be a number"),
        ("strength=", "must be a number"),
        ("quality=1.5", "must be a whole number"),
        ("strengths=1", "did you mean strength?"),
        ("strength=1&strength=0", "strength is given twice"),
        ("model=dcpp", "did you mean dcp"),
        ("model=dehazeformer-b", "There is no model named"),
        ("format=gif", "There is no format named"),
        ("weights=/etc/passwd", "There is no option named"),
        ("depth=/etc/passwd", "There is no option named"),
        ("url=http://127.0.0.1/", "There is no option named"),
        ("output=/tmp/x", "There is no option named"),
        ("threads=1000", "There is no option named"),
    ],
)
def test_a_wrong_option_is_one_sentence(server, hazy, query, said):
    answer = server.post(f"/v1/dehaze?{query}", hazy)
    assert answer.status == 422
    assert said in answer.detail


def test_what_is_no_picture_is_one_sentence(server, hazy):
    for body, status, said in (
        (b"", 422, "holds nothing"),
        (b"http://127.0.0.1/photo.jpg", 422, "not a picture"),
        (b"/etc/passwd", 422, "not a picture"),
        (hazy[: len(hazy) // 2], 422, "truncated"),
        (b"%PDF-1.4 " + bytes(99), 415, "PDF"),
    ):
        answer = server.post("/v1/dehaze", body)
        assert answer.status == status
        assert said in answer.detail
    assert server.post("/v1/dehaze", b"{}", Content_Type="application/json").status == 415
    assert "field 'file'" in server.form("/v1/dehaze", hazy, name="picture").detail
    assert server.post("/v1/dehaze", b"nonsense", Content_Type="multipart/form-data; boundary=x").status == 422
    assert server.post("/v1/dehaze", b"nonsense", Content_Type="multipart/form-data").status == 422


# ----------------------------------------------------------------------------------------------------------------- jobs


def finish(server, answer):
    assert answer.status == 202, answer
    link = answer.json()["links"]["self"]
    assert answer.headers["location"] == link
    wait_until(lambda: server.get(link).json()["state"] != "running", server.process)
    return server.get(link).json()


def test_a_job_restores_an_archive(server, hazy, tmp_path):
    archive = zipped({"trip/a.jpg": hazy, "b.png": b"nonsense", "words.txt": b"words", "__MACOSX/._a.jpg": b"x"})
    report = finish(server, server.post("/v1/jobs?save=transmission,depth&compare=true", archive))
    assert (report["state"], report["total"], report["done"], report["failed"]) == ("done", 2, 1, 1)
    assert report["ignored"] == 2
    assert (report["failures"][0]["index"], report["failures"][0]["name"]) == (1, "b.png")
    result = server.get(report["links"]["result"])
    assert result.headers["content-type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(result.body)) as made:
        assert made.testzip() is None
        assert sorted(made.namelist()) == sorted(
            ["trip/a.jpg", "trip/a-transmission.png", "trip/a-depth.png", "trip/a-compare.jpg", "unhaze.json"]
        )
        assert made.read("trip/a.jpg") == as_run_writes_it(tmp_path, hazy)
        assert json.loads(made.read("unhaze.json"))["failed"] == 1
    assert server.ask("DELETE", report["links"]["self"]).status == 204
    assert server.get(report["links"]["self"]).status == 404


def test_progress_is_told_as_it_happens(server, hazy):
    created = server.form("/v1/jobs", zipped({f"{n}.jpg": hazy for n in range(3)}), filename="a.zip", strength="0.5")
    told = server.get(created.json()["links"]["events"])
    assert told.headers["content-type"].startswith("text/event-stream")
    events = re.findall(r"^event: (\w+)\ndata: (.*)$", told.body.decode(), re.M)
    assert [kind for kind, _ in events][-1] == "end"
    counts = [json.loads(data)["done"] for _, data in events]
    assert counts == sorted(counts)
    assert counts[-1] == 3
    assert server.ask("DELETE", created.json()["links"]["self"]).status == 204


def test_results_of_one_name_do_not_replace_each_other(server, hazy):
    gif = io.BytesIO()
    Image.open(io.BytesIO(hazy)).quantize(64).save(gif, "GIF")
    png = io.BytesIO()
    Image.open(io.BytesIO(hazy)).save(png, "PNG")
    report = finish(server, server.post("/v1/jobs", zipped({"a.gif": gif.getvalue(), "a.png": png.getvalue()})))
    with zipfile.ZipFile(io.BytesIO(server.get(report["links"]["result"]).body)) as made:
        assert sorted(made.namelist()) == ["a-2.png", "a.png", "unhaze.json"]
    server.ask("DELETE", report["links"]["self"])


def test_what_is_made_beside_a_picture_replaces_no_other_picture(server, hazy):
    archive = zipped({"a.jpg": hazy, "A-compare.jpg": hazy})
    report = finish(server, server.post("/v1/jobs?compare=true", archive))
    with zipfile.ZipFile(io.BytesIO(server.get(report["links"]["result"]).body)) as made:
        names = made.namelist()
        assert made.read("A-compare.jpg") != made.read("a-compare-2.jpg")
    assert sorted(names) == ["A-compare-compare.jpg", "A-compare.jpg", "a-compare-2.jpg", "a.jpg", "unhaze.json"]
    server.ask("DELETE", report["links"]["self"])


@pytest.mark.parametrize(
    "name", ["Screenshot at 9.41.00\u202fAM.jpg", "im\xa0Nebel.jpg", "\U0001f468\u200d\U0001f469.jpg"]
)
def test_spaces_and_signs_of_every_kind_stay_in_names(server, hazy, name):
    report = finish(server, server.post("/v1/jobs", zipped({name: hazy})))
    with zipfile.ZipFile(io.BytesIO(server.get(report["links"]["result"]).body)) as made:
        assert made.namelist() == [name, "unhaze.json"]
    server.ask("DELETE", report["links"]["self"])


def test_a_job_that_does_not_exist(server):
    for path in ("/v1/jobs/none", "/v1/jobs/none/events", "/v1/jobs/none/result"):
        assert server.get(path).status == 404
    assert server.ask("DELETE", "/v1/jobs/none").status == 404


# ---------------------------------------------------------------------------------------------------- what it tells


def test_models_are_those_without_weights(server):
    listed = server.get("/v1/models").json()
    assert {"field-m", "dcp", "cap", "bccr"} <= {each["name"] for each in listed["models"]}
    assert [each["name"] for each in listed["models"] if each["is_default"]] == ["field-m"]
    assert listed["limits"] == {"bytes": 3 << 20, "pixels": 2_000_000, "seconds": 60.0}
    assert {"strength", "color-blend", "quality"} <= {each["name"] for each in listed["options"]}


def test_health_and_metrics(server, hazy):
    assert server.get("/healthz").body == b"alive\n"
    assert server.get("/readyz").body == b"ready\n"
    server.post("/v1/dehaze", hazy)
    server.post("/v1/dehaze", b"nonsense")
    text = server.get("/metrics").body.decode()
    ok = re.search(r'unhaze_requests_total\{method="POST",route="/v1/dehaze",status="200"\} (\S+)', text)
    assert float(ok[1]) >= 1
    for word in ("GRANDMOTHER", "GRANDFATHER"):
        assert server.ask(word, "/healthz").status == 405
    assert "GRAND" not in server.get("/metrics").body.decode()  # callers do not make series
    for name in ("unhaze_request_seconds_bucket", "unhaze_waiting", "process_resident_memory_bytes"):
        assert name in text
    assert float(re.search(r"unhaze_haze_density_count (\S+)", text)[1]) >= 1
    assert float(re.search(r'unhaze_pictures_total\{result="failed"\} (\S+)', text)[1]) >= 1


def test_the_document_has_the_options_of_the_table_with_examples(server):
    document = server.get("/openapi.json").json()
    route = document["paths"]["/v1/dehaze"]["post"]
    by_name = {each["name"]: each for each in route["parameters"]}
    assert by_name["strength"]["schema"] == {"type": "number", "minimum": -1, "maximum": 1, "default": 1}
    assert all("example" in each for each in route["parameters"])
    assert set(route["requestBody"]["content"]["multipart/form-data"]["schema"]["properties"]) == {"file", *by_name}
    assert {"200", "413", "415", "422", "429", "503"} <= set(route["responses"])
    assert "image/jpeg" in route["responses"]["200"]["content"]
    assert "application/json" in route["responses"]["200"]["content"]


def test_every_route_has_examples(server):
    """Of what is sent, of what comes back, and of every error."""
    document = server.get("/openapi.json").json()
    schemas = document["components"]["schemas"]
    count = 0
    for path, methods in document["paths"].items():
        for method, route in methods.items():
            for each in route.get("parameters", ()):
                assert "example" in each or each["schema"].get("examples"), (path, each["name"])
            for status, answer in route["responses"].items():
                for kind, content in answer.get("content", {}).items():
                    reference = content["schema"].get("$ref", "").rpartition("/")[2]
                    example = content.get("example") or schemas.get(reference, {}).get("examples")
                    is_file = content["schema"] == {"type": "string", "format": "binary"}
                    assert example or is_file, (path, method, status, kind)
                    assert status < "400" or (kind == "application/problem+json" and example["title"]), (path, status)
                    count += 1
    assert count > 60


def test_the_page_comes_from_here_alone(server):
    page = server.get("/")
    assert page.headers["content-type"].startswith("text/html")
    texts = [page.body.decode(), server.get("/page.js").body.decode(), server.get("/page.css").body.decode()]
    assert not [text for text in texts if re.search(r"(https?:)?//[a-z]", text.replace("// ", ""))]
    for name in re.findall(r'(?:src|href)="([^"]+)"', texts[0]):
        assert server.get(f"/{name}").status == 200, name
    assert "onclick" not in texts[0]
    assert "<style" not in texts[0]
    assert sum(map(len, texts)) < 400_000


def test_the_log_has_ids_and_no_names(server, hazy):
    answer = server.form("/v1/dehaze", hazy, filename="grandmother.jpg")
    wait_until(lambda: any(each["request_id"] == answer.headers["x-request-id"] for each in server.log("request")))
    line = next(each for each in server.log("request") if each["request_id"] == answer.headers["x-request-id"])
    assert (line["route"], line["status"], line["width"], line["height"]) == ("/v1/dehaze", 200, 240, 160)
    assert line["bytes_out"] == len(answer.body)
    assert "grandmother" not in "".join(server.lines)
    server.form("/v1/dehaze", b"", name="grandmother")
    server.post("/v1/dehaze", b"grandmother", Content_Type="multipart/form-data; boundary=x")
    assert "grandmother" not in "".join(server.lines)
    assert not [line for line in server.lines if not line.startswith(("{", "Serving at"))]
