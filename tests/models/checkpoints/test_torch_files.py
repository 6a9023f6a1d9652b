"""Checkpoints that were crafted or damaged: a sentence, no code, little memory; and harmless ones are read."""

from __future__ import annotations

import argparse
import builtins
import collections
import datetime
import enum
import io
import json
import os
import pathlib
import pickle
import resource
import struct
import subprocess
import sys
import time
import zipfile

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")

from safetensors.torch import save as save_safetensors  # noqa: E402

from unhaze.errors import UnhazeError, WeightsNotFoundError  # noqa: E402
from unhaze.models.checkpoints import WeightsError, read_facts, read_weights  # noqa: E402

STATE = {"a.weight": torch.arange(12.0).reshape(3, 4), "a.bias": torch.ones(3), "steps": torch.tensor(7)}


class Calls:
    """Unpickles to a call."""

    def __init__(self, function, *args):
        self.function, self.args = function, args

    def __reduce__(self):
        return self.function, self.args


class OwnClass:
    """Of a training script, which is not there when the file is read."""

    def __init__(self):
        self.lr = 0.1


class OwnKind(enum.Enum):
    """Members are written as a call of the class with a value."""

    FAST = "fast"


class OwnDict(dict):
    """As configuration libraries make them."""


def written(path, content, legacy=False):
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    return path


def same(tensors):
    return tensors.keys() == STATE.keys() and all(torch.equal(tensors[key], STATE[key]) for key in STATE)


@pytest.mark.parametrize("legacy", [False, True])
def test_what_lies_beside_the_weights_is_passed_over(tmp_path, legacy):
    beside = {
        "args": argparse.Namespace(lr=1e-4, out=pathlib.PurePosixPath("runs/1")),
        "path": pathlib.Path("a/b.c"),
        "kind": OwnKind.FAST,
        "range": range(3),
        "counts": collections.Counter("aab"),
        "default": collections.defaultdict(list, x=[1]),
        "queue": collections.deque([1, 2]),
        "order": collections.OrderedDict(b=1, a=2),
        "best": np.float64(31.5),
        "dtype": np.dtype("f4"),
        "array": np.arange(3),
        "when": datetime.datetime(2024, 5, 1, 12),
        "set": {1, 2},
        "slice": slice(1, 2),
        "complex": 1j,
        "bytes": b"\x00\xff",
        "own": OwnClass(),
        "device": torch.device("cpu"),
        "dtype_of_torch": torch.float16,
        "size": torch.Size([1, 2]),
        "module": torch.nn.Linear(2, 2),
    }
    path = written(tmp_path / "rich.pth", {"state_dict": STATE, **beside}, legacy)
    assert same(read_weights(path).tensors)


@pytest.mark.parametrize("legacy", [False, True])
def test_weights_under_a_class_that_is_not_imported_are_found(tmp_path, legacy):
    path = written(tmp_path / "own.pth", OwnDict(state_dict=OwnDict(STATE)), legacy)
    assert same(read_weights(path).tensors)


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16, torch.int8, torch.bool])
def test_every_type_views_and_shared_bytes_are_read(tmp_path, legacy, dtype):
    base = torch.arange(24).reshape(4, 6).to(dtype)
    content = {"whole": base, "turned": base.T, "part": base[1:3, ::2], "none": base[:0], "one": base[2, 3]}
    content["parameter"] = torch.nn.Parameter(torch.ones(2))
    tensors = read_weights(written(tmp_path / "views.pth", content, legacy)).tensors
    assert all(torch.equal(tensors[key], content[key]) and tensors[key].dtype == content[key].dtype for key in content)
    assert tensors["whole"].data_ptr() == tensors["turned"].data_ptr()


