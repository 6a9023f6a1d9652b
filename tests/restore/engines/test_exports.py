"""Files that say that they are exports: what they say is checked before it is believed."""

import json
from dataclasses import replace

import numpy as np
import pytest

import unhaze
from unhaze.errors import OverBudgetError, UnhazeError, WeightsError
from unhaze.restore.engines.exports import ExportFacts, read_export
from unhaze.types import ImageContract

onnx = pytest.importorskip("onnx")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

FACTS = json.loads(ExportFacts("aodnet-base").to_json())
SIDES = (1, 3, "H", "W")


def write(path, facts=FACTS, nodes=None, tensors=(), names=("image", "restored"), shapes=(SIDES, SIDES), kind=1):
    """An ONNX file of a graph of our own, by default one that gives back what it gets."""
    nodes = nodes or [helper.make_node("Identity", [names[0]], [names[1]])]
    values = [
        helper.make_tensor_value_info(name, of, shape)
        for name, of, shape in zip(names, (TensorProto.FLOAT, kind), shapes, strict=True)
    ]
    graph = helper.make_graph(nodes, "made", [values[0]], [values[1]], list(tensors))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    if facts is not None:
        entry = model.metadata_props.add()
        entry.key, entry.value = "unhaze", facts if isinstance(facts, str) else json.dumps(facts)
    path.write_bytes(model.SerializeToString())
    return path


def hazy():
    return np.random.default_rng(0).integers(0, 256, (40, 52, 3), np.uint8)


def refused(path, error=WeightsError):
    with pytest.raises(error) as caught:
        unhaze.dehaze(hazy(), model=str(path))
    assert "\n" not in str(caught.value)
    assert str(caught.value).isprintable()
    return str(caught.value)


def test_a_graph_of_our_own_runs(tmp_path):
    result = unhaze.Dehazer(str(write(tmp_path / "a.onnx")), engine="onnxruntime")(hazy())
    np.testing.assert_array_equal(result.image, hazy())


@pytest.mark.parametrize(
    ("changes", "contract", "word"),
    [
        ({"name": "\x1b[31mred"}, {}, "texts"),
        ({"name": ""}, {}, "texts"),
        ({"license": 3}, {}, "texts"),
        ({"kind": "other"}, {}, "kind"),
        ({"depth": "beside"}, {}, "depth"),
        ({"precision": "fp4"}, {}, "precision"),
        ({"hashes": [1]}, {}, "hashes"),
        ({"memory_per_pixel": None}, {}, "memory_per_pixel"),
        ({"memory_per_pixel": -5}, {}, "memory_per_pixel"),
        ({"memory_per_pixel": 1 << 60}, {}, "memory_per_pixel"),
        ({"size": [0, 0]}, {}, "size"),
        ({"size": [64]}, {}, "size"),
        ({"size": [1e400, 2]}, {}, "size"),
        ({"size": "64"}, {}, "size"),
        ({}, {"multiple_of": 0}, "multiple_of"),
        ({}, {"multiple_of": -8}, "multiple_of"),
        ({}, {"multiple_of": "8"}, "multiple_of"),
        ({}, {"multiple_of": True}, "multiple_of"),
        ({}, {"multiple_of": 1 << 40}, "multiple_of"),
        ({}, {"minimum": 1.5}, "minimum"),
        ({}, {"minimum": 1 << 40}, "minimum"),
        ({}, {"tiling": -1}, "tiling"),
        ({}, {"pad_mode": "wrap"}, "pad_mode"),
    ],
)
def test_facts_that_cannot_be_are_refused(tmp_path, changes, contract, word):
    facts = {**FACTS, **changes, "contract": {**FACTS["contract"], **contract}}
    assert f"({word})" in refused(write(tmp_path / "a.onnx", facts))


@pytest.mark.parametrize(
    "text", ["", "[]", "null", "{", "[" * 100_000, '{"name": NaN}', json.dumps({**FACTS, "new": 1})]
)
def test_other_texts_are_refused(tmp_path, text):
    refused(write(tmp_path / "a.onnx", text))


