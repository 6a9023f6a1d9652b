"""Every command line and every piece of Python in the documentation is run as written, and does what the text says.

Plain calls of unhaze run in this process, with the arguments that bash makes of the line (and zsh, where it is
installed); everything else runs in the shells themselves. The commands of a page are run one after the other in one
folder, as somebody does who pastes them all.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from tests.docs.blocks import (  # noqa: E402
    NOT_RUN,
    PAGES,
    ROOT,
    SHELLS,
    blocks_of,
    comment_of,
    inline_commands,
    is_plain,
)
from tests.docs.world import HAS_FFMPEG, make_weights, make_world, scene  # noqa: E402
from tests.patience import HUNG, wait_until  # noqa: E402
from typer.testing import CliRunner  # noqa: E402

from unhaze.cli import app  # noqa: E402
from unhaze.cli._app import COMMANDS  # noqa: E402
from unhaze.images.files import identify  # noqa: E402

INSTALLED = [shell for shell in ("bash", "zsh") if shutil.which(shell)]

# what is not run, and why stands in the page; whoever adds to it says so here, too
EXEMPT = {
    ("README.md", "pip install"),
    ("README.md", "venv"),
    ("README.md", "make"),
    ("docs/index.md", "pip install"),
    ("docs/index.md", "venv"),
    ("CONTRIBUTING.md", "make"),
    ("CONTRIBUTING.md", "pre-commit install"),
    ("docs/batch.md", "watch /media/inbox"),
    ("docs/depth.md", "depth-anything-v2-small"),
    ("docs/eval.md", "--layout"),
    ("docs/eval.md", "gcanet.pth"),
    ("docs/export.md", "gunet-t"),
    ("docs/eval.md", "depth-anything-v2-small"),
    ("docs/depth.md", "ra-depth"),
    ("docs/metrics.md", "lpips"),
    ("docs/page.md", "make web"),
    ("docs/scale.md", "s3://"),
    ("docs/scale.md", "gs://"),
    ("docs/scale.md", "sbatch"),
    ("docs/scale.md", "--on ray"),
    ("docs/scale.md", "import webdataset"),
    ("docs/serve.md", "docker"),
    ("docs/serve.md", "urllib"),
    ("docs/serve.md", "--host 0.0.0.0"),
    ("docs/video.md", "--preview"),
    ("docs/video.md", "rtsp"),
}
# commands within sentences that are complete, and the exit code they are said to have
INLINE = {
    "unhaze --help": 0,
    "unhaze --version": 0,
    "unhaze data list --json": 0,
    "unhaze depth --list": 0,
    "unhaze doctor": 0,
    "unhaze models list": 0,
    "unhaze models info aodnet-base": 0,
    "unhaze run in.mp4": 0,
    "unhaze run one two -o out": 0,
    "unhaze run photo.jpg": 0,
    "unhaze train --list": 0,
}
# parts of a command, or commands of a file that the reader is about to write
FRAGMENTS = {
    "unhaze data pack --webdataset",
    "unhaze eval --layout",
    "unhaze export field-m",
    "unhaze train compact-v2",
    "unhaze --install-completion",
    "unhaze bench models newnet-s",
    "unhaze convert official.pth -o out.safetensors",
    "unhaze depth --cache",
    "unhaze eval --dataset sots-indoor",
    "unhaze models info newnet-s",
    "unhaze pipe --input-format rgb24 --size 1280x720",
    "unhaze pipe --strength 0.5",
    "unhaze video in.mp4 --preview 00:01:10+5",
    "unhaze video in.mp4 --strength 0.5",
    "unhaze video in.mp4 --temporal 0",
    "unhaze pipe --temporal 0.8",
    "unhaze train ... --resume auto",
    "unhaze train hgdf-small --data pictures/",
}


@pytest.fixture(scope="session")
def prepared(tmp_path_factory):
    """The folder of which every page gets a copy."""
    root = tmp_path_factory.mktemp("docs") / "world"
    make_world(root)
    make_weights(root)
    return root


@pytest.fixture
def world(prepared, tmp_path, monkeypatch):
    """A fresh copy, in which the test works; ``unhaze``, ``python`` and ``torchrun`` are those of this environment."""
    folder = tmp_path / "world"
    shutil.copytree(prepared, folder)
    monkeypatch.chdir(folder)
    tools = tmp_path / "bin"
    tools.mkdir()
    calls = {"unhaze": "-m unhaze", "python": "", "torchrun": "-m torch.distributed.run"}
    for name, call in calls.items():
        (tools / name).write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {call} "$@"\n')
        (tools / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("UNHAZE_CACHE", str(tmp_path / "cache"))
    return folder


# -- what a page must be like -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES)
def test_every_block_says_what_it_is(page):
    for block in blocks_of(page):
        where = f"{page}, line {block.line}"
        assert block.language in (*SHELLS, *NOT_RUN, "python"), f"{where}: name the language of the block"
        assert block.commands, f"{where}: nothing to run in a block of {block.language}"
        for mark in block.marks:
            assert len(mark.reason.split()) >= 3, f"{where}: say why, in some words"
            assert any(map(mark.concerns, block.commands)), f"{where}: no command contains {mark.text!r}"


def test_what_is_not_run_is_listed():
    skipped = [
        (page, command)
        for page in PAGES
        for block in blocks_of(page)
        for command in block.commands
        if block.mark("skip", command)
    ]
    unlisted = [each for each in skipped if not any(each[0] == page and text in each[1] for page, text in EXEMPT)]
    assert not unlisted
    unused = [each for each in EXEMPT if not any(each[0] == page and each[1] in command for page, command in skipped)]
    assert not unused


# -- running ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", [page for page in PAGES if blocks_of(page)])
def test_commands_do_what_the_page_says(page, world):
    run_page(page, world, slow=False)


@pytest.mark.slow
@pytest.mark.parametrize(
    "page", [page for page in PAGES if any(b.mark("slow", c) for b in blocks_of(page) for c in b.commands)]
)
def test_long_commands_do_what_the_page_says(page, world):
    run_page(page, world, slow=True)


def run_page(page, world, *, slow):
    """Run all commands of a page in order; the long ones where ``slow``. A service runs until the end of the page."""
    with contextlib.ExitStack() as stack:
        run_blocks(page, world, stack, slow=slow)


def run_blocks(page, world, stack, *, slow):
    blocks = [block for block in blocks_of(page) if block.language in (*SHELLS, "python")]
    arguments = arguments_of([c for block in blocks if block.language in SHELLS for c in block.commands], world)
    for block in blocks:
        for command in block.commands:
            if block.mark("skip", command) or (block.mark("slow", command) and not slow):
                continue
            where = f"{page}, line {block.line}: {command}"
            if block.language == "python":
                run_python(command, world, where)
                continue
            added = block.mark("add", command)
            wanted = block.mark("exit", command)
            if arguments.get(command, [""])[0] == "serve":
                stack.enter_context(serve(arguments[command], where))
                continue
            run_command(
                command, arguments, shlex.split(added.more) if added else [], wanted.code if wanted else 0, where
            )
            check_claims(command, where)


def arguments_of(commands, world):
    """What each shell hands over to unhaze for plain calls: all shells the same."""
    plain = [command for command in commands if is_plain(command)]
    report = 'unhaze() { for each in "$@"; do printf "%s\\0" "$each"; done; printf "\\1\\0"; }\n'
    reported = {}
    for shell in INSTALLED:
        options = ["-f", "-o", "interactive_comments"] if shell == "zsh" else ["--norc"]
        script = report + "\n".join(plain)
        done = subprocess.run([shell, *options, "-c", script], cwd=world, capture_output=True, text=True)
        assert not done.stderr, f"{shell} does not understand this page: {done.stderr}"
        reported[shell] = [call.split("\0")[:-1] for call in done.stdout.split("\1\0")[:-1]]
        assert len(reported[shell]) == len(plain)
    assert all(calls == reported[INSTALLED[0]] for calls in reported.values())
    return dict(zip(plain, reported[INSTALLED[0]], strict=True))


def run_command(command, arguments, added, wanted, where):
    if command.startswith("ffmpeg") and not HAS_FFMPEG:
        return  # test_video_needs_ffmpeg says so
    if command in arguments and arguments[command][0] == "watch" and "--once" not in arguments[command]:
        assert watch(arguments[command], where) == 130, where
    elif command in arguments:
        result = CliRunner().invoke(app, [*arguments[command], *added])
        reported = f"{where}\n{result.output}\n{result.exception!r}"
        assert result.exception is None or isinstance(result.exception, SystemExit), reported
        assert result.exit_code == wanted, reported
    else:
        line = " ".join([command.partition(" # ")[0], *map(shlex.quote, added)])
        before = Path("..") / "before"
        shutil.copytree(".", before)
        for shell in INSTALLED[::-1]:  # the last one works in this folder, the others in a copy of it
            folder = Path() if shell == INSTALLED[0] else before
            done = subprocess.run(
                [shell, "-c", f"set -o pipefail\n{line}"], cwd=folder, capture_output=True, stdin=subprocess.DEVNULL
            )
            assert done.returncode == wanted, f"{where}, in {shell}\n{done.stderr.decode()}"
        shutil.rmtree(before)


@contextlib.contextmanager
def serve(arguments, where):
    """A service at its usual port, once no other page uses that; it ends with 0."""
    pytest.importorskip("fastapi")

    def is_free():
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", 8000)) != 0

    wait_until(is_free)
    with Path("serve.log").open("w") as log:
        process = subprocess.Popen([sys.executable, "-m", "unhaze", *arguments], stderr=log)
    try:
        wait_until(lambda: "Serving at" in Path("serve.log").read_text(), process)
        yield
        process.send_signal(signal.SIGTERM)
        assert process.wait(HUNG) == 0, where
    finally:
        process.kill()
        process.wait()


def watch(arguments, where):
    """Start, wait for the first picture, press Ctrl-C; the exit code."""
    outputs = Path(arguments[arguments.index("-o") + 1])
    there = {path for path in outputs.rglob("*") if path.is_file()} if outputs.is_dir() else set()
    process = subprocess.Popen([sys.executable, "-m", "unhaze", *arguments], stderr=subprocess.PIPE, text=True)
    try:
        # hidden files are what watch remembers, and pictures that are not finished
        wait_until(
            lambda: {path for path in outputs.rglob("[!.]*") if path.suffix != ".part" and path.is_file()} - there,
            process,
        )
        process.send_signal(signal.SIGINT)
        return process.wait(HUNG)
    finally:
        process.kill()
        process.communicate()


def run_python(code, world, where):
    """Run a block of Python; names that it takes for granted are those of the sentence above it."""
    if "__main__" in code:
        (world / "block.py").write_text(code)
        done = subprocess.run([sys.executable, "block.py"], capture_output=True, text=True)
        assert done.returncode == 0, f"{where}\n{done.stderr}"
        return
    names = {name: make() for name, make in GIVEN.items() if re.search(rf"\b{name}\b", code)}
    exec(compile(code, where.partition("\n")[0], "exec"), names)
    if "VARIANTS = " in code:  # a network: it has to work, not only to be written down
        network = names["VARIANTS"]["s"]()
        assert network.restore(torch.rand(1, 3, 12, 10)).image.shape == (1, 3, 12, 10)


def _estimator():
    from unhaze.depth import create_depth

    return create_depth("compact")


def _run_block():
    from unhaze.models.layers.stage import run_block

    return run_block


GIVEN = {
    "picture": lambda: scene(1),
    "image": lambda: torch.rand(1, 3, 48, 64),
    "pixels": lambda: scene(1),
    "restored_pixels": lambda: scene(1, (288, 272), 0.1),
    "clear_pixels": lambda: scene(1, (288, 272)),
    "estimator": _estimator,
    "run_block": _run_block,
}


# -- what is claimed --------------------------------------------------------------------------------------------------


def check_claims(command, where):
    """Files that a command names as its outputs, in its options or in the words behind it, are there."""
    if command.startswith("ffmpeg") and not HAS_FFMPEG:
        return
    words = shlex.split(command, comments=True)
    named = [words[index + 1] for index, word in enumerate(words[:-1]) if word in ("-o", "--output", "--out", ">")]
    named += re.findall(r"[\w-]+\.(?:jpg|png)\b", comment_of(command))
    for name in named:
        path = Path(re.sub(r"%0\dd", "00001", name))  # the first of numbered pictures
        assert any(path.iterdir()) if path.is_dir() else path.stat().st_size, f"{where}: {name} is empty"
    for text, claim in CLAIMS.items():
        if text in command:
            assert claim(), f"{where}: {text}"


def is_twin(before, after):
    return [identify(before)] == [identify(after)]


CLAIMS = {
    "run photo.jpg  ": lambda: is_twin("photo.jpg", "photo-dehazed.jpg"),
    "run holiday/ -o clear/ --compare": lambda: (
        {str(path.relative_to("clear")) for path in Path("clear").rglob("*.*g")}
        == {"beach.jpg", "beach-compare.jpg", "hills/view.png", "hills/view-compare.jpg"}
    ),
    '"*.tif" --strength 0.7': lambda: identify("scan-dehazed.tif").dtype == "uint16",
    "< hazy.jpg > clear.jpg": lambda: is_twin("hazy.jpg", "clear.jpg"),
    "@photo.jpg http://127.0.0.1:8000/v1/dehaze -o clear.jpg": lambda: is_twin("photo.jpg", "clear.jpg"),
    "-o dcp.jpg": lambda: is_twin("photo.jpg", "dcp.jpg"),
    "-F format=png": lambda: identify("clear.png").format == "png",
    "> haze.json": lambda: json.loads(Path("haze.json").read_text())["haze"]["density"] > 0,
    "> job.json": lambda: json.loads(Path("job.json").read_text())["total"] == 2,
    "watch incoming/ -o clear/": lambda: is_twin("incoming/new.jpg", "clear/new.jpg"),
    "synth clear.jpg --beta": lambda: is_twin("clear.jpg", "clear-hazy.jpg"),
    "synth photo.jpg ": lambda: is_twin("photo.jpg", "photo-hazy.jpg"),
    "depth photo.jpg  ": lambda: (
        (identify("photo-depth.png").dtype, identify("photo-depth.png").channels) == ("uint16", 1)
    ),
    "depth photo.jpg --color": lambda: (
        identify("seen.png" if Path("seen.png").exists() else "photo-depth.png").channels == 3
    ),
    "out.mp4": lambda: streams("out.mp4") == streams("in.mp4") == ["Audio", "Video"],
    "--data pictures/ -o run": lambda: Path("run/weights.safetensors").exists() and Path("run/report.html").exists(),
    "-o report/": lambda: "NIQE" in Path("report/report.md").read_text() or Path("report/table.md").exists(),
}


def streams(path):
    reported = subprocess.run(["ffmpeg", "-hide_banner", "-i", path], capture_output=True, text=True).stderr
    return sorted(re.findall(r"Stream #.*?: (Video|Audio)", reported))


def test_the_claims_are_about_commands_that_exist():
    commands = [command for page in PAGES for block in blocks_of(page) for command in block.commands]
    assert [text for text in CLAIMS if not any(text in command for command in commands)] == []


@pytest.mark.skipif(HAS_FFMPEG, reason="ffmpeg is installed, and its commands are run")
def test_video_needs_ffmpeg():
    pytest.skip("ffmpeg is not installed, so the commands on video are not run (apt-get install ffmpeg)")


# -- within sentences -------------------------------------------------------------------------------------------------


def said_within_sentences():
    return sorted({command for page in PAGES for command in inline_commands(page)})


@pytest.mark.parametrize("command", said_within_sentences())
def test_a_command_within_a_sentence_exists(command):
    words = shlex.split(command)[1:]
    path = [words.pop(0)] if words and words[0] in COMMANDS else []
    known = CliRunner().invoke(app, [*path, "--help"])
    assert known.exit_code == 0
    if words and words[0].isalpha() and re.search(rf"^  {re.escape(words[0])} ", known.stdout, re.MULTILINE):
        path.append(words.pop(0))
        known = CliRunner().invoke(app, [*path, "--help"])
    assert path or all(word.startswith("-") for word in words), f"there is no command {words[0]}"
    for word in words:
        if word.startswith("-") and word != "-":
            assert re.search(rf"(?<![\w-]){re.escape(word)}(?![\w-])", known.stdout), f"{word} is no option"


def test_a_command_within_a_sentence_is_run_or_known_to_be_a_part():
    complete = {
        command
        for command in said_within_sentences()
        if not re.search(r"\b[A-Z]{2,}\b", command) and re.search(r"[-.]", command.removeprefix("unhaze "))
    }
    unknown = complete - set(INLINE) - FRAGMENTS
    assert not unknown, "add it to INLINE with its exit code, or to FRAGMENTS"
    assert not FRAGMENTS - complete


def test_commands_within_sentences_end_as_they_are_said_to(world):
    for command, code in INLINE.items():
        if "in.mp4" in command and not HAS_FFMPEG:
            continue
        result = CliRunner().invoke(app, shlex.split(command)[1:])
        assert result.exit_code == code, f"{command}\n{result.output}"
    assert is_twin("one/a.jpg", "out/one/a.jpg")
    assert np.array_equal(sorted(path.name for path in Path("out").iterdir()), ["one", "two"])
