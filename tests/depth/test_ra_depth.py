"""RA-Depth equals the official code, takes its two files, and never gives noise unasked."""

from __future__ import annotations

import re

import pytest

torch = pytest.importorskip("torch")

from tests import parity  # noqa: E402

from unhaze.depth import create_depth  # noqa: E402
from unhaze.depth.ra_depth import RADepth, from_official  # noqa: E402
from unhaze.errors import UnknownNameError, UsageError, WeightsNotFoundError  # noqa: E402
from unhaze.models.checkpoints import WeightsError, save_weights  # noqa: E402

FIXTURE = "ra_depth-hrnet18_msf"


def part(state, prefix):
    return {key.removeprefix(prefix): tensor for key, tensor in state.items() if key.startswith(prefix)}


@pytest.fixture(scope="module")
def official():
    """The official encoder.pth and depth.pth, filled."""
    state = parity.load(FIXTURE).official_state()
    return part(state, "encoder."), part(state, "depth.")


@pytest.fixture
def folder(official, tmp_path):
    encoder, decoder = official
    # the official training script keeps these numbers beside the tensors
    torch.save({**encoder, "height": 192, "width": 640, "use_stereo": False}, tmp_path / "encoder.pth")
    torch.save(decoder, tmp_path / "depth.pth")
    return tmp_path


def test_equals_the_official_code(folder):
    fixture = parity.load(FIXTURE)
    image = fixture.image()
    estimator = create_depth("ra-depth", weights=folder, longest=image.shape[-1], features="encoder")
    with torch.no_grad():
        depth = estimator(image)
    outputs = {"disp": depth.map, **{f"feature{i}": each for i, each in enumerate(depth.features)}}
    assert outputs.keys() == fixture.arrays.keys()
    errors = {name: fixture.error(name, each) for name, each in outputs.items()}
    print(errors)
    assert {name: error for name, error in errors.items() if not error <= fixture.limit(name)} == {}


def test_every_parameter_counts():
    network = RADepth()
    assert sum(p.numel() for p in network.parameters()) == parity.load(FIXTURE).manifest["parameters"] == 9_978_849
    network.decoder(network.encoder(torch.rand(1, 3, 64, 64)))[0].sum().backward()
    assert [name for name, p in network.named_parameters() if p.grad is None] == []


def test_official_names_are_all_of_ours(official):
    expected = {key for key in RADepth().state_dict() if not key.endswith("num_batches_tracked")}
    assert from_official(*official).keys() == expected


def test_own_weights_are_the_same_estimator(folder, tmp_path):
    official = create_depth("ra-depth", weights=folder, longest=64)
    own = save_weights(official.state_dict(), tmp_path / "own.safetensors", "ra-depth")
    again = create_depth("ra-depth", weights=own, longest=64)
    assert again.identity == official.identity
    assert create_depth("ra-depth", weights=own, longest=320).identity != official.identity
    image = torch.rand(1, 3, 40, 64)
    assert torch.equal(again(image).map, official(image).map)


@pytest.mark.parametrize("missing", ["encoder.pth", "depth.pth"])
def test_both_files_are_needed(folder, missing):
    (folder / missing).unlink()
    with pytest.raises(WeightsNotFoundError, match=rf"has no {missing}; RA-Depth needs .* in one folder\.$"):
        create_depth("ra-depth", weights=folder)


def test_other_weights_are_refused(folder):
    (folder / "encoder.pth").write_bytes((folder / "depth.pth").read_bytes())
    with pytest.raises(WeightsError, match=re.escape(f"{folder} does not fit ra-depth: ")):
        create_depth("ra-depth", weights=folder)
    (folder / "depth.pth").write_bytes(b"nothing")
    with pytest.raises(WeightsError, match=r"depth\.pth is no weights file"):
        create_depth("ra-depth", weights=folder)


def test_noise_only_if_asked_for(folder):
    with pytest.raises(WeightsNotFoundError, match=r"ra-depth needs trained weights; give .*models/RA-Depth"):
        create_depth("ra-depth")
    with pytest.raises(UsageError, match="leave out one of the two"):
        create_depth("ra-depth", weights=folder, untrained=True)
    first, second = (create_depth("ra-depth", untrained=True) for _ in range(2))
    assert first.identity != second.identity


def test_mistakes():
    with pytest.raises(UnknownNameError, match="did you mean decoder"):
        create_depth("ra-depth", untrained=True, features="decodr")
    with pytest.raises(UsageError, match="at least 64 pixels"):
        create_depth("ra-depth", untrained=True, longest=32)
