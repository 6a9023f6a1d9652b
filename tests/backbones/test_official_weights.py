"""Official checkpoints give official results; they are not part of the project, so their folder must be named."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from tests import parity  # noqa: E402

from unhaze.backbones._base import prepare  # noqa: E402
from unhaze.weights import load_network  # noqa: E402

FOLDER = os.environ.get("UNHAZE_OFFICIAL_WEIGHTS")


@pytest.mark.skipif(not FOLDER, reason="UNHAZE_OFFICIAL_WEIGHTS names no folder with official checkpoints")
@pytest.mark.parametrize(
    ("fixture_name", "name", "file", "outputs"),
    [
        ("aodnet-official", "aodnet-base", "dehazer.pth", lambda r: {"out": r.image}),
        (
            "gcanet-official",
            "gcanet-base",
            "wacv_gcanet_dehaze.pth",
            lambda r: {"out255": r.image, "residual": r.aux["residual"]},
        ),
    ],
)
def test_official_checkpoint(fixture_name, name, file, outputs):
    path = Path(FOLDER) / file
    fixture = parity.load(fixture_name)
    assert hashlib.sha256(path.read_bytes()).hexdigest() in fixture.manifest["weights"]
    network, found = load_network(path)
    assert found == name
    with torch.no_grad():
        ours = outputs(network(prepare(fixture.image(), network.contract)))
    errors = {output: fixture.error(output, tensor) for output, tensor in ours.items()}
    print(fixture_name, errors)
    assert {output: error for output, error in errors.items() if not error <= fixture.limit(output)} == {}