def malicious(trap):
    mkdir, touch = f"os.mkdir({str(trap)!r})", f"__import__('os').mkdir({str(trap)!r})"
    return {
        "system": Calls(os.system, f"mkdir {trap}"),
        "eval": Calls(builtins.eval, touch),
        "exec": Calls(builtins.exec, f"import os; {mkdir}"),
        "popen": Calls(subprocess.Popen, ["mkdir", str(trap)]),
        "hub": Calls(torch.hub.load, "owner/name", "model"),
        "load": Calls(torch.load, "other.pth"),
        "method": Calls(pathlib.Path.write_text, pathlib.Path(trap), "x"),
        "getattr": Calls(getattr, Calls(__import__, "os"), "mkdir"),
        "nested": [{"x": (Calls(os.mkdir, Calls(str, str(trap))),)}],
        "from_file": Calls(torch.from_file, "/etc/hostname"),
        "own function": Calls(malicious, trap),
    }


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("kind", sorted(malicious(pathlib.Path("x"))))
def test_calls_are_refused_and_never_made(tmp_path, kind, legacy):
    trap = tmp_path / "sprung"
    path = written(tmp_path / "evil.pth", {"state_dict": STATE, "note": malicious(trap)[kind]}, legacy)
    with pytest.raises(WeightsError, match=r"evil\.pth asks to run code"):
        read_weights(path)
    assert not trap.exists()


