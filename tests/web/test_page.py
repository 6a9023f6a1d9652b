"""The page: its built files are those of its sources, and it restores a picture by itself as Python does.

What a person does with it is tested in ``web/e2e``, its parts in ``web/tests``; both are run from here too.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import ImageCms
from tests.patience import HUNG

from unhaze.default import constants
from unhaze.default.model import WEIGHTS
from unhaze.images.color import tone_curve
from unhaze.restore.dehazer import Dehazer

WEB = Path(__file__).parents[2] / "web"
PAGE = Path(__file__).parents[2] / "src" / "unhaze" / "web" / "page"
MODEL = Path(constants.__file__).with_name(WEIGHTS)
MOST_BYTES = 400_000  # of the page that ships, without the network
FIRST_VISIT = 12_000_000  # bytes, page, engine and network
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium")


def needs_node(test):
    missing = "node is not installed" if not shutil.which("node") else "the page's packages are missing; run: make web"
    there = bool(shutil.which("node")) and (WEB / "node_modules").is_dir()
    return pytest.mark.slow(pytest.mark.skipif(not there, reason=missing)(test))


def in_web(*command, **variables):
    environment = {**os.environ, "PYTHON": sys.executable, "CI": "1", **variables}
    done = subprocess.run(command, cwd=WEB, env=environment, capture_output=True, text=True, timeout=10 * HUNG)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def sources():
    """What the built files depend on, as ``web/scripts/build.mjs`` lists it."""
    named = ["index.html", "package-lock.json", "scripts/build.mjs"]
    folders = [path for name in ("public", "src") for path in (WEB / name).rglob("*") if path.is_file()]
    return sorted([*named, *(path.relative_to(WEB).as_posix() for path in folders)])


def test_the_built_files_are_those_of_the_sources():
    told = json.loads((WEB / "built.json").read_text(encoding="utf-8"))
    digest = hashlib.sha256()
    for name in sources():
        digest.update(name.encode() + (WEB / name).read_bytes())
    assert told["sources"] == digest.hexdigest(), "the sources of the page changed; run: make web"
    built = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in PAGE.iterdir() if path.is_file()}
    assert told["files"] == built, "files of the page were changed by hand, or not committed; run: make web"


def test_the_page_is_small_and_names_no_other_host():
    files = [path for path in PAGE.iterdir() if path.is_file()]
    assert sum(path.stat().st_size for path in files) < MOST_BYTES
    for path in files:
        hosts = set(re.findall(r"https?://([\w.-]+)", path.read_text(encoding="utf-8")))
        assert hosts <= {"www.w3.org"}, (path, hosts)  # the name space of SVG
    assert not re.search(r"<style|\sstyle=|<script(?![^>]*src=)", (PAGE / "index.html").read_text(encoding="utf-8"))


def test_the_lock_file_names_no_host_of_packages():
    assert "resolved" not in (WEB / "package-lock.json").read_text(encoding="utf-8")


@needs_node
def test_building_again_gives_the_same_files(tmp_path):
    in_web("node", "scripts/build.mjs", "service", str(tmp_path))
    for path in PAGE.iterdir():
        if path.is_file():
            assert (tmp_path / path.name).read_bytes() == path.read_bytes(), f"{path.name}: run make web"


@needs_node
def test_without_a_server_the_first_visit_is_small(tmp_path):
    in_web("node", "scripts/build.mjs", "static", str(tmp_path))
    listed = json.loads(re.search(r"const FILES = (\[.*\]);", (tmp_path / "sw.js").read_text(encoding="utf-8"))[1])
    first = [tmp_path / ("index.html" if name == "./" else name) for name in listed]
    assert all(path.is_file() for path in first)
    for other in (True, False):  # a browser takes one of two builds of the engine
        taken = [path for path in first if path.parent.name != "engine" or ("jspi" in path.name) != other]
        assert sum(path.stat().st_size for path in taken) < FIRST_VISIT
    assert "Content-Security-Policy" in (tmp_path / "index.html").read_text(encoding="utf-8")


@needs_node
def test_types_and_parts():
    in_web("node_modules/.bin/tsc", "--noEmit")
    in_web("node_modules/.bin/vitest", "run")


@needs_node
@pytest.mark.skipif(not CHROMIUM, reason="chromium is not installed")
def test_a_person_uses_the_page():
    in_web("node", "scripts/build.mjs", "static")
    in_web("node_modules/.bin/playwright", "test", CHROMIUM=CHROMIUM or "")


def scene(seed, height, width, depth, light):
    """Coloured blocks of many sizes behind haze that grows towards the top; noise of a camera."""
    rng = np.random.default_rng(seed)
    clear = np.zeros((height, width, 3))
    for size in (3, 9, 27, 81):
        rows, columns = -(-height // size) + 1, -(-width // size) + 1
        blocks = rng.uniform(0, 0.25, (rows, columns, 3)).repeat(size, 0).repeat(size, 1)
        clear += blocks[:height, :width]
    through = np.exp(-depth * np.linspace(1.6, 0.2, height))[:, None, None]
    hazy = clear * through + np.asarray(light) * (1 - through)
    return np.clip(hazy + rng.normal(0, 0.004, hazy.shape), 0, 1)


def linear_profile():
    """An ICC profile with sRGB's primaries whose curves are gamma 1.8."""
    icc = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    for index in range(int.from_bytes(icc[128:132], "big")):
        entry = 132 + 12 * index
        if icc[entry : entry + 4] in (b"rTRC", b"gTRC", b"bTRC"):
            start = int.from_bytes(icc[entry + 4 : entry + 8], "big")
            icc[start : start + 14] = b"curv\0\0\0\0\0\0\0\1\x01\xcc"
            icc[entry + 8 : entry + 12] = (14).to_bytes(4, "big")
    return bytes(icc)


