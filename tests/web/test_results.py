"""Maps that an answer in JSON links to."""

import asyncio
import io
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from tests.patience import wait_until

from unhaze.batch.side_products import encode_map
from unhaze.restore.dehazer import Dehazer
from unhaze.web.app import Service
from unhaze.web.problems import BrokenOffError
from unhaze.web.settings import ServeSettings


def test_json_links_to_the_picture_and_the_maps_asked_for(server, hazy):
    report = server.post("/v1/dehaze?save=depth,transmission&compare=true", hazy, Accept="application/json").json()
    assert list(report["links"]) == ["picture", "compare", "depth", "transmission"]
    answers = {name: server.get(link) for name, link in report["links"].items()}
    assert {answer.status for answer in answers.values()} == {200}
    assert answers["picture"].body == server.post("/v1/dehaze", hazy).body
    assert answers["picture"].headers["content-type"] == "image/jpeg"
    with Dehazer() as dehazer:
        result = dehazer(hazy)
    for name in ("depth", "transmission"):
        assert answers[name].headers["content-type"] == "image/png"
        assert answers[name].headers["content-disposition"] == f'inline; filename="dehazed-{name}.png"'
        assert answers[name].body == encode_map(result, name)
    with Image.open(io.BytesIO(answers["compare"].body)) as image:
        assert image.width > 2 * 240
    deep = np.asarray(Image.open(io.BytesIO(answers["transmission"].body)))
    assert (deep.dtype, deep.shape) == (np.uint16, (160, 240))


def test_nothing_is_kept_where_no_map_was_asked_for(server, hazy):
    assert server.post("/v1/dehaze", hazy, Accept="application/json").json()["links"] == {}


def test_maps_need_an_answer_in_json(server, hazy):
    answer = server.post("/v1/dehaze?save=depth", hazy)
    assert (answer.status, "Accept: application/json" in answer.detail) == (422, True)


def test_other_names_lead_nowhere(server, hazy):
    link = server.post("/v1/dehaze?save=depth", hazy, Accept="application/json").json()["links"]["depth"]
    folder = link.rpartition("/")[0]
    for path in (f"{folder}/confidence", "/v1/results/x/depth", f"{folder}/..%2fdepth", f"{folder}/", folder):
        assert server.get(path).status == 404
    assert server.spooled == []


def test_results_are_forgotten(start_server, hazy):
    """The oldest goes for a new one, and all of them after a while."""
    server = start_server("--keep-seconds", "1.5", "--strength", "0")
    tiny = io.BytesIO()
    Image.new("L", (8, 8), 120).save(tiny, "PNG")

    def link():
        answer = server.post("/v1/dehaze?save=depth", tiny.getvalue(), Accept="application/json")
        return answer.json()["links"]["picture"]

    first = link()
    assert server.get(first).status == 200
    wait_until(lambda: server.get(first).status == 404, server.process)
    links = [link() for _ in range(33)]
    assert server.get(links[0]).status == 404
    assert server.spooled == []


def test_a_result_that_is_forgotten_while_it_is_fetched_breaks_off(hazy):
    """An answer that ended in order, but too early, would leave the connection open and its client waiting."""

    async def main():
        service, sent = Service(ServeSettings()), []
        link = (await service.results.add(SimpleNamespace(data=hazy, sides={})))["picture"]

        async def send(message):
            sent.append(message)
            service.results.close()  # between the head of the answer and its body

        async def receive():
            await asyncio.Event().wait()

        scope = {"type": "http", "method": "GET", "path": link, "query_string": b"", "http_version": "1.1"}
        scope |= {"scheme": "http", "root_path": "", "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 8000)}
        scope |= {"headers": [(b"host", b"127.0.0.1:8000")], "asgi": {"version": "3.0", "spec_version": "2.3"}}
        with pytest.raises(BrokenOffError):
            await service.app(scope, receive, send)
        service.work.close()
        assert [each["type"] for each in sent] == ["http.response.start"]

    asyncio.run(main())