def with_pickle(path, content, storages=()):
    """A file of torch.save whose instructions are ``content``."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x/data.pkl", content)
        for name, values in storages:
            archive.writestr(f"x/data/{name}", values)
    return path


@pytest.mark.parametrize(
    "content",
    [
        b"cos\nsystem\n(S'mkdir sprung'\ntR.",  # protocol 0
        b"(S'mkdir sprung'\nios\nsystem\n.",  # INST
        b"(cos\nsystem\nS'mkdir sprung'\no.",  # OBJ
        b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n}X\x08\x00\x00\x00__code__K\x01sb.",  # changes a function
        b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\nN}X\x0c\x00\x00\x00__defaults__)s\x86b.",
        b"\x80\x02X\x04\x00\x00\x00evilQ.",  # a persistent identity that is none
        b"\x80\x02(X\x06\x00\x00\x00modulecos\nsystem\ntQ.",
        b"\x80\x02\x82\x01.",  # an extension
        b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x0emkdir sprung\x85R.",
    ],
)
def test_hand_made_instructions_run_nothing(tmp_path, monkeypatch, content):
    monkeypatch.chdir(tmp_path)
    before = torch._utils._rebuild_tensor_v2.__defaults__
    for path in (with_pickle(tmp_path / "evil.pth", content), tmp_path / "plain.pth"):
        if path.name == "plain.pth":
            path.write_bytes(content)
        with pytest.raises(WeightsError):
            read_weights(path)
    assert not (tmp_path / "sprung").exists()
    assert torch._utils._rebuild_tensor_v2.__defaults__ == before


def self_referring():
    one: dict = {}
    one["state_dict"] = one
    two: dict = {}
    two["params"] = {"params": two}
    chain: list = []
    chain.append(chain)
    return {"one": one, "two": two, "list": chain}


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("kind", ["one", "two", "list"])
def test_a_file_that_holds_itself_ends(tmp_path, kind, legacy):
    path = written(tmp_path / "self.pth", self_referring()[kind], legacy)
    with pytest.raises(WeightsError, match=r"self\.pth"):
        read_weights(path)


TENSOR = (
    b"ctorch._utils\n_rebuild_tensor_v2\n"
    b"((X\x07\x00\x00\x00storagectorch\n%s\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpu%stQ"
    b"%s%s%s\x89ccollections\nOrderedDict\n)RtR"
)


def one_tensor(kind=b"FloatStorage", count=4, offset=0, size=(4,), stride=(1,)):
    number = lambda value: b"J" + struct.pack("<i", value)  # noqa: E731
    several = lambda values: b"(" + b"".join(map(number, values)) + b"t"  # noqa: E731
    tensor = TENSOR % (kind, number(count), number(offset), several(size), several(stride))
    return b"\x80\x02}X\x01\x00\x00\x00a" + tensor + b"s."


def test_the_hand_made_tensor_is_a_sound_one(tmp_path):
    path = with_pickle(tmp_path / "sound.pth", one_tensor(), [("0", np.arange(4, dtype="f4").tobytes())])
    assert read_weights(path).tensors["a"].tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    "changes",
    [
        {"count": 1_000_000},  # longer than its bytes: torch would read what lies behind
        {"size": (100_000,)},
        {"offset": -5},
        {"offset": 2_000_000_000},
        {"size": (-2,)},
        {"stride": (2_000_000_000,)},
        {"size": (50_000, 50_000), "stride": (0, 0)},  # 10 GB of one number
        {"kind": b"ComplexFloatStorage", "count": 2, "size": (2,)},
        {"kind": b"NoSuchStorage"},
    ],
)
def test_tensors_that_claim_what_is_not_there_are_refused(tmp_path, changes):
    path = with_pickle(tmp_path / "odd.pth", one_tensor(**changes), [("0", bytes(16))])
    with pytest.raises(WeightsError, match=r"odd\.pth"):
        read_weights(path)


@pytest.mark.parametrize("make", [lambda t: t.to_sparse(), lambda t: t.to("meta"), lambda t: t.to(torch.complex64)])
def test_tensors_of_a_kind_that_no_network_has_are_named(tmp_path, make):
    path = written(tmp_path / "kind.pth", {"layer.weight": make(torch.ones(3, 3))})
    with pytest.raises(WeightsError, match=r"layer\.weight"):
        read_weights(path)


def test_a_changed_byte_of_a_tensor_is_found(tmp_path):
    path = written(tmp_path / "flip.pth", {"a": torch.arange(5000.0)})
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(WeightsError, match="damaged"):
        read_weights(path)


# -- memory -----------------------------------------------------------------------------------------------------------


def deflated(path, size):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        archive.writestr("x/data.pkl", one_tensor(size=(4,)))
        with archive.open("x/data/0", "w", force_zip64=True) as member:
            for _ in range(size >> 20):
                member.write(bytes(1 << 20))
    return path


def with_header(path, header, size=None):
    path.write_bytes(struct.pack("<Q", len(header) if size is None else size) + header)
    return path


def copies(count):
    """Instructions that ask for a megabyte of bytes again and again."""
    text = b"X" + struct.pack("<i", 1 << 20) + b"x" * (1 << 20)
    copy = b"(c_codecs\nencode\nh\x00X\x06\x00\x00\x00latin1\x86Rt"
    return b"\x80\x02" + text + b"q\x000" + copy * count + b"."


def packed(path, instructions):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x/data.pkl", instructions)


# 2 to the 45th elements, every one of which its hash counts
NESTED = b"K\x01" + b"".join(b"q" + bytes([i]) + b"h" + bytes([i]) + b"\x86" for i in range(45))
COLLIDING = b"".join(b"\x8a\x08" + struct.pack("<q", (2**61 - 1) * k) + b"N" for k in range(1, 4))


NOTHING = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
BOMBS = {
    "deflated.pth": lambda path: deflated(path, 200 << 20),
    "long memo.pth": lambda path: with_pickle(path, b"\x80\x02]r\xff\xff\xff\x7f."),
    "long array.pth": lambda path: with_pickle(path, b"\x80\x05\x96\xff\xff\xff\x7f\x02\x00\x00\x00a."),
    "long bytes.pth": lambda path: path.write_bytes(b"\x80\x04\x8e\xff\xff\xff\x7f\x02\x00\x00\x00a."),
    "range.pth": lambda path: with_pickle(path, b"\x80\x02cbuiltins\nbytearray\nJ\xff\xff\xff\x7f\x85R."),
    "nested key.pth": lambda path: with_pickle(path, b"\x80\x02}" + NESTED + b"Ns."),
    "nested keys.pth": lambda path: with_pickle(path, b"\x80\x02}(" + NESTED + b"Nu."),
    "nested set.pth": lambda path: with_pickle(path, b"\x80\x04\x8f(" + NESTED + b"\x90."),
    "nested frozen.pth": lambda path: with_pickle(path, b"\x80\x04(" + NESTED + b"\x91."),
    "nested dict.pth": lambda path: with_pickle(path, b"(" + NESTED + b"Nd."),
    "colliding.pth": lambda path: with_pickle(path, b"\x80\x02}(" + COLLIDING + b"u."),
    "lists.pth": lambda path: packed(path, b"\x80\x02" + b"]" * (8 << 20) + b"."),
    "marks.pth": lambda path: packed(path, b"\x80\x02" + b"(" * (8 << 20) + b"."),
    "copies.pth": lambda path: with_pickle(path, copies(3000)),
    "huge.safetensors": lambda path: with_header(path, b"{" + b" " * 100, 2**60),
    "large.safetensors": lambda path: with_header(path, b"{" + b" " * (20 << 20) + b"}"),
    "keys.safetensors": lambda path: with_header(path, json.dumps({f"k{i}": NOTHING for i in range(200_000)}).encode()),
    "shape.safetensors": lambda path: with_header(
        path, json.dumps({"a": {"dtype": "F32", "shape": [2**62, 4], "data_offsets": [0, 8]}}).encode() + bytes(8)
    ),
}  # fmt: skip


def test_numbers_of_eight_bits_are_refused(tmp_path):
    path = written(tmp_path / "small.pth", {"conv.weight": torch.ones(2, 2).to(torch.float8_e4m3fn)})
    with pytest.raises(WeightsError, match=r"8 bits \(conv\.weight\)"):
        read_weights(path)


@pytest.mark.parametrize(
    "header",
    [
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1099511627776,)}",
        "{'descr': [('x', '<f4', (1048576,))], 'fortran_order': False, 'shape': (1048576,)}",
        "{'descr': '|O', 'fortran_order': False, 'shape': (1,)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1,",
    ],
)
def test_an_array_longer_than_its_bytes_takes_no_memory(tmp_path, header):
    text = header.encode().ljust(118) + b"\n"
    with zipfile.ZipFile(tmp_path / "long.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text)
    with pytest.raises(WeightsError, match=r"long\.npz is (?:a )?damaged"):
        read_weights(tmp_path / "long.npz")


@pytest.mark.parametrize("name", sorted(BOMBS))
def test_a_small_file_takes_little_memory_and_time(tmp_path, name):
    path = tmp_path / name
    BOMBS[name](path)
    before, started = peak(), time.process_time()
    with pytest.raises(WeightsError, match=name.partition(".")[0]):
        read_weights(path)
    assert time.process_time() - started < 5
    assert peak() - before < 160 << 20


def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


# -- damage -----------------------------------------------------------------------------------------------------------


def seeds():
    rich = {"params": STATE, "psnr": np.float64(3), "o": collections.OrderedDict(a=1), "n": argparse.Namespace(a=1)}
    for content, legacy in ((STATE, False), ({"state_dict": STATE}, True), (rich, False), (rich, True)):
        buffer = io.BytesIO()
        torch.save(content, buffer, _use_new_zipfile_serialization=not legacy)
        yield buffer.getvalue()
    yield save_safetensors(STATE, {"network": "x"})
    yield pickle.dumps({"a": 1})


SEEDS = list(seeds())
OPCODES = b"cRbiStTXBC\x80\x81\x85\x86\x87\x93q.}]()uase\x94\x8c\x8b\x8aKMJIjhQ0ro\x96\x97\x98"


@st.composite
def mutants(draw):
    content = bytearray(draw(st.sampled_from(SEEDS)))
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, max(len(content) - 1, 0)))
        match draw(st.sampled_from(["byte", "opcode", "cut", "delete", "insert"])):
            case "byte" if content:
                content[place] = draw(st.integers(0, 255))
            case "opcode" if content:
                content[min(place, 900) % len(content)] = draw(st.sampled_from(OPCODES))
            case "cut":
                del content[place:]
            case "delete":
                del content[place : place + draw(st.sampled_from([1, 4, 50]))]
            case "insert":
                content[place:place] = draw(st.binary(min_size=1, max_size=8))
    return bytes(content)


def read_or_refuse(path, content):
    path.write_bytes(content)
    for read in (read_weights, read_facts):
        message, started = "", time.process_time()
        try:
            read(path)
        except UnhazeError as error:
            message = str(error)
        assert time.process_time() - started < 2
        assert "\n" not in message
        assert len(message) < 1000


@given(content=mutants())
@settings(max_examples=300, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_damaged_file_is_read_or_refused_in_a_sentence(tmp_path, content):
    read_or_refuse(tmp_path / "mutant.pth", content)


@pytest.mark.slow
@given(content=mutants())
@settings(max_examples=20_000, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_twenty_thousand_damaged_files(tmp_path, content):
    read_or_refuse(tmp_path / "mutant.pth", content)


def test_what_is_no_file_is_said_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe.pth")
    for path in (tmp_path / "pipe.pth", tmp_path, "/dev/zero", "a\0b", tmp_path / "absent"):
        for read in (read_weights, read_facts):
            with pytest.raises(WeightsNotFoundError, match=r"check the path"):
                read(path)