def test_what_export_writes_is_read_back(tmp_path):
    contract = ImageContract(multiple_of=16, minimum=507, tiling=731, pad_mode="replicate")
    facts = replace(ExportFacts("a", contract=contract, size=(512, 1024)), hashes={"weights": "0"}, precision="int8")
    assert read_export(write(tmp_path / "a.onnx", facts.to_json())) == facts


def test_a_graph_that_takes_or_gives_something_else_is_refused(tmp_path):
    mean = [helper.make_node("ReduceMean", ["image", "axes"], ["restored"], keepdims=1)]
    axes = numpy_helper.from_array(np.array([1], np.int64), "axes")
    twice = [helper.make_node("Concat", ["image", "image"], ["restored"], axis=3)]
    whole = [helper.make_node("Cast", ["image"], ["restored"], to=TensorProto.INT64)]
    cases = {
        "input": {"names": ("x", "restored")},
        "output": {"names": ("image", "y")},
        "grey": {"nodes": mean, "tensors": [axes], "shapes": (SIDES, (1, 1, "H", "W"))},
        "wide": {"nodes": twice, "shapes": (SIDES, (1, 3, "H", "V"))},
        "integers": {"nodes": whole, "kind": TensorProto.INT64},
        "fixed": {"shapes": ((1, 3, 7, 9), (1, 3, 7, 9))},
    }
    for name, case in cases.items():
        assert f"{name}.onnx" in refused(write(tmp_path / f"{name}.onnx", **case))


@pytest.mark.parametrize("name", ["field-m", "dcp", "aodnet-base"])
def test_a_graph_that_is_no_network_of_haze_is_refused(tmp_path, name):
    facts = {**FACTS, "kind": "haze", "name": name}
    refused(write(tmp_path / "a.onnx", facts), UnhazeError)
    refused(write(tmp_path / "b.onnx", facts, names=("view", "restored")), UnhazeError)


@pytest.mark.parametrize("where", ["../secret.bin", "absolute", "link.bin", "missing.bin"])
def test_weights_outside_the_folder_are_not_read(tmp_path, where):
    folder = tmp_path / "folder"
    folder.mkdir()
    (tmp_path / "secret.bin").write_bytes(np.full(3, 0.25, np.float32).tobytes())
    if where == "link.bin":
        (folder / where).symlink_to(tmp_path / "secret.bin")
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[1, 3, 1, 1], data_location=TensorProto.EXTERNAL)
    for key, value in {
        "location": str(tmp_path / "secret.bin") if where == "absolute" else where,
        "offset": "0",
        "length": "12",
    }.items():
        tensor.external_data.add(key=key, value=value)
    add = [helper.make_node("Add", ["image", "w"], ["restored"])]
    refused(write(folder / "a.onnx", nodes=add, tensors=[tensor]))


def test_tensors_that_are_said_to_be_huge_are_refused(tmp_path):
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[1 << 20, 1 << 20])
    add = [helper.make_node("Add", ["image", "w"], ["restored"])]
    refused(write(tmp_path / "a.onnx", nodes=add, tensors=[tensor]))


def test_memory_that_does_not_suffice_is_told(tmp_path, capfd):
    size = numpy_helper.from_array(np.array([1 << 50], np.int64), "size")  # no machine has that
    nodes = [
        helper.make_node("ConstantOfShape", ["size"], ["much"]),
        helper.make_node("ReduceSum", ["much"], ["sum"], keepdims=0),
        helper.make_node("Add", ["image", "sum"], ["restored"]),
    ]
    path = write(tmp_path / "a.onnx", nodes=nodes, tensors=[size])
    with pytest.raises(OverBudgetError, match=r"a\.onnx"):
        unhaze.dehaze(hazy(), model=str(path), engine="onnxruntime")
    assert not capfd.readouterr().err
