"""Who may ask, how much may come in, and what becomes of those who mean harm; each against a server that runs."""

import contextlib
import io
import json
import socket
import struct
import zipfile
import zlib

import numpy as np
import pytest
from PIL import Image
from tests.patience import HUNG, wait_until
from tests.web.conftest import read_all, zipped

TOKEN = "correct-horse-battery"


@pytest.fixture(scope="module")
def guarded(start_server):
    """One with a token, and a page elsewhere that may call."""
    allowed = ("--allow-origin", "https://example.org", "--allow-host", "dehaze.test")
    return start_server(*allowed, "--per-client", "3", UNHAZE_TOKEN=TOKEN)


@pytest.fixture(scope="module")
def hasty(start_server):
    """One that waits half a second for heads, bodies and readers."""
    return start_server(settings="header_seconds=0.5, upload_seconds=0.5, per_client=2, max_bytes=64 << 20")


def status_of(answer):
    return int(answer.split(b" ", 2)[1])


# ------------------------------------------------------------------------------------------------- Host, origins, token


@pytest.mark.parametrize(
    "host", ["evil.test", "127.0.0.1.evil.test", "localhost@evil.test", "evil.test:80", "a:b:1", "::"]
)
def test_another_host_is_refused(server, host):
    """A name that an attacker makes point to 127.0.0.1: DNS rebinding."""
    answer = server.get("/healthz", Host=host)
    assert answer.status == 400
    assert "Host" in answer.detail


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8000", "127.0.0.1:1", "[::1]:8000"])
def test_names_of_this_machine_are_answered(server, host):
    assert server.get("/healthz", Host=host).status == 200


def test_a_request_without_host_is_refused(server):
    assert status_of(server.talk(b"GET /healthz HTTP/1.0\r\n\r\n")) == 400
    assert status_of(server.talk(b"GET /healthz HTTP/1.1\r\nConnection: close\r\n\r\n")) == 400


def test_a_host_can_be_allowed(guarded):
    assert guarded.get("/healthz", Host="dehaze.test").status == 200
    assert guarded.get("/healthz", Host="evil.test").status == 400


@pytest.mark.parametrize("origin", ["https://evil.test", "null", "http://127.0.0.1:1", "https://example.org"])
def test_pages_of_others_may_not_call(server, hazy, origin):
    answer = server.post("/v1/dehaze", hazy, Origin=origin)
    assert answer.status == 403
    assert not [name for name in answer.headers if name.startswith("access-control")]
    assert server.ask("OPTIONS", "/v1/dehaze", headers={"Origin": origin}).status == 403


def test_the_own_page_may_call(server, hazy):
    answer = server.post("/v1/dehaze", hazy, Origin=f"http://127.0.0.1:{server.port}")
    assert answer.status == 200
    assert not [name for name in answer.headers if name.startswith("access-control")]


def test_a_page_that_is_named_may_call(guarded, hazy):
    origin, bearer = "https://example.org", f"Bearer {TOKEN}"
    asked = {
        "Origin": origin,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization",
    }
    before = guarded.ask("OPTIONS", "/v1/dehaze", headers=asked)
    assert before.status == 204
    assert before.headers["access-control-allow-origin"] == origin
    assert "Authorization" in before.headers["access-control-allow-headers"]
    answer = guarded.post("/v1/dehaze", hazy, Origin=origin, Authorization=bearer)
    assert (answer.status, answer.headers["access-control-allow-origin"]) == (200, origin)
    assert "Origin" in answer.headers["vary"]
    assert guarded.post("/v1/dehaze", hazy, Origin="https://example.org.evil.test", Authorization=bearer).status == 403


def test_a_token_is_asked_for(guarded, hazy):
    for given in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {TOKEN}"}, {"Authorization": TOKEN}):
        for method, path in (("POST", "/v1/dehaze"), ("GET", "/metrics"), ("GET", "/v1/jobs/x"), ("GET", "/v1/models")):
            answer = guarded.ask(method, path, headers=given)
            assert answer.status == 401
            assert answer.headers["www-authenticate"].startswith("Bearer")
    assert guarded.post("/v1/dehaze", hazy, Authorization=f"Bearer {TOKEN}").status == 200
    assert [guarded.get(path).status for path in ("/", "/page.js", "/healthz", "/readyz")] == [200] * 4
    assert TOKEN not in "".join(guarded.lines)


