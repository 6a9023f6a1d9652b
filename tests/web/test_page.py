"""The page in a browser: a picture is chosen, looked at with the keyboard, changed and downloaded."""

import json
import shutil
import subprocess

import pytest
from tests.patience import HUNG


@pytest.mark.slow
@pytest.mark.skipif(not (shutil.which("node") and shutil.which("chromium")), reason="needs node and chromium")
def test_a_person_uses_the_page(server, hazy, tmp_path, request):
    (tmp_path / "photo.jpg").write_bytes(hazy)
    script = request.path.parent / "page.mjs"
    url = f"http://127.0.0.1:{server.port}/"
    command = ["node", "--experimental-websocket", "--no-warnings", script, url, tmp_path / "photo.jpg", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, timeout=HUNG)
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert "field-m" in seen["models"]
    assert seen["said"].startswith("Haze: ")
    assert seen["split"] == "30%"
    assert seen["faults"] == []
    assert all(each.startswith((url, f"blob:{url}")) for each in seen["asked"]), seen["asked"]
    assert seen["saved"] == "photo-dehazed.jpg"
    weakest = server.post("/v1/dehaze?strength=-1", hazy)  # what Home asks the slider for
    assert (tmp_path / seen["saved"]).read_bytes() == weakest.body
