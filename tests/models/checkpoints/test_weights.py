"""Reading, recognising, converting and refusing weights."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")

import unhaze.models.checkpoints.detect as detect  # noqa: E402
from unhaze.errors import OutputError, UnknownNameError, WeightsNotFoundError  # noqa: E402
from unhaze.models.checkpoints import (  # noqa: E402
    WeightsError,
    convert_weights,
    flush_subnormals,
    identify,
    load_network,
    load_weights,
    read_weights,
    recognise,
    save_weights,
    unwrap_state,
)
from unhaze.models.networks import create_network, list_networks  # noqa: E402

MANIFESTS = Path(__file__).parents[2] / "fixtures" / "parity"


def official_shapes(fixture):
    """Official key to shape, constants included, as a checkpoint has them."""
    manifest = json.loads((MANIFESTS / f"{fixture}.json").read_text())
    constants = {key: facts["shape"] for key, facts in manifest["constant"].items()}
    return {**manifest["filled"], **constants, **{key: [] for key in manifest["counters"]}}


def official_state(fixture):
    return {key: torch.full(shape, 0.25) for key, shape in official_shapes(fixture).items()}


@pytest.fixture
def aodnet():
    return official_state("aodnet-base")


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"state_dict": state, "epoch": 3},
        lambda state: {"params": {}, "params_ema": state},
        lambda state: {"model": {f"module.{key}": tensor for key, tensor in state.items()}, "optimizer": {"state": {}}},
        lambda state: {"net": {"state_dict": {f"module.model.{key}": tensor for key, tensor in state.items()}}},
        lambda state: {"model": state, "psnrs": [np.float64(30.5), np.float32(1)], "losses": [np.int64(2)]},
    ],
)
@pytest.mark.parametrize("legacy", [False, True])
def test_official_files_load_however_they_are_wrapped(tmp_path, aodnet, wrap, legacy):
    path = tmp_path / "official.pth"
    torch.save(wrap(aodnet), path, _use_new_zipfile_serialization=not legacy)
    network, name = load_network(path)
    assert name == "aodnet-base"
    assert not network.training
    assert all((tensor == 0.25).all() for tensor in network.state_dict().values())


OFFICIAL = {
    "convir-base_its": "convir-b",
    "convir-small_its": "convir-s",
    "d4-dehaze": "d4-indoor",
    "dcmpnet-indoor": "dcmpnet-official",
    "dehamer-unet_emb": "dehamer-base",
    "dnmgdt-generator": "dnmgdt-base",
    "gcanet-official": "gcanet-base",
    "mitnet-its": "mitnet-base",
    "oknet-its": "oknet-base",
    "sgdn-base": "sgdnet-base",
}
"""Fixtures of whole networks that are named otherwise than the network."""


def test_official_checkpoints_are_recognised():
    """All that are known, of every family."""
    families = set()
    for path in sorted(MANIFESTS.glob("*.json")):
        name = OFFICIAL.get(path.stem, path.stem)
        if name in list_networks():
            state = {key: torch.empty(shape, device="meta") for key, shape in official_shapes(path.stem).items()}
            match = identify(state)
            assert (match.name, match.official, match.fit.perfect) == (name, True, True)
            assert match.alike == (("d4-real",) if name == "d4-indoor" else ())
            families.add(name.rpartition("-")[0])
    assert families >= {name.rpartition("-")[0] for name in list_networks()} - {"gunet", "mixdehazenet", "convir"}


@pytest.mark.parametrize("kind", ["own", "incomplete", "foreign", "nearly foreign"])
def test_few_networks_are_built_to_recognise_a_file(monkeypatch, kind):
    """Of the others the sizes of their tensors are known; building all takes seconds."""
    state = create_network("dehazeformer-t").state_dict()
    if kind == "incomplete":
        state = {key: tensor for key, tensor in state.items() if not key.endswith("bias")}
    elif kind == "foreign":
        state = {f"layer{i}": torch.ones(i, 7) for i in range(1000, 1100)}
    elif kind == "nearly foreign":
        state = {f"layer{i}": tensor for i, tensor in enumerate(state.values())}
    built = []
    monkeypatch.setattr(detect, "create_network", lambda name: built.append(name) or create_network(name))
    detect.expected_tensors.cache_clear()
    if "foreign" in kind:
        with pytest.raises(WeightsError, match="no network"):
            identify(state)
    else:
        match = identify(state)
        assert (match.name, match.fit.perfect) == ("dehazeformer-t", kind == "own")
    assert len(built) <= {"own": 1, "foreign": 0}.get(kind, 5)


def test_every_network_recognises_its_own_weights():
    for name in list_networks():
        with torch.device("meta"):
            state = create_network(name).state_dict()
        match = identify(state)
        assert match.fit.perfect
        assert match.name == name or create_twin(match.name) == {k: v.shape for k, v in state.items()}
        assert not match.official


def create_twin(name):
    with torch.device("meta"):
        return {key: tensor.shape for key, tensor in create_network(name).state_dict().items()}


def test_a_file_that_fits_two_networks_says_so(tmp_path, caplog):
    with torch.device("meta"):
        state = {key: torch.zeros_like(x, device="cpu") for key, x in create_network("d4-real").state_dict().items()}
    torch.save(state, tmp_path / "plain.pth")
    assert recognise(tmp_path / "plain.pth") == "d4-indoor"
    assert "plain.pth fits d4-real just as well as d4-indoor, which it is taken for" in caplog.text
    caplog.clear()
    load_network(tmp_path / "plain.pth", "d4-real")
    assert not caplog.records


def test_conversion_and_back(tmp_path, aodnet):
    aodnet["e_conv1.weight"][0, 0] = 1e-30
    torch.save(aodnet, tmp_path / "official.pth")
    done = convert_weights(tmp_path / "official.pth", tmp_path / "ours.safetensors")
    assert (done.match.name, done.match.official, done.tensors, done.flushed) == ("aodnet-base", True, 10, 1)
    file = read_weights(done.path)
    assert file.metadata["network"] == "aodnet-base"
    assert file.tensors["conv1.weight"][0, 0] == 0
    network, name = load_network(done.path)
    assert name == "aodnet-base"
    again = create_network("aodnet-base")
    load_weights(again, done.path)
    assert all(torch.equal(a, b) for a, b in zip(again.parameters(), network.parameters(), strict=True))
    with pytest.raises(OutputError):
        convert_weights(tmp_path / "official.pth", done.path)
    convert_weights(tmp_path / "official.pth", done.path, overwrite=True)


def test_flushing_spares_what_matters():
    state = {"w": torch.tensor([0.0, 1e-45, -1e-39, 1e-21, 1e-19, -2.0]), "steps": torch.tensor([1, 2])}
    flushed, count = flush_subnormals(state)
    assert count == 3
    assert flushed["w"].tolist() == pytest.approx([0, 0, 0, 0, 1e-19, -2], abs=0, rel=1e-6)
    assert torch.equal(flushed["steps"], state["steps"])


def test_load_flushes(tmp_path, aodnet):
    aodnet["e_conv2.bias"][:] = 1e-40
    torch.save(aodnet, tmp_path / "official.pth")
    network, _ = load_network(tmp_path / "official.pth")
    assert (network.conv2.bias == 0).all()


class Trap:
    """Creates a file when unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("where", ["plain pickle", "torch file", "torch file, legacy", "beside weights"])