def test_every_answer_has_the_headers_of_security(server, hazy):
    answers = [
        server.get("/"),
        server.post("/v1/dehaze", hazy),
        server.get("/nothing"),
        server.post("/v1/dehaze?strength=9", hazy),
        server.get("/", Host="evil.test"),
        server.ask("PUT", "/v1/dehaze"),
    ]
    assert [answer.status for answer in answers] == [200, 200, 404, 422, 400, 405]
    for answer in answers:
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'")
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert "server" not in answer.headers


# ---------------------------------------------------------------------------------------------------------- traversal


@pytest.mark.parametrize(
    "path",
    ["/../../../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "//etc/passwd", "/page.js/../../app.py", "/page.js%00"],
)
def test_no_path_leads_to_a_file(server, path):
    answer = server.talk(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
    assert status_of(answer) == 404
    assert b"root:" not in answer


def test_the_name_of_an_upload_is_no_path(server, hazy):
    for name in ("../../../escape.jpg", "/etc/passwd", "C:\\x.jpg", "a\x00.jpg"):
        assert server.form("/v1/dehaze", hazy, filename=name).status in (200, 422)
    assert {path.name for path in server.folder.iterdir()} == {"spool"}
    assert server.spooled == []


def test_an_id_of_a_job_is_no_path(server):
    for name in ("..%2f..%2fetc%2fpasswd", "../../etc/passwd", "%00"):
        assert server.get(f"/v1/jobs/{name}").status == 404


# ------------------------------------------------------------------------------------------------------------- too much


def test_a_body_that_says_it_is_too_large_is_refused_unread(server):
    head = b"POST /v1/dehaze HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4000000000\r\nExpect: 100-continue\r\n\r\n"
    answer = server.talk(head)  # and closes, although nothing of it came
    assert status_of(answer) == 413
    assert b"100 Continue" not in answer


def test_a_body_that_turns_out_too_large_is_refused(server):
    for path in ("/v1/dehaze", "/v1/jobs"):
        with socket.create_connection(("127.0.0.1", server.port), HUNG) as connection:
            head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
            connection.sendall(head)
            with contextlib.suppress(OSError):  # it may hang up meanwhile
                for _ in range(100):
                    connection.sendall(b"10000\r\n" + bytes(0x10000) + b"\r\n")
                connection.sendall(b"0\r\n\r\n")
            assert status_of(read_all(connection)) == 413
    assert server.spooled == []


def test_a_form_of_too_much_is_refused(server, hazy):
    assert server.form("/v1/dehaze", bytes(4 << 20)).status == 413
    many = {f"strength{number}": "1" for number in range(100)}
    assert server.form("/v1/dehaze", hazy, **many).status == 422
    assert server.form("/v1/dehaze", hazy, strength="1" * 100_000).status == 422
    assert server.spooled == []


def test_a_head_of_too_much_is_refused(server):
    assert status_of(server.talk(b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 100_000)) == 400
    assert status_of(server.talk(b"\x16\x03\x01 nonsense\r\n\r\n")) == 400


@pytest.mark.parametrize(
    "line",
    [
        *(
            "OPTIONS *",
            "GET http://evil.test/",
            "CONNECT evil.test:443",
            "GET /%ff%fe",
            "GET /v1/jobs/%ff",
            "get /healthz",
        ),
        *(
            "POST /v1/dehaze?strength=%ff",
            "POST /v1/dehaze?%00=%00",
            "POST /v1/dehaze?strength",
            "GET /?" + "a=b&" * 3000,
        ),
        *("TRACE /", "GET //", "GET /v1/jobs//result", "POST /healthz", "DELETE /v1/jobs/", "HEAD /"),
    ],
)
def test_strange_requests_are_answered(server, line):
    before = len(server.log("failure"))
    answer = server.talk(f"{line} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
    assert status_of(answer) == 200 if line.startswith("GET /?") else 400 <= status_of(answer) < 500
    assert len(server.log("failure")) == before


@pytest.mark.parametrize(
    "header",
    [
        *(
            "Accept: \xff",
            "Accept: ;;;q=x,",
            "Origin: \xff",
            "Origin: http://[",
            "Authorization: \xff",
            "Content-Type: \xff",
        ),
        *("Content-Type: multipart/form-data; boundary=" + "x" * 500, "Content-Length: 1", "Expect: nonsense"),
        *("Content-Type: multipart/form-data; boundary=\xff", "Upgrade: websocket\r\nConnection: upgrade"),
    ],
)
def test_strange_headers_are_answered(server, header):
    before = len(server.log("failure"))
    head = f"POST /v1/dehaze HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{header}\r\n\r\nx"
    assert 400 <= status_of(server.talk(head.encode("latin-1"))) < 500
    assert len(server.log("failure")) == before


def png_of(width, height, *more):
    def chunk(name, content):
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(chunk(*each) for each in more) + chunk(b"IEND", b"")


def test_a_picture_of_too_many_pixels_is_refused_before_decoding(server):
    bomb = png_of(50_000, 50_000, (b"IDAT", zlib.compress(bytes(1 << 20), 9)))
    answer = server.post("/v1/dehaze", bomb)
    assert answer.status == 413
    assert "50000 x 50000" in answer.detail


def test_texts_that_inflate_do_not_fill_the_memory(server):
    inflating = [(b"zTXt", b"a\0\0" + zlib.compress(bytes(7_000_000), 9))] * 40
    small = png_of(16, 16, *inflating, (b"IDAT", zlib.compress(bytes(17 * 16))))
    before = resident(server)
    assert server.post("/v1/dehaze", small).status in (200, 413, 422)
    assert resident(server) - before < 500 << 20


def resident(server):
    text = server.get("/metrics").body.decode()
    return float(next(line.split()[1] for line in text.splitlines() if line.startswith("process_resident_memory")))


# ------------------------------------------------------------------------------------------------------------- archives


def refused(server, archive):
    answer = server.post("/v1/jobs", archive, Content_Type="application/zip")
    assert answer.status in (413, 422), answer
    assert server.spooled == []
    assert {path.name for path in server.folder.iterdir()} == {"spool"}
    return answer.detail


@pytest.mark.parametrize(
    "name",
    [
        *("../a.jpg", "/a.jpg", "a/../../b.jpg", "..\\a.jpg", "C:/a.jpg", "C:\\a.jpg", "\\\\host\\a.jpg"),
        *("a\x01.jpg", "a\u202egpj.jpg", "a\u2028.jpg"),
    ],
)
def test_zip_slip_is_refused(server, hazy, name):
    assert "leads elsewhere" in refused(server, zipped({"good.jpg": hazy, name: hazy}))


def test_links_in_archives_are_refused(server, hazy):
    link = zipfile.ZipInfo("a.jpg")
    link.external_attr = 0o120777 << 16
    assert "link" in refused(server, zipped({link: b"/etc/passwd", "b.jpg": hazy}))


def test_zip_bombs_are_refused(server, hazy):
    zeros = bytes(2_900_000)
    assert "unpack" in refused(server, zipped({f"{n}.bmp": zeros for n in range(12)}))
    assert "bytes" in refused(server, zipped({"a.bmp": bytes(4 << 20)}))
    overlapping = overlap(hazy, 300)
    assert "unpack" in refused(server, overlapping)
    assert "too many files" in refused(server, zipped({f"{n}.jpg": b"" for n in range(5000)}))
    nested = zipped({"inner.zip": zipped({"a.jpg": hazy})})
    assert "no picture" in refused(server, nested)


def overlap(data, count):
    """An archive whose entries share one file."""
    name = b"a.jpg"
    local = (
        struct.pack("<4s5H3I2H", b"PK\3\4", 20, 0, 0, 0, 0, zlib.crc32(data), len(data), len(data), 5, 0) + name + data
    )
    entries = b""
    for number in range(count):
        this = b"%03d.j" % number
        facts = (20, 20, 0, 0, 0, 0, zlib.crc32(data), len(data), len(data), len(this) + 2, 0, 0, 0, 0, 0, 0)
        entries += struct.pack("<4s6H3I5H2I", b"PK\1\2", *facts) + this + b"pg"
    return local + entries + struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, count, count, len(entries), len(local), 0)


def test_strange_archives_are_refused(server, hazy):
    good = zipped({"a.jpg": hazy})
    assert "no zip" in refused(server, hazy)
    assert "no zip" in refused(server, b"PK\5\6")
    assert "cannot be read" in refused(server, good[: len(good) // 2] + good[-22:])
    encrypted = bytearray(good)
    encrypted[good.index(b"PK\1\2") + 8] |= 1
    assert "encrypted" in refused(server, bytes(encrypted))
    assert "unusual" in refused(server, zipped({"a.jpg": hazy}, compression=zipfile.ZIP_BZIP2))
    assert "no picture" in refused(server, zipped({}))
    assert "twice" in refused(server, zipped({"a.jpg": hazy, "A.JPG": hazy}))
    large = good[:-22] + struct.pack("<4sIQI", b"PK\6\7", 0, 0, 1) + good[-22:]
    assert "ZIP64" in refused(server, large)


def test_jobs_have_an_end(server, hazy):
    """No further one is taken where so many are kept, and each can be removed."""
    made = [server.post("/v1/jobs", zipped({"a.jpg": hazy})) for _ in range(4)]
    assert [answer.status for answer in made] == [202, 202, 202, 429]
    assert int(made[3].headers["retry-after"]) > 0
    for answer in made[:3]:
        assert server.ask("DELETE", answer.json()["links"]["self"]).status == 204
    assert server.spooled == []


# ------------------------------------------------------------------------------------------------------------- too slow


def test_a_head_that_never_ends_is_cut_off(hasty):
    with socket.create_connection(("127.0.0.1", hasty.port), HUNG) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n")
        with contextlib.suppress(OSError):
            for _ in range(1000):  # something comes all the time
                connection.sendall(b"X: y\r\n")
                connection.settimeout(0.05)
                with contextlib.suppress(TimeoutError):
                    if connection.recv(1) == b"":
                        break
        connection.settimeout(HUNG)
        assert read_all(connection) == b""


def test_connections_that_say_nothing_are_cut_off(hasty):
    with contextlib.ExitStack() as stack:
        silent = [stack.enter_context(socket.create_connection(("127.0.0.1", hasty.port), HUNG)) for _ in range(50)]
        assert hasty.get("/healthz").status == 200
        assert [read_all(each) for each in silent] == [b""] * 50


def test_a_second_head_that_never_ends_is_cut_off(hasty):
    with socket.create_connection(("127.0.0.1", hasty.port), HUNG) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        answer = b""
        while not answer.endswith(b"alive\n"):
            answer += connection.recv(1 << 16)
        connection.sendall(b"GET / HTTP/1.1\r\nX: ")
        assert read_all(connection) == b""


@pytest.mark.parametrize("path", ["/v1/dehaze", "/v1/jobs"])
def test_a_body_that_never_ends_is_cut_off(hasty, path):
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5000\r\n\r\n".encode()
    answer = hasty.talk(head + b"\xff\xd8")
    assert status_of(answer) == 408
    assert b"too slowly" in answer
    assert hasty.spooled == []


def test_a_client_that_does_not_read_is_cut_off(hasty):
    """Its answer is larger than what the system keeps for it."""
    pixels = np.random.default_rng(0).integers(0, 255, (2500, 2500, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "BMP")
    data = file.getvalue()
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(HUNG)
        connection.connect(("127.0.0.1", hasty.port))
        head = f"POST /v1/dehaze?strength=0 HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(data)}\r\n\r\n".encode()
        connection.sendall(head + data)
        wait_until(lambda: any(e["bytes_in"] == len(data) and e["bytes_out"] < len(data) for e in hasty.log("request")))
    assert hasty.get("/healthz").status == 200


def test_one_client_has_so_many_requests_at_once(guarded, hazy):
    bearer = f"Bearer {TOKEN}"
    head = f"POST /v1/dehaze HTTP/1.1\r\nHost: localhost\r\nAuthorization: {bearer}\r\n"
    head += f"Connection: close\r\nContent-Length: {len(hazy)}\r\n\r\n"
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(socket.create_connection(("127.0.0.1", guarded.port), HUNG)) for _ in range(3)]
        for connection in held:
            connection.sendall(head.encode() + hazy[:-1])
        answers = []

        def is_refused():  # the others have to come in first
            answers.append(guarded.post("/v1/dehaze", hazy, Authorization=bearer))
            return answers[-1].status == 429

        wait_until(is_refused, guarded.process)
        assert int(answers[-1].headers["retry-after"]) > 0
        assert "one client" in answers[-1].detail
        assert guarded.get("/healthz").status == 200  # a supervisor is always heard
        for connection in held:
            connection.sendall(hazy[-1:])
            assert status_of(read_all(connection)) == 200


def held_by(server, client, data, stack):
    """An upload of a client behind a proxy that lacks its end."""
    connection = stack.enter_context(socket.create_connection(("127.0.0.1", server.port), HUNG))
    head = (
        f"POST /v1/dehaze HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: {client}\r\nContent-Length: {len(data)}\r\n"
    )
    connection.sendall(f"{head}\r\n".encode() + data[:-1])
    return connection


@pytest.mark.slow
def test_clients_behind_a_proxy_count_apart_where_it_is_trusted(start_server, hazy):
    for arguments, statuses in ((("--trust-proxy", "127.0.0.1"), {200}), ((), {429})):
        server = start_server("--per-client", "1", *arguments)
        with contextlib.ExitStack() as stack:
            held_by(server, "192.0.2.1", hazy, stack)
            wait_until(lambda: server.post("/v1/dehaze", hazy, X_Forwarded_For="192.0.2.1").status == 429)  # noqa: B023
            assert {server.post("/v1/dehaze", hazy, X_Forwarded_For="192.0.2.2").status} == statuses


def test_an_upload_that_is_broken_off_leaves_nothing(server, hazy):
    before = len(server.log("request"))
    for _ in range(5):
        with socket.create_connection(("127.0.0.1", server.port), HUNG) as connection:
            connection.sendall(
                b"POST /v1/dehaze HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n" + hazy[:99]
            )
    wait_until(lambda: len(server.log("request")) >= before + 5, server.process)
    assert server.spooled == []
    assert {each["status"] for each in server.log("request")} & {500, 502, 504} == set()
    assert not server.log("failure"), json.dumps(server.log("failure"), indent=1)


def test_a_client_that_leaves_in_mid_answer_frees_its_place(start_server, hazy):
    server = start_server("--per-client", "1")
    job = server.post("/v1/jobs?compare=true", zipped({f"{n}.jpg": hazy for n in range(20)})).json()["links"]
    wait_until(lambda: server.get(job["self"]).json()["state"] == "done", server.process)
    for path in (f"{job['self']}/result", job["events"]):
        with socket.create_connection(("127.0.0.1", server.port), HUNG) as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            assert connection.recv(100).startswith(b"HTTP/1.1 200")
        wait_until(lambda: server.get("/v1/models").status == 200, server.process)
    assert server.log("failure") == []


# ------------------------------------------------------------------------------------------- framing of requests


HEALTH = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n"


@pytest.mark.parametrize(
    "head",
    [
        b"Host: localhost\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc",
        b"Host: localhost\r\nContent-Length: 3\r\nContent-Length: 30\r\n\r\nabc",
        b"Host: localhost\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        b"Host: localhost\r\nTransfer-Encoding: chunked, chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        b"Host: localhost\r\nTransfer-Encoding: gzip\r\n\r\nabc",
        b"Host: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n",
        b"Host: localhost\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\nabc\r\n",
        b"Host: localhost\r\nContent-Length: -1\r\n\r\nabc",
        b"Host: localhost\r\nContent-Length: 1e9\r\n\r\nabc",
        b"Host: localhost\r\nContent-Length: 99999999999999999999999\r\n\r\nabc",
        b"Host: localhost\r\nOrigin: http://localhost\r\nOrigin: https://evil.test\r\nContent-Length: 3\r\n\r\nabc",
        b"Host : localhost\r\nContent-Length: 3\r\n\r\nabc",
        b"Host: localhost\r\n folded: x\r\nContent-Length: 3\r\n\r\nabc",
        b"Host: localhost\r\nX: \0\r\nContent-Length: 3\r\n\r\nabc",
    ],
)
def test_ambiguous_framing_ends_the_connection(server, head):
    """Whatever follows is never taken for a request (smuggling)."""
    before = len(server.log("failure"))
    answer = server.talk(b"POST /v1/dehaze HTTP/1.1\r\n" + head + HEALTH + b"\r\n")
    assert 400 <= status_of(answer) < 500, answer
    assert b"alive" not in answer
    assert len(server.log("failure")) == before


def test_requests_in_a_row_are_answered_in_order(server, hazy):
    """HTTP pipelining; what is too short ends where the next begins."""
    picture = b"POST /v1/dehaze HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s" % (len(hazy), hazy)
    last = HEALTH + b"Connection: close\r\n\r\n"
    answer = server.talk(HEALTH + b"\r\n" + picture + last)
    places = [answer.index(b"alive"), answer.index(b"image/jpeg"), answer.rindex(b"alive")]
    assert places == sorted(places)
    assert answer.count(b"HTTP/1.1 200") == 3
    cut = picture.replace(b"Content-Length: %d" % len(hazy), b"Content-Length: 50")
    answer = server.talk(cut + last)
    assert answer.count(b"HTTP/1.1 200") == 0


def test_a_chunked_picture_is_a_picture(server, hazy):
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(hazy[i : i + 999]), hazy[i : i + 999]) for i in range(0, len(hazy), 999))
    head = b"POST /v1/dehaze HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    answer = server.talk(head + chunks + b"0\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200")
    assert answer.endswith(server.post("/v1/dehaze", hazy).body)


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "1e400", "9" * 300, "0x1", "\u0661", "1\0", "", " 1", "1e"])
@pytest.mark.parametrize("name", ["strength", "quality", "white"])
def test_numbers_that_are_none_are_refused(server, hazy, name, value):
    answer = server.form("/v1/dehaze", hazy, **{name: value})
    assert (answer.status, name in answer.detail) == (422, True)


