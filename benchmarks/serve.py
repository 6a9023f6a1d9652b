"""The service against the library, and its memory under a mixed load, client and server on loopback.

    python benchmarks/serve.py [--repeats 20] [--requests 2000] [--only latency throughput memory startup] [--json FILE]

The client is this process, the server one of its own. ``latency`` is a hazy 1080p JPEG, from file content to file
content, one request at a time, in turns with the library call in this process; ``throughput`` the same with 8 requests
at once, and the processor time that the server takes for each. Both are measured twice: as the service is by default,
where a request alone has all cores; and with ``--threads 1``, where each has one core whether it is alone or not, which
is what tells how well requests share the cores. ``memory`` is the resident memory of the server over many requests:
pictures of several sizes, formats and models, what is no picture, bombs, uploads that are broken off and clients that
are slow. ``startup`` is the time from the start of the process to the first answer, and the processor time of it. Other
work on the machine shows in every figure but those of processor time: the load is told.
"""

from __future__ import annotations

import argparse
import http.client
import io
import json
import os
import random
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from dehaze import make_picture

PARTS = ("startup", "latency", "throughput", "memory")
AT_ONCE = 8


@contextmanager
def running(folder: Path, *arguments: str):
    """A server: (port, process id, seconds to the first answer)."""
    spool = folder / "spool"
    spool.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "unhaze", "serve", "--port", "0", *arguments]
    log = (folder / "log").open("w+")
    start = time.perf_counter()
    environment = {**os.environ, "TMPDIR": str(spool)}
    with subprocess.Popen(command, stderr=log, env=environment) as process:
        while not (found := re.search(r"Serving at \S+:(\d+)/", (folder / "log").read_text())):
            time.sleep(0.002)
        port = int(found[1])
        while True:
            with suppress(OSError):
                if ask(port, "/healthz", None)[0] == 200:
                    break
        try:
            yield port, process.pid, time.perf_counter() - start
        finally:
            process.terminate()
            if process.wait():
                raise SystemExit("The server did not end with 0.")
            if left := list(spool.iterdir()):
                raise SystemExit(f"The server left {left}.")
    log.close()