def test_a_malicious_file_runs_nothing(tmp_path, aodnet, where):
    trap, path = tmp_path / "sprung", tmp_path / "evil.pth"
    if where == "plain pickle":
        path.write_bytes(pickle.dumps(Trap(trap)))
    elif where == "beside weights":
        torch.save({"state_dict": aodnet, "note": Trap(trap)}, path)
    else:
        torch.save(Trap(trap), path, _use_new_zipfile_serialization=where == "torch file")
    with pytest.raises(WeightsError, match=r"evil\.pth"):
        load_network(path)
    assert not trap.exists()
    pickle.loads(pickle.dumps(Trap(trap)))  # the trap does work
    assert trap.exists()


def test_scores_saved_with_an_older_numpy_do_no_harm(tmp_path, aodnet):
    path = tmp_path / "old.pth"
    torch.save({"model": aodnet, "psnrs": [np.float64(30.5)]}, path, _use_new_zipfile_serialization=False)
    content = path.read_bytes()
    assert b"numpy._core.multiarray\n" in content or b"numpy.core.multiarray\n" in content
    for there in (b"numpy.core.multiarray\n", b"numpy._core.multiarray\n"):
        path.write_bytes(content.replace(b"numpy._core.multiarray\n", there))
        assert load_network(path)[1] == "aodnet-base"


