"""The process: how it begins, idles, drains and ends."""

import os
import re
import signal
import socket

import pytest
from tests.patience import HUNG, wait_until
from tests.web.conftest import form, read_all, zipped

from unhaze.errors import UsageError
from unhaze.web.server import bind, url_of
from unhaze.web.settings import ServeSettings


def endless_video():
    """One that takes far longer than a test waits."""
    pytest.importorskip("av")
    from tests.web.test_video_jobs import video

    return video(frames=2000)


needs_signals = pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGTERM to catch")


@pytest.fixture
def held(start_server, hazy):
    """A server with an upload that lacks its last byte: (server, the connection, that byte)."""
    server = start_server("--jobs", "1")
    body, kind = form(hazy)
    head = f"POST /v1/dehaze HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.port), HUNG) as connection:
        connection.sendall(head.encode() + body[:-1])
        wait_until(lambda: server.get("/readyz").status == 200, server.process)
        yield server, connection, body[-1:]


@needs_signals
def test_a_signal_drains(held, hazy):
    server, connection, rest = held
    job = server.post("/v1/jobs", zipped({"a.jpg": hazy})).json()["links"]
    wait_until(lambda: server.get(job["self"]).json()["state"] == "done", server.process)
    server.process.send_signal(signal.SIGTERM)
    wait_until(lambda: server.get("/readyz").status == 503, server.process)
    refused = server.post("/v1/dehaze", hazy)
    assert refused.status == 503
    assert int(refused.headers["retry-after"]) > 0
    assert "about to end" in refused.detail
    assert server.get("/healthz").status == 200
    assert server.get(f"{job['self']}/result").status == 200  # what is done can still be fetched
    connection.sendall(rest)
    assert read_all(connection).startswith(b"HTTP/1.1 200 OK")
    assert server.process.wait(HUNG) == 0
    assert [each["signal"] for each in server.log("drain")] == ["SIGTERM"]
    assert server.spooled == []


@needs_signals
def test_a_running_job_is_ended_first(start_server, hazy):
    server = start_server()
    answer = server.post("/v1/jobs", zipped({f"{n}.jpg": hazy for n in range(5)}))
    events = answer.json()["links"]["events"]
    with socket.create_connection(("127.0.0.1", server.port), HUNG) as connection:
        connection.sendall(f"GET {events} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        assert connection.recv(1 << 16).startswith(b"HTTP/1.1 200 OK")
        server.process.send_signal(signal.SIGINT)
        assert b'"done": 5' in read_all(connection)
    assert server.process.wait(HUNG) == 130  # what every command returns after Ctrl-C


@needs_signals
@pytest.mark.parametrize("signals", [1, 2], ids=["after the time of grace", "at once, by a second signal"])
def test_who_listens_to_a_job_that_does_not_end_makes_no_noise(start_server, signals):
    server = start_server("--grace-seconds", "0.2" if signals == 1 else "60")
    events = server.post("/v1/jobs", endless_video()).json()["links"]["events"]
    with socket.create_connection(("127.0.0.1", server.port), HUNG) as connection:
        connection.sendall(f"GET {events} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        assert connection.recv(1 << 16).startswith(b"HTTP/1.1 200 OK")
        server.process.send_signal(signal.SIGTERM)
        if signals == 2:
            wait_until(lambda: server.log("drain"), server.process)
            server.process.send_signal(signal.SIGTERM)
        last = read_all(connection)
    assert server.process.wait(HUNG) == 0
    if signals == 1:
        assert b"event: end\ndata: {" in last
        assert b'"state": "cancelled"' in last
    assert "".join(server.lines).count("Traceback") == 0
    assert [line for line in server.log() if line["level"] != "info"] == []
    assert server.spooled == []


@needs_signals
def test_nothing_is_left_where_the_process_is_killed(held, hazy):
    server, _, _ = held
    assert server.post("/v1/jobs", zipped({"a.jpg": hazy})).status == 202
    assert server.spooled == []  # not even while it works: the files have no names
    server.process.kill()
    server.process.wait()
    assert server.spooled == []


@pytest.fixture(scope="module")
def restless(start_server):
    """A server that keeps nothing for long."""
    return start_server("--idle-seconds", "0.3", "--keep-seconds", "0.2", "--grace-seconds", "0.2")


def test_an_idle_engine_is_unloaded_and_loaded_again(restless, hazy):
    server = restless

    def is_loaded():
        return re.search(r"^unhaze_engine_loaded (\S+)", server.get("/metrics").body.decode(), re.M)[1] == "1.0"

    assert not is_loaded()
    first = server.post("/v1/dehaze", hazy)
    wait_until(lambda: not is_loaded(), server.process)
    assert server.post("/v1/dehaze", hazy).body == first.body


def test_results_of_jobs_are_forgotten(restless, hazy):
    link = restless.post("/v1/jobs", zipped({"a.jpg": hazy})).json()["links"]["self"]
    wait_until(lambda: restless.get(link).status == 404, restless.process)


@needs_signals
def test_work_that_does_not_end_is_given_up(restless):
    with socket.create_connection(("127.0.0.1", restless.port), HUNG) as connection:
        connection.sendall(b"POST /v1/dehaze HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n")
        wait_until(lambda: restless.get("/healthz").status == 200)
        assert restless.end() == 0
    assert restless.spooled == []


def test_a_port_that_is_taken_is_one_sentence():
    settings = ServeSettings(port=0)
    with bind(settings) as listener:
        port = listener.getsockname()[1]
        assert url_of(settings, listener) == f"http://127.0.0.1:{port}/"
        with pytest.raises(UsageError, match="cannot be listened on"):
            bind(ServeSettings(port=port))
    with pytest.raises(UsageError, match="cannot be listened on"):
        bind(ServeSettings(host="no.such.host.invalid", no_auth=True))


@needs_signals
def test_the_process_starts_anew_and_no_connection_is_refused(start_server, hazy):
    server = start_server("--recycle-after", "3")
    first = server.post("/v1/dehaze", hazy)
    with socket.create_connection(("127.0.0.1", server.port), HUNG) as connection:
        for _ in range(12):  # each on a connection of its own, some of them while no process accepts any
            answer = server.post("/v1/dehaze", hazy)
            assert (answer.status, answer.body) == (200, first.body)
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
    wait_until(lambda: server.log("recycle"), server.process)
    assert server.get("/healthz").status == 200
    assert server.end() == 0
    assert server.spooled == []


@needs_signals
def test_the_process_does_not_start_anew_while_something_is_kept(start_server, hazy):
    server = start_server("--recycle-after", "2")
    job = server.post("/v1/jobs", zipped({"a.jpg": hazy})).json()["links"]
    for _ in range(5):
        assert server.post("/v1/dehaze", hazy).status == 200
    assert server.get(f"{job['self']}").status == 200
    assert not server.log("recycle")
    assert server.ask("DELETE", job["self"]).status == 204
    wait_until(lambda: server.log("recycle"), server.process)
    assert server.post("/v1/dehaze", hazy).status == 200