def test_fields_of_strange_names_are_refused_in_a_sentence(server, hazy):
    for name in ("\u202egnp", "strength\0", "../strength", "\u00fc" * 50, "__class__", "constructor"):
        assert server.form("/v1/dehaze", hazy, **{name: "1"}).status == 422


def test_names_of_every_script_are_kept_in_archives(server, hazy):
    names = ["\u5c71/\u9727.jpg", "F\u00f6hn \u00df.jpg", "\U0001f32b.jpg", "a b/c'd\"e.jpg"]
    made = server.post("/v1/jobs", zipped(dict.fromkeys(names, hazy))).json()["links"]
    wait_until(lambda: server.get(made["self"]).json()["state"] == "done", server.process)
    with zipfile.ZipFile(io.BytesIO(server.get(f"{made['self']}/result").body)) as result:
        assert sorted(result.namelist()) == sorted([*names, "unhaze.json"])
    server.ask("DELETE", made["self"])


def test_many_small_jobs_leave_no_file_open(server, hazy):
    if not (files := server.folder.parent / f"/proc/{server.process.pid}/fd").exists():
        pytest.skip("needs /proc")

    def round_of(count):
        for _ in range(count):
            made = server.post("/v1/jobs", zipped({"a.jpg": hazy}))
            assert made.status == 202
            assert server.ask("DELETE", made.json()["links"]["self"]).status == 204
        wait_until(lambda: "unhaze_busy 0.0" in server.get("/metrics").body.decode(), server.process)
        return len(list(files.iterdir()))

    first = round_of(10)
    assert round_of(60) <= first + 3
    assert server.spooled == []


@pytest.mark.skipif(not hasattr(__import__("os"), "fork"), reason="needs limits of a process")
def test_a_full_disk_is_told_and_passes(start_server, hazy):
    """No file may be larger than 64 kB there."""
    server = start_server(through=["bash", "-c", 'ulimit -f 64; exec "$@"', "-"])
    picture = Image.open(io.BytesIO(hazy))
    file = io.BytesIO()
    picture.save(file, "BMP")
    for answer in (
        server.post("/v1/dehaze", file.getvalue()),
        server.post("/v1/jobs", file.getvalue()),
        server.form("/v1/dehaze", file.getvalue() * 12),  # forms come to the disk from a megabyte on
    ):
        assert answer.status == 503
        assert "disk" in answer.detail
        assert int(answer.headers["retry-after"]) > 0
    assert server.post("/v1/dehaze", hazy).status == 200
    assert server.log("failure") == []