def test_a_pickled_network_is_refused(tmp_path):
    torch.save(create_network("aodnet-base"), tmp_path / "whole.pth")
    with pytest.raises(WeightsError, match="state dict"):
        load_network(tmp_path / "whole.pth")


@pytest.mark.parametrize(
    "content",
    [b"", b"hello", b"\x00" * 64, b"\x80\x02}q\x00.", b"PK\x03\x04" + b"\x00" * 60, b"\x10\0\0\0\0\0\0\0{" + b"x" * 40],
)
def test_damaged_files_say_so(tmp_path, content):
    path = tmp_path / "damaged.pth"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=r"damaged\.pth") as caught:
        load_network(path)
    assert "\n" not in str(caught.value)


def test_files_of_other_kinds_are_called_so(tmp_path):
    path = tmp_path / "other.pth"
    for start in (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0", b"\x89HDF\r\n\x1a\n", b"<html>", b"hello"):
        path.write_bytes(start + bytes(100))
        with pytest.raises(WeightsError, match=r"other\.pth is no weights file; give a \.safetensors file"):
            load_network(path)


def test_a_truncated_torch_file_says_so(tmp_path, aodnet):
    path = tmp_path / "cut.pth"
    torch.save(aodnet, path)
    path.write_bytes(path.read_bytes()[:-500])
    assert not zipfile.is_zipfile(path)
    with pytest.raises(WeightsError, match=r"cut\.pth"):
        load_network(path)


def test_what_does_not_fit_is_named(tmp_path, aodnet):
    missing = {key: tensor for key, tensor in aodnet.items() if key != "e_conv5.bias"}
    missing["e_conv1.weight"] = torch.zeros(3, 3, 5, 5)
    missing["extra"] = torch.zeros(2)
    torch.save(missing, tmp_path / "odd.pth")
    with pytest.raises(WeightsError) as caught:
        load_network(tmp_path / "odd.pth")
    message = str(caught.value)
    assert "does not fit aodnet-base (official names)" in message
    assert "1 missing (conv5.bias)" in message
    assert "1 unexpected (extra)" in message
    assert "conv1.weight is [3, 3, 5, 5] instead of [3, 3, 1, 1]" in message


def test_the_wrong_network_is_reported_what_it_looks_like(tmp_path, aodnet):
    path = tmp_path / "aod.pth"
    torch.save(aodnet, path)
    with pytest.raises(WeightsError, match=r"looks like aodnet-base \(official names\)"):
        load_network(path, "gcanet-base")
    with pytest.raises(WeightsError, match=r"does not fit GCANet.*looks like aodnet-base"):
        load_weights(create_network("gcanet-base"), path)
    with pytest.raises(UnknownNameError, match="aodnet-base"):
        load_network(path, "aodnet-bas")


def test_foreign_weights_and_missing_files(tmp_path):
    torch.save({"layer.weight": torch.ones(2, 2)}, tmp_path / "other.pth")
    with pytest.raises(WeightsError, match="no network"):
        load_network(tmp_path / "other.pth")
    with pytest.raises(WeightsNotFoundError, match="absent"):
        load_network(tmp_path / "absent.pth")
    for content in ([1, 2], "text", {"epoch": 1}):
        torch.save(content, tmp_path / "empty.pth")
        with pytest.raises(WeightsError, match=r"empty\.pth"):
            load_network(tmp_path / "empty.pth")


def test_prefixes_go_only_if_all_keys_share_them():
    tensor = torch.ones(1)
    assert unwrap_state({"module.a": tensor, "b": tensor}).keys() == {"module.a", "b"}
    assert unwrap_state({"module.module.a": tensor}).keys() == {"a"}


def test_saving_keeps_every_bit(tmp_path):
    torch.manual_seed(0)
    state = create_network("aodnet-base").state_dict()
    path = save_weights(state, tmp_path / "a.safetensors", "aodnet-base")
    assert all(torch.equal(tensor, state[key]) for key, tensor in read_weights(path).tensors.items())


def test_the_package_opens_without_torch():
    code = "import sys, importlib.resources as r; r.files('unhaze.models.checkpoints'); print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
    import unhaze.models.checkpoints

    with pytest.raises(AttributeError, match="no_such_name"):
        unhaze.models.checkpoints.no_such_name  # noqa: B018
    assert all(hasattr(unhaze.models.checkpoints, name) for name in unhaze.models.checkpoints.__all__)
