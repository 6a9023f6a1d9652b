"""Machines that send all kinds of things to a server of ``unhaze.web``: nothing but 2xx and 4xx comes back."""

import subprocess
import sys
from collections import Counter

import pytest
from tests.images.test_fuzz import mutant
from tests.web.conftest import zipped

# the schema calls any bytes a picture, so that a refusal of bytes that are none is no fault
CONFIG = """
[checks.positive_data_acceptance]
expected-statuses = ["2xx", "401", "403", "404", "409", "413", "415", "422", "429"]
"""


def send_mutants(server, numbers):
    """Statuses of the answers; the server has to be well afterwards."""
    statuses = Counter()
    for number in numbers:
        name, mutation, data = mutant(number)
        answer = server.form("/v1/dehaze", data, filename=name) if number % 3 else server.post("/v1/dehaze", data)
        assert 200 <= answer.status < 300 or 400 <= answer.status < 500, (number, name, mutation, answer)
        assert answer.status < 300 or answer.detail
        statuses[answer.status] += 1
    assert server.get("/readyz").status == 200
    assert server.spooled == []
    assert server.log("failure") == []
    return statuses


def test_60_mutants(server):
    statuses = send_mutants(server, range(0, 300, 5))
    assert statuses[200] > 10
    assert statuses[422] > 10


@pytest.mark.slow
def test_320_mutants(server):
    assert set(send_mutants(server, range(320))) <= {200, 400, 413, 415, 422}


def test_mutants_of_archives(server):
    """A job holds what a damaged archive still gives, and the others are refused."""
    good = zipped({f"{number}{mutant(number)[0]}": mutant(number)[2] for number in range(4)})
    for place in range(0, len(good), max(1, len(good) // 15)):
        damaged = good[:place] + bytes([good[place] ^ 0x55]) + good[place + 1 :]
        answer = server.post("/v1/jobs", damaged)
        assert answer.status in (202, 413, 422), (place, answer)
        if answer.status == 202:
            link = answer.json()["links"]
            assert b"event: end" in server.get(link["events"]).body
            assert server.get(link["self"]).json()["state"] == "done"
            assert server.ask("DELETE", link["self"]).status == 204
    assert server.log("failure") == []
    assert server.spooled == []


@pytest.mark.slow
def test_the_document_is_true(start_server, tmp_path):
    pytest.importorskip("schemathesis")
    server = start_server("--max-pixels", "1M", "--max-bytes", "3M", "--max-jobs", "20")
    (tmp_path / "schemathesis.toml").write_text(CONFIG)
    command = [sys.executable, "-m", "schemathesis.cli", "run", f"http://127.0.0.1:{server.port}/openapi.json"]
    options = ["--checks", "all", "--max-examples", "100", "--no-color", "--seed", "1"]
    done = subprocess.run([*command, *options], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Tested: 11" in done.stdout
    assert server.log("failure") == []