def ask(port: int, path: str, body: bytes | None) -> tuple[int, bytes]:
    """Status and body of an answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
    try:
        connection.request("GET" if body is None else "POST", path, body)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def processor_seconds(process: int) -> float:
    """Processor time that a process has taken, of user and system."""
    numbers = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(numbers[11]) + int(numbers[12])) / os.sysconf("SC_CLK_TCK")


def latency(port: int, data: bytes, repeats: int, threads: int | None) -> dict[str, float]:
    """Median seconds of the service and of the library call with as many threads, taking turns."""
    import unhaze

    seconds: dict[str, list[float]] = {"service": [], "library": []}
    with unhaze.Dehazer(threads=threads) as dehazer:
        for number in range(repeats + 3):
            start = time.perf_counter()
            result = dehazer(data, maps=False).image
            between = time.perf_counter()
            status, body = ask(port, "/v1/dehaze", data)
            end = time.perf_counter()
            if status != 200 or body != result:
                raise SystemExit("The service and the library give different pictures.")
            if number >= 3:
                seconds["library"].append(between - start)
                seconds["service"].append(end - between)
    medians = {name: round(statistics.median(each), 4) for name, each in seconds.items()}
    return medians | {"ratio": round(medians["service"] / medians["library"], 3)}


def throughput(port: int, process: int, data: bytes, repeats: int) -> dict[str, Any]:
    """Pictures per second with one request at a time and with several, medians over rounds that take turns."""
    rates: dict[str, list[float]] = {"1": [], str(AT_ONCE): []}
    taken = dict.fromkeys(rates, 0.0)  # processor time [s]
    list(ThreadPoolExecutor(AT_ONCE).map(lambda _: ask(port, "/v1/dehaze", data), range(AT_ONCE)))  # engines are opened
    count = 2 * AT_ONCE
    for _ in range(max(2, repeats // 4)):
        for name in rates:
            with ThreadPoolExecutor(int(name)) as pool:
                start, before = time.perf_counter(), processor_seconds(process)
                answers = list(pool.map(lambda _: ask(port, "/v1/dehaze", data)[0], range(count)))
                rates[name].append(count / (time.perf_counter() - start))
                taken[name] += (processor_seconds(process) - before) / count
            if set(answers) != {200}:
                raise SystemExit(f"The service refused: {Counter(answers)}")
    medians: dict[str, Any] = {name: round(statistics.median(each), 2) for name, each in rates.items()}
    medians["ratio"] = round(medians[str(AT_ONCE)] / medians["1"], 3)
    return medians | {"processor seconds": {name: round(taken[name] / len(rates[name]), 4) for name in rates}}


def mixed(folder: Path) -> list[tuple[str, str, bytes]]:
    """What comes in: kind, path, body."""
    import numpy as np
    from PIL import Image

    def encoded(image: Any, kind: str) -> bytes:
        file = io.BytesIO()
        image.save(file, kind)
        return file.getvalue()

    make_picture(1920, 1080, folder / "large.jpg")
    large = Image.open(folder / "large.jpg")
    middle, small = large.resize((1200, 800)), large.resize((320, 200))
    deep = Image.fromarray(np.asarray(middle.convert("L"), np.uint16) * 200)
    jpeg = encoded(middle, "JPEG")
    bomb = encoded(Image.new("1", (30_000, 30_000)), "PNG")
    found = [("picture", "/v1/dehaze", encoded(large, "JPEG"))]
    for image in (middle, small):
        found += [("picture", "/v1/dehaze", encoded(image, kind)) for kind in ("JPEG", "PNG", "TIFF", "WEBP", "BMP")]
    found += [("picture", "/v1/dehaze?strength=0.5&model=dcp", jpeg), ("picture", "/v1/dehaze", encoded(deep, "TIFF"))]
    found += [("refused", "/v1/dehaze", jpeg[: len(jpeg) // 2]), ("refused", "/v1/dehaze", bomb)]
    found += [("refused", "/v1/dehaze", random.Random(0).randbytes(50_000)), ("refused", "/v1/dehaze?strength=9", jpeg)]
    return [*found, ("broken off", "", jpeg), ("slow", "", jpeg)]


def send(port: int, kind: str, path: str, body: bytes) -> str:
    """One request; what became of it."""
    if kind in ("picture", "refused"):
        status, _ = ask(port, path, body)
        return f"{kind}: {status}"
    with socket.create_connection(("127.0.0.1", port), 300) as connection:
        head = (
            f"POST /v1/dehaze HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        connection.sendall(head.encode() + body[: len(body) // 2])
        if kind == "broken off":
            return kind
        time.sleep(0.3)
        connection.sendall(body[len(body) // 2 :])
        answer = b""
        while piece := connection.recv(1 << 14):
            answer += piece
        return f"{kind}: {answer.split(b' ', 2)[1].decode()}"


def memory(port: int, process: int, folder: Path, count: int) -> dict[str, Any]:
    """Resident memory [MB] every 100 requests, and what became of the requests."""
    kinds = mixed(folder)
    order = random.Random(1).choices(range(len(kinds)), k=count)
    outcomes: Counter[str] = Counter()
    resident = []
    with ThreadPoolExecutor(4) as pool:
        for start in range(0, count, 100):
            outcomes.update(pool.map(lambda number: send(port, *kinds[number]), order[start : start + 100]))
            pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
            resident.append(round(pages * os.sysconf("SC_PAGE_SIZE") / 1e6, 1))
    text = ask(port, "/metrics", None)[1].decode()
    statuses: Counter[str] = Counter()
    for status, number in re.findall(r'unhaze_requests_total\{[^}]*status="(\d+)"\} (\S+)', text):
        statuses[status] += int(float(number))
    return {"resident_mb": resident, "outcomes": dict(sorted(outcomes.items())), "statuses": dict(statuses)}


def main() -> None:
    """Measure what was asked for and print it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--requests", type=int, default=2000, help="for the memory")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="what to measure")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    results: dict[str, Any] = {"cores": os.cpu_count(), "load before": os.getloadavg()}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if "startup" in options.only:
            seconds, taken = [], []
            for _ in range(5):
                with running(folder) as (_, process, first):
                    seconds.append(first)
                    taken.append(processor_seconds(process))
            results["startup"] = round(statistics.median(seconds), 2)
            results["startup, processor seconds"] = round(statistics.median(taken), 2)
        make_picture(1920, 1080, folder / "1080p.jpg")
        data = (folder / "1080p.jpg").read_bytes()
        for name, threads in (("", None), (", one thread", 1)) if {"latency", "throughput"} & set(options.only) else ():
            with running(folder, *(("--threads", str(threads)) if threads else ())) as (port, process, _):
                if "latency" in options.only:
                    results[f"latency{name}"] = latency(port, data, options.repeats, threads)
                if "throughput" in options.only:
                    results[f"throughput{name}"] = throughput(port, process, data, options.repeats)
        if "memory" in options.only:
            with running(folder, "--max-pixels", "20M") as (port, process, _):
                results["memory"] = memory(port, process, folder, options.requests)
    results["load after"] = os.getloadavg()
    print(json.dumps(results, indent=2))
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
