"""A service that really runs: ``unhaze serve`` as a process on a free port of loopback."""

from __future__ import annotations

import contextlib
import http.client
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.patience import HUNG, wait_until

pytest.importorskip("fastapi")

RUN = """
import sys
from unhaze.cli import _console
from unhaze.restore.options import Options
from unhaze.web.server import bind, serve, url_of
from unhaze.web.settings import ServeSettings

with _console.show_log():
    settings = ServeSettings(port=0, SETTINGS)
    listener = bind(settings)
    _console.log.info(f"Serving at {url_of(settings, listener)}")
    serve(settings, listener)
"""
SOURCE = Path(__file__).parents[2] / "src"


@dataclass
class Answer:
    """Status, headers with small names, and body."""

    status: int
    headers: dict
    body: bytes

    def json(self):
        return json.loads(self.body)

    @property
    def detail(self):
        assert self.headers["content-type"] == "application/problem+json", self
        problem = self.json()
        assert problem["status"] == self.status
        assert problem["request_id"] == self.headers["x-request-id"]
        return problem["detail"]


@dataclass
class Server:
    """A process, where it listens, and what it says."""

    process: subprocess.Popen
    port: int
    folder: Path
    lines: list = field(default_factory=list)

    def ask(self, method, path, body=None, headers=None, timeout=HUNG):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            return Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
        finally:
            connection.close()

    def get(self, path, **headers):
        return self.ask("GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()})

    def post(self, path, body=b"", **headers):
        return self.ask("POST", path, body, {name.replace("_", "-"): value for name, value in headers.items()})

    def form(self, path, data, name="file", filename="a.jpg", **fields):
        body, kind = form(data, name, filename, **fields)
        return self.post(path, body, Content_Type=kind)

    def talk(self, data, timeout=HUNG):
        """Send bytes as they are; all that comes back until the other side closes."""
        with socket.create_connection(("127.0.0.1", self.port), timeout) as connection:
            connection.sendall(data)
            return read_all(connection)

    @property
    def spooled(self):
        """Files in the folder of temporary files."""
        return sorted((self.folder / "spool").rglob("*"))

    def log(self, event=None):
        """Lines of JSON, of one event or all."""
        found = [json.loads(line) for line in list(self.lines) if line.startswith("{")]
        return [each for each in found if event in (None, each["event"])]

    def end(self, how=signal.SIGTERM):
        self.process.send_signal(how)
        return self.process.wait(HUNG)


def read_all(connection):
    pieces = []
    with contextlib.suppress(ConnectionResetError):
        while piece := connection.recv(1 << 16):
            pieces.append(piece)
    return b"".join(pieces)


def form(data, name="file", filename="a.jpg", **fields):
    """Body and type of multipart/form-data."""
    parts = [
        f'--edge\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n'.encode()
        for key, value in fields.items()
    ]
    head = f'--edge\r\nContent-Disposition: form-data; name="{name}"; filename="{filename}"\r\n\r\n'.encode()
    return b"".join([*parts, head, data, b"\r\n--edge--\r\n"]), "multipart/form-data; boundary=edge"


@pytest.fixture(scope="session")
def start_server(tmp_path_factory):
    """Starts ``unhaze serve`` with further arguments; ended with the tests."""
    started = []

    def start(*arguments, settings="", through=(), **environment):
        folder = tmp_path_factory.mktemp("serve")
        (folder / "spool").mkdir()
        path = os.pathsep.join(filter(None, [str(SOURCE), os.environ.get("PYTHONPATH")]))
        variables = {**os.environ, "PYTHONPATH": path, "TMPDIR": str(folder / "spool"), "NO_COLOR": "1", **environment}
        command = [sys.executable, "-m", "unhaze", "serve", "--port", "0", *map(str, arguments)]
        if settings:  # what the command has no option for
            command = [sys.executable, "-c", RUN.replace("SETTINGS", settings)]
        process = subprocess.Popen([*through, *command], cwd=folder, env=variables, stderr=subprocess.PIPE, text=True)
        server = Server(process, 0, folder)
        started.append(server)

        def read():
            for line in process.stderr:
                server.lines.append(line)

        thread = threading.Thread(target=read, daemon=True)
        thread.start()
        wait_until(lambda: any("Serving at" in line for line in server.lines), process)
        line = next(line for line in server.lines if "Serving at" in line)
        server.port = int(re.search(r":(\d+)/", line)[1])
        return server

    yield start
    for server in started:
        server.process.kill()
        server.process.wait()
        server.process.stderr.close()


@pytest.fixture(scope="session")
def server(start_server):
    """One with small limits, for all tests that leave it as it is."""
    return start_server("--max-pixels", "2M", "--max-bytes", "3M", "--max-jobs", "3")


@pytest.fixture(scope="session")
def hazy():
    """A hazy JPEG with EXIF and a profile."""
    rng = np.random.default_rng(1)
    scene = rng.uniform(0, 0.5, (40, 60, 3)).repeat(4, 0).repeat(4, 1)
    through = np.linspace(0.3, 0.9, 160)[:, None, None]
    pixels = np.round((scene * through + 0.85 * (1 - through)) * 255).astype(np.uint8)
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=90, exif=exif, comment=b"words")
    return file.getvalue()


def zipped(files, **options):
    """A zip archive of names and contents."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", options.get("compression", zipfile.ZIP_DEFLATED)) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return file.getvalue()
