"""What ``examples/serve`` says: as much of it as runs without Docker and Kubernetes."""

import json
import re
import shlex
import shutil
import subprocess
import sys
import tomllib

import pytest
import typer
import yaml
from tests.docs.blocks import ROOT
from tests.web.conftest import hazy, start_server  # noqa: F401

from unhaze.cli import app

FOLDER = ROOT / "examples/serve"
TOKEN = "correct-horse-battery"


def steps(instruction):
    """What stands behind an instruction of the Containerfile, all of them in order."""
    text = (FOLDER / "Containerfile").read_text().replace("\\\n", " ")
    return re.findall(rf"^{instruction} +(.*)$", text, re.M)


def entrypoint():
    command = json.loads(steps("ENTRYPOINT")[-1])
    assert command[:2] == ["unhaze", "serve"]
    return command[2:]


def is_well(server, picture):
    assert server.post("/v1/dehaze", picture).status == 401
    assert server.post("/v1/dehaze", picture, Authorization=f"Bearer {TOKEN}").status == 200
    return True


def test_the_container_serves_with_a_token_alone(start_server, hazy):  # noqa: F811
    server = start_server(*entrypoint(), UNHAZE_TOKEN=TOKEN)
    assert is_well(server, hazy)
    check = json.loads(steps("HEALTHCHECK")[0].partition("CMD ")[2])
    assert check[0] == "python"
    code = check[2].replace(":8000", f":{server.port}")
    assert code != check[2]
    subprocess.run([sys.executable, "-c", code], check=True)
    server.end()
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode != 0


def test_the_container_is_careful():
    assert steps("USER")[-1] not in ("root", "0")
    assert steps("STOPSIGNAL") == ["SIGTERM"]
    assert all("slim" in each for each in steps("FROM"))


@pytest.mark.slow
def test_the_steps_of_the_container_work(tmp_path, hazy):  # noqa: F811
    """The same commands in an environment of its own, made of a copy of what a clone has."""
    source = tmp_path / "source"
    shutil.copytree(ROOT, source, ignore=shutil.ignore_patterns(".git", ".venv", "site", "build", "dist", ".*_cache"))
    target = tmp_path / "unhaze"
    for step in steps("RUN")[:2]:
        command = shlex.split(step.replace("/opt/unhaze", str(target)))
        command[0] = sys.executable if command[0] == "python" else command[0]
        subprocess.run(command, cwd=source, check=True, capture_output=True)
    (tmp_path / "photo.jpg").write_bytes(hazy)
    process = subprocess.Popen(
        [target / "bin/unhaze", "serve", "--port", "0"],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        env={"PATH": str(target / "bin"), "TMPDIR": str(tmp_path)},
    )
    try:
        address = re.search(r"http://\S+", process.stderr.readline())[0]
        code = (
            "import urllib.request as r, sys\n"
            f"answer = r.urlopen(r.Request({address!r} + 'v1/dehaze', open('photo.jpg', 'rb').read()))\n"
            "assert answer.status == 200 and answer.read(2) == b'\\xff\\xd8'\n"
            f"assert b'<title>unhaze' in r.urlopen({address!r}).read()\n"
        )
        subprocess.run([target / "bin/python", "-c", code], cwd=tmp_path, check=True)
        process.terminate()
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.communicate()


def accepted(*arguments):
    """Options of a command line, all of which exist and have values that they can have."""
    context = typer.main.get_command(app).resolve_command(None, ["serve"])[1].make_context("serve", list(arguments))
    return context.params


def test_compose_is_valid_and_its_options_exist():
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    subprocess.run([*command, str(FOLDER / "compose.yaml")], check=True, capture_output=True)
    service = yaml.safe_load((FOLDER / "compose.yaml").read_text())["services"]["unhaze"]
    assert (FOLDER / service["build"]["context"] / service["build"]["dockerfile"]).samefile(FOLDER / "Containerfile")
    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]
    assert "UNHAZE_TOKEN" in service["environment"]
    assert accepted(*entrypoint(), *service["command"])["host"] == "0.0.0.0"


def test_the_manifest_is_read_and_its_options_exist():
    deployment, service = yaml.safe_load_all((FOLDER / "kubernetes.yaml").read_text())
    assert (deployment["kind"], service["kind"]) == ("Deployment", "Service")
    template = deployment["spec"]["template"]
    pod, labels = template["spec"], template["metadata"]["labels"]
    assert deployment["spec"]["selector"]["matchLabels"] == labels == service["spec"]["selector"]
    assert pod["securityContext"]["runAsNonRoot"]
    assert str(pod["securityContext"]["runAsUser"]) == steps("USER")[-1]
    (container,) = pod["containers"]
    options = accepted(*entrypoint(), *container["args"])
    assert options["host"] == "0.0.0.0"
    assert service["metadata"]["name"] in options["allow_host"]  # what others in the cluster call it
    assert pod["terminationGracePeriodSeconds"] > options["grace_seconds"]
    assert container["securityContext"]["readOnlyRootFilesystem"]
    assert container["livenessProbe"]["httpGet"]["path"] == "/healthz"
    assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
    ports = {each["name"]: each["containerPort"] for each in container["ports"]}
    assert ports[service["spec"]["ports"][0]["targetPort"]] == int(steps("EXPOSE")[-1])
    volumes = {each["name"]: each for each in pod["volumes"]}
    assert volumes[container["volumeMounts"][0]["name"]]["emptyDir"]["sizeLimit"]
    assert container["env"][0]["name"] == "UNHAZE_TOKEN"


def test_the_unit_is_valid_and_its_options_exist(tmp_path):
    text = (FOLDER / "unhaze.service").read_text()
    command = shlex.split(re.search(r"^ExecStart=(.*)$", text, re.M)[1])
    assert command[1] == "serve"
    assert str(accepted(*command[2:])["token_file"]) == "%d/token"
    assert "\nLoadCredential=token:" in text
    if shutil.which("systemd-analyze"):
        (tmp_path / "unhaze.service").write_text(text.replace(command[0], sys.executable))
        done = subprocess.run(
            ["systemd-analyze", "verify", "--man=no", tmp_path / "unhaze.service"], capture_output=True, text=True
        )
        assert "unhaze.service" not in done.stderr, done.stderr


def test_the_extra_that_the_container_installs_is_there():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert {re.split(r"[>=]", each)[0] for each in extras["serve"]} >= {"fastapi", "uvicorn", "python-multipart"}
