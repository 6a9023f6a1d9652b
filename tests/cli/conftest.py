"""The command line as a function, in this process or in one of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

SOURCE = Path(__file__).parents[2] / "src"


@pytest.fixture
def unhaze():
    """Runs ``unhaze ARGUMENTS`` in this process; stdin is empty unless given as ``input``."""
    from unhaze.cli import app

    def run(*arguments, input=None):
        return CliRunner().invoke(app, list(map(str, arguments)), input=input)

    return run


@pytest.fixture(scope="session")
def environment():
    """Environment of a process that finds this package even if it is not installed."""
    path = os.pathsep.join(filter(None, [str(SOURCE), os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": path, "NO_COLOR": "1"}


@pytest.fixture
def start_unhaze(environment):
    """Starts ``unhaze ARGUMENTS`` as a process with pipes; it is ended with the test."""
    started = []

    def start(*arguments, **options):
        pipes = {"env": environment, **dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)}
        command = [sys.executable, "-m", "unhaze", *map(str, arguments)]
        process = subprocess.Popen(command, **{**pipes, **options})
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe:
                pipe.close()