# height, width, optical depth, airlight, bits, channels, options, profile
PICTURES = [
    (480, 640, 0.6, (0.85, 0.87, 0.9), 8, 3, {}, False),
    (1080, 1920, 1.2, (0.8, 0.82, 0.85), 8, 3, {}, False),
    (900, 600, 2.5, (0.9, 0.9, 0.9), 8, 3, {}, False),
    (333, 777, 0.01, (0.9, 0.9, 0.9), 8, 3, {}, False),
    (700, 1001, 0.8, (0.95, 0.85, 0.6), 8, 3, {"strength": 0.6}, False),
    (360, 480, 0.5, (0.8, 0.8, 0.8), 8, 3, {"strength": -0.7}, False),
    (512, 512, 1.0, (0.7, 0.75, 0.8), 16, 3, {"color_blend": 0.2, "keep_exposure": 0.3}, False),
    (300, 500, 1.0, (0.85, 0.85, 0.85), 8, 1, {}, False),
    (40, 30, 0.7, (0.85, 0.85, 0.85), 8, 3, {}, False),
    (600, 800, 0.9, (0.8, 0.85, 0.9), 8, 3, {"color_blend": 1.0}, True),
]


@needs_node
def test_ten_pictures_are_restored_as_python_does(tmp_path, record_property):
    job, expected = {"model": str(MODEL), "pictures": []}, []
    icc = linear_profile()
    (tmp_path / "profile.icc").write_bytes(icc)
    assert tone_curve(icc) is not None
    for index, (height, width, depth, light, bits, channels, options, curved) in enumerate(PICTURES):
        values = scene(index, height, width, depth, light)
        kind = np.uint8 if bits == 8 else np.uint16
        pixels = np.round(values * np.iinfo(kind).max).astype(kind)
        if channels == 1:
            pixels = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
        with Dehazer(engine="onnxruntime", threads=1, **options) as dehazer:
            curve = tone_curve(icc) if curved else None
            field = dehazer.solve(pixels, curve)
            expected.append((dehazer.apply(pixels, field, curve), field))
            look = dehazer.restoration
        (tmp_path / f"{index}.raw").write_bytes(pixels.tobytes())
        job["pictures"].append(
            {
                "data": str(tmp_path / f"{index}.raw"),
                "width": width,
                "height": height,
                "channels": channels,
                "bits": bits,
                "icc": str(tmp_path / "profile.icc") if curved else None,
                "out": str(tmp_path / f"{index}.out"),
                "look": {
                    "strength": look.strength,
                    "colorBlend": look.color_blend,
                    "keepExposure": look.keep_exposure,
                },
            }
        )
    (tmp_path / "job.json").write_text(json.dumps(job))
    command = ["node", str(WEB / "scripts" / "restore.mjs"), str(tmp_path / "job.json")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    for index, (restored, field) in enumerate(expected):
        page = np.frombuffer((tmp_path / f"{index}.out").read_bytes(), restored.dtype).reshape(restored.shape)
        difference = np.abs(page.astype(float) - restored) * (255 / np.iinfo(restored.dtype).max)
        record_property(f"picture {index}", f"mean {difference.mean():.3f}, most {difference.max():.2f}")
        print(PICTURES[index], f"mean {difference.mean():.4f}, most {difference.max():.2f}", told[index]["ms"])
        assert difference.mean() <= 2, (index, difference.mean())
        assert difference.max() <= 8, (index, difference.max())
        assert told[index]["density"] == pytest.approx(field.density, abs=0.01)
        assert told[index]["curved"] == PICTURES[index][7]


def test_the_facts_of_the_default_are_those_of_the_package():
    text = (WEB / "src" / "core" / "field.ts").read_text(encoding="utf-8")
    block = text[text.index("export const FACTS = {") : text.index("} as const;")]
    found = {}
    for line in block.splitlines()[1:]:
        name, _, value = line.strip().rstrip(",").partition(": ")
        found[name] = json.loads(value)
    for name, value in found.items():
        assert getattr(constants, name) == (tuple(value) if isinstance(value, list) else value), name
