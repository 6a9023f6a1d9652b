"""Files of ``torch.save`` read as data: nothing that a file names is imported, and nothing it asks for is called.

``torch.load(weights_only=True)`` keeps code out too, but refuses a file for a namespace of options beside the weights,
does not compare what a file claims with what it holds (a storage may be said to be longer than its bytes), and
unpacks whatever an archive unpacks to. Here a name in the file stands for an inert class of our own, tensors are views
of bytes that are there, checksums are compared, and all that is held is counted.

Formats: the zip archive of torch 1.6 and later (``NAME/data.pkl`` and ``NAME/data/KEY``), and the chain of pickles
before it (magic number, protocol, machine, content, keys, then the storages), as written by ``torch/serialization.py``.
"""

from __future__ import annotations

import io
import pickle
import sys
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from unhaze.images.budget import METADATA_LIMIT, Budget, TooMuchError, archive_limit

__all__ = ["Inert", "TorchFileError", "UnreadTensor", "UnsafeFileError", "read_torch_file"]

_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
_CHUNK = 1 << 20
_ZIP = b"PK\x03\x04"

# modules whose classes are called with plain values to make plain values; an inert object takes the place of each
_HARMLESS_MODULES = frozenset(
    {"argparse", "collections", "datetime", "decimal", "fractions", "numpy.dtypes", "optparse", "uuid"}
)
_HARMLESS_ROOTS = frozenset({"pathlib"})  # and what lies below: its home moved between versions of Python
_HARMLESS_NAMES = {
    "builtins": {
        *("bool", "bytearray", "bytes", "complex", "dict", "float", "frozenset", "int", "list", "object", "range"),
        *("set", "slice", "str", "tuple"),
        *("long", "unicode", "xrange"),  # as protocol 2 names them
    },
    "types": {"SimpleNamespace", "MappingProxyType"},
    "torch": {"Size", "device", "Generator"},
    "torch.serialization": {"_get_layout"},
    "torch.nn.parameter": {"Parameter", "Buffer"},
    "numpy": {"dtype", "ndarray", *(kind.__name__ for kind in np.sctypeDict.values())},
    "numpy.core.multiarray": {"scalar", "_reconstruct"},
    "numpy._core.multiarray": {"scalar", "_reconstruct"},
    "numpy._core.numeric": {"_frombuffer"},
    "numpy.core.numeric": {"_frombuffer"},
}
_OLD_HOMES = {"__builtin__": "builtins", "copy_reg": "copyreg"}  # Python 2

# storages by the name that a file gives them
_STORAGES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
    "ComplexDoubleStorage": torch.complex128,
    "ComplexFloatStorage": torch.complex64,
    "UntypedStorage": torch.uint8,
}
_DTYPES = {name: value for name, value in vars(torch).items() if isinstance(value, torch.dtype)}
_UNREAD = {
    "_rebuild_sparse_tensor": "sparse",
    "_rebuild_sparse_csr_tensor": "sparse",
    "_rebuild_qtensor": "quantised",
    "_rebuild_nested_tensor": "nested",
    "_rebuild_meta_tensor_no_storage": "empty (meta)",
    "_rebuild_wrapper_subclass": "wrapped",
    "_rebuild_device_tensor_from_numpy": "foreign",
    "_rebuild_device_tensor_from_cpu_tensor": "foreign",
}


class TorchFileError(Exception):
    """The file cannot be read; the message is what follows its name in a sentence."""


class UnsafeFileError(TorchFileError):
    """The file asks for code to be run."""


class _Sealed(type):
    """A class that unpickling can make objects of but not call as a function."""

    def __call__(cls, *args: Any, **options: Any) -> Any:
        is_member = cls.__dict__.get("foreign") and len(args) == 1 and isinstance(args[0], str | int | float)
        if cls.__dict__.get("harmless") or is_member:  # members of enumerations are written as calls with their value
            return super().__call__(*args, **options)
        raise UnsafeFileError(cls.__name__)


class Inert(metaclass=_Sealed):
    """An object of a class that was not imported.

    Attributes:
        entries: What was put into it by key.
    """

    __slots__ = ("entries",)
    entries: dict[Any, Any]
    harmless: ClassVar[bool] = False

    def __new__(cls, *args: Any, **options: Any) -> Inert:
        """Take any arguments, and forget them."""
        made = object.__new__(cls)
        made.entries = {}
        return made

    def __setstate__(self, state: Any) -> None:
        """Take what the file says of the object, and forget it."""

    def __setitem__(self, key: Any, value: Any) -> None:
        self.entries[key] = value

    def extend(self, items: Any) -> None:
        """As of a list."""

    append = add = update = extend


class _Mapping(dict[Any, Any]):
    """Stands for ordered dictionaries and their kin, whose attributes are dropped."""

    __slots__ = ()

    def __setstate__(self, state: Any) -> None:
        """Version numbers of modules; not needed."""


class _Function:
    """What a file may call; a wrapper, so that a file cannot change our functions."""

    __slots__ = ("_call",)

    def __init__(self, call: Callable[..., Any]) -> None:
        self._call = call

    def __call__(self, *args: Any) -> Any:
        return self._call(*args)

    def __setstate__(self, state: Any) -> None:
        raise UnsafeFileError("a change of a function")


class UnreadTensor(Inert):
    """A tensor of a kind that no network here has, such as a sparse one.

    Attributes:
        kind: Which.
    """

    __slots__ = ("kind",)
    harmless = True
    kind: str


class _Storage:
    """Bytes that tensors look at."""

    __slots__ = ("bytes", "dtype")

    def __init__(self, content: Tensor, dtype: torch.dtype) -> None:
        self.bytes, self.dtype = content, dtype

    def __setstate__(self, state: Any) -> None:
        raise UnsafeFileError("a change of a storage")


# the opcodes that make objects from bytes outside the stream, or from nothing but a length
_FOREIGN_OPCODES = (
    pickle.BYTEARRAY8,
    pickle.NEXT_BUFFER,
    pickle.READONLY_BUFFER,
    pickle.EXT1,
    pickle.EXT2,
    pickle.EXT4,
)


_MAKES_CONTAINERS = (
    pickle.MARK,
    pickle.EMPTY_LIST,
    pickle.EMPTY_DICT,
    pickle.EMPTY_SET,
    pickle.LIST,
    pickle.TUPLE,
    pickle.TUPLE1,
    pickle.TUPLE2,
    pickle.TUPLE3,
    pickle.ADDITEMS,
    pickle.FROZENSET,
    pickle.REDUCE,
    pickle.NEWOBJ,
)
_CONTAINER = 100  # about what one takes [bytes]
_LARGEST_KEY = 1 << 60  # larger numbers may share a hash


class _Unpickler(pickle._Unpickler):
    """Python's own unpickler in Python: the one in C takes memory for any index that a file writes down.

    Args:
        file: The stream.
        load_storage: Makes a storage of a persistent identity.
        budget: For copies that the file asks for.
    """

    stack: list[Any]  # of the base, whose stubs name neither it nor what loads an opcode
    dispatch: ClassVar[dict[int, Any]] = {
        code: load for code, load in pickle._Unpickler.dispatch.items() if bytes((code,)) not in _FOREIGN_OPCODES
    }

    def __init__(self, file: Any, load_storage: Callable[[Any], Any], budget: Budget) -> None:
        super().__init__(file, encoding="latin1")  # names are ASCII; bytes of Python 2 must not fail to decode
        self._load_storage = load_storage
        self._budget = budget
        self._classes: dict[tuple[str, str], Any] = {}

    def _count_container(self) -> None:
        self._budget.take(_CONTAINER)

    def _check_keys(self, keys: Iterable[Any]) -> None:
        """Refuse keys whose hashing takes for ever: tuples in tuples, and numbers made to collide."""
        for key in keys:
            for part in key if isinstance(key, tuple) else (key,):
                if isinstance(part, tuple | frozenset) or (isinstance(part, int | float) and abs(part) > _LARGEST_KEY):
                    raise TorchFileError("is damaged: a dictionary has a key that no program writes")

    def _load_setitem(self) -> None:
        self._check_keys(self.stack[-2:-1])
        pickle._Unpickler.load_setitem(self)  # type: ignore[attr-defined]

    def _load_setitems(self) -> None:
        self._check_keys(self.stack[::2])
        pickle._Unpickler.load_setitems(self)  # type: ignore[attr-defined]

    def _load_dict(self) -> None:
        self._check_keys(self.stack[::2])
        pickle._Unpickler.load_dict(self)  # type: ignore[attr-defined]

    def _load_members(self) -> None:
        """What is added to a set, and a frozen set."""
        self._check_keys(self.stack)

    def persistent_load(self, pid: Any) -> Any:
        """A storage."""
        return self._load_storage(pid)

    def find_class(self, module: str, name: str) -> Any:
        """What stands here for a name in the file; nothing is imported."""
        key = (_OLD_HOMES.get(module, module), name)
        if key not in self._classes:
            self._classes[key] = self._stand_in(*key)
        return self._classes[key]

    def _stand_in(self, module: str, name: str) -> Any:
        if (module, name) in (("collections", "OrderedDict"), ("builtins", "dict")):
            return _Function(self._mapping)
        if module in ("collections", "copyreg", "_codecs"):
            known: dict[str, Callable[..., Any]] = {
                "defaultdict": lambda *_: _Mapping(),
                "Counter": self._mapping,
                "_reconstructor": lambda kind, *_: _new(kind),
                "__newobj__": lambda kind, *_: _new(kind),
                "encode": self._encode,
            }
            if name in known:
                return _Function(known[name])
        if module.partition(".")[0] == "torch":
            found = self._stand_in_of_torch(module, name)
            if found is not None:
                return found
        facts = {"harmless": _is_harmless(module, name), "foreign": _is_foreign(module, name)}
        return type(str(name), (Inert,), {"__slots__": (), **facts})

    def _stand_in_of_torch(self, module: str, name: str) -> Any:
        if name.lstrip("_") in _STORAGES and module in ("torch", "torch.storage", "torch.cuda"):
            return _STORAGES[name.lstrip("_")]
        if module == "torch" and name in _DTYPES:
            return _DTYPES[name]
        rebuild: dict[str, Callable[..., Any]] = {
            "_rebuild_tensor": _rebuild,
            "_rebuild_tensor_v2": _rebuild,
            "_rebuild_tensor_v3": _rebuild_typed,
            "_rebuild_parameter": lambda tensor, *_: tensor,
            "_rebuild_parameter_with_state": lambda tensor, *_: tensor,
            "_rebuild_from_type_v2": _rebuild_subclass,
        }
        if module in ("torch._utils", "torch._tensor"):
            if name in rebuild:
                return _Function(rebuild[name])
            if name in _UNREAD:
                return _Function(lambda *_: _unread(_UNREAD[name]))
        return None

    def _mapping(self, pairs: Any = ()) -> _Mapping:
        if not isinstance(pairs, list | tuple | dict):
            raise TorchFileError("is damaged: a dictionary is made of something else")
        self._budget.take(64 * len(pairs))  # about what an entry takes
        return _Mapping(pairs)

    def _encode(self, text: Any, codec: Any = "latin1") -> bytes:
        """How protocol 2 writes bytes."""
        if not isinstance(text, str) or codec not in ("latin1", "latin-1"):
            raise TorchFileError("is damaged: bytes are made of something else")
        self._budget.take(len(text))
        return text.encode("latin1")


def _guarded(code: int, load: Any) -> Any:
    """The way of an opcode, with what it makes counted and its keys looked at."""
    replaced = {
        pickle.SETITEM: _Unpickler._load_setitem,
        pickle.SETITEMS: _Unpickler._load_setitems,
        pickle.DICT: _Unpickler._load_dict,
    }
    load = replaced.get(bytes((code,)), load)

    def counted(unpickler: _Unpickler) -> Any:
        unpickler._count_container()
        if code in (pickle.ADDITEMS[0], pickle.FROZENSET[0]):
            unpickler._load_members()
        return load(unpickler)

    return counted if bytes((code,)) in (*_MAKES_CONTAINERS, *replaced) else load


_Unpickler.dispatch = {code: _guarded(code, load) for code, load in _Unpickler.dispatch.items()}


def _is_harmless(module: str, name: str) -> bool:
    if module in _HARMLESS_MODULES or module.partition(".")[0] in _HARMLESS_ROOTS:
        return name.isidentifier() and not name.startswith("_")  # a class by name, not a way to something below
    return name in _HARMLESS_NAMES.get(module, ())


def _is_foreign(module: str, name: str) -> bool:
    """Whether this may be a class of somebody's training script."""
    known = module.partition(".")[0] in {*sys.stdlib_module_names, "torch", "numpy"}
    return not known and name.isidentifier() and name[0].isupper()


def _new(kind: Any) -> Inert:
    if not (isinstance(kind, type) and issubclass(kind, Inert)):
        raise TorchFileError("is damaged: an object is made of something else than a class")
    return kind.__new__(kind)


def _rebuild(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> Tensor:
    return _rebuild_typed(storage, offset, size, stride, False, None, getattr(storage, "dtype", None))


def _rebuild_typed(
    storage: Any, offset: Any, size: Any, stride: Any, requires_grad: Any, hooks: Any, dtype: Any, *_: Any
) -> Tensor:
    if not isinstance(storage, _Storage) or not isinstance(dtype, torch.dtype):
        raise TorchFileError("is damaged: a tensor has no storage")
    usable = storage.bytes[: storage.bytes.numel() // dtype.itemsize * dtype.itemsize]
    return torch.as_strided(usable.view(dtype), size, stride, offset)  # checks that all of it lies in the storage


def _rebuild_subclass(function: Any, kind: Any, args: Any, state: Any) -> Any:
    """A tensor with attributes, or of a class of its own: the tensor alone."""
    if not isinstance(function, _Function):
        raise UnsafeFileError("a function")
    return function(*args)


def _unread(kind: str) -> UnreadTensor:
    made = UnreadTensor()
    made.kind = kind
    return made


def read_torch_file(path: Path) -> Any:
    """The content of a file of ``torch.save``: dictionaries, lists, plain values, tensors, and inert objects.

    Raises:
        UnsafeFileError: The file asks for code to be run.
        TorchFileError: It is damaged, no file of ``torch.save``, or unpacks to far more than its size.
        OSError: The file system refuses it.
    """
    with path.open("rb") as file:
        size = file.seek(0, io.SEEK_END)
        file.seek(0)
        try:
            if file.read(len(_ZIP)) == _ZIP:
                return _read_archive(file, size)
            file.seek(0)
            return _read_chain(file, size)
        except (TorchFileError, OSError):
            raise
        except (TooMuchError, MemoryError) as error:
            raise TorchFileError("unpacks to far more than a network of its size; get the file elsewhere") from error
        except Exception as error:  # an altered byte can bring about any error of the unpickler and of torch
            raise TorchFileError("is no weights file, or a damaged one; get the file again") from error


def _read_archive(file: io.BufferedReader, size: int) -> Any:
    """The zip archive of torch 1.6 and later."""
    with zipfile.ZipFile(file) as archive:
        members = {info.filename: info for info in archive.infolist()}
        contents = [name for name in members if name.count("/") == 1 and name.endswith("/data.pkl")]
        if len(contents) != 1:
            raise TorchFileError("is a zip archive, but not one of torch.save; give a file with a state dict")
        root = contents[0].removesuffix("data.pkl")
        if f"{root}constants.pkl" in members:
            raise TorchFileError("is a TorchScript program, not weights; save its state dict (model.state_dict())")
        room, metadata = Budget(archive_limit(size)), Budget()

        def read(name: str, budget: Budget) -> bytearray:
            info = members[name]
            budget.take(info.file_size)
            return _read_member(archive, info)

        order = f"{root}byteorder"
        if order in members and bytes(read(order, metadata)) != b"little":
            raise TorchFileError("was written on a big-endian machine, which is not read; save it anew on another")
        storages: dict[str, _Storage] = {}

        def load_storage(identity: Any) -> _Storage:
            kind, dtype, key, _, count = identity
            if kind != "storage" or not isinstance(dtype, torch.dtype) or not isinstance(key, str):
                raise TorchFileError("is damaged: it refers to something that is no storage")
            if key not in storages:
                content = read(f"{root}data/{key}", room)
                if len(content) < count * dtype.itemsize:
                    raise TorchFileError("is damaged: a tensor is longer than its bytes; get the file again")
                storages[key] = _Storage(
                    torch.frombuffer(content, dtype=torch.uint8) if content else torch.empty(0, dtype=torch.uint8),
                    dtype,
                )
            return _Storage(storages[key].bytes, dtype)

        return _Unpickler(io.BytesIO(read(contents[0], metadata)), load_storage, metadata).load()


def _read_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytearray:
    """A member, its checksum compared; never more than the size that was counted."""
    content = bytearray(info.file_size)
    view, filled = memoryview(content), 0
    with archive.open(info) as stream:
        while block := stream.read(_CHUNK):
            view[filled : filled + len(block)] = block
            filled += len(block)
    if filled != len(content):
        raise TorchFileError("is damaged: it ends too early; get the file again")
    return content


class _Bounded:
    """A file for the unpickler, which asks for as many bytes as the file says."""

    def __init__(self, file: io.BufferedReader, size: int) -> None:
        self._file, self._size, self._budget = file, size, Budget(METADATA_LIMIT)

    def read(self, count: int) -> bytes:
        """Up to ``count`` bytes."""
        count = min(count, self._size - self._file.tell())
        self._budget.take(max(count, 0))
        return self._file.read(count)

    def readline(self) -> bytes:
        """Up to and with the next line feed."""
        line = self._file.readline(1 + self._budget.left)
        self._budget.take(len(line))
        return line

    def readinto(self, buffer: Any) -> int:
        """As of a file; the unpickler looks for it."""
        content = self.read(len(buffer))
        buffer[: len(content)] = content
        return len(content)


def _read_chain(file: io.BufferedReader, size: int) -> Any:
    """The format before torch 1.6."""
    stream, budget, storages = _Bounded(file, size), Budget(), _Chain(size)

    def load(load_storage: Callable[[Any], Any] = _refuse_storage) -> Any:
        return _Unpickler(stream, load_storage, budget).load()

    if load() != _MAGIC or load() != _PROTOCOL:
        raise TorchFileError("is no weights file, or a damaged one; get the file again")
    machine = load()
    if not machine["little_endian"]:
        raise TorchFileError("was written on a big-endian machine, which is not read; save it anew on another")
    content = load(storages.load)
    storages.fill(file, load())
    return content


def _refuse_storage(identity: Any) -> Any:
    raise TorchFileError("is damaged: a storage where none may be; get the file again")


class _Chain:
    """The storages of the old format, whose bytes come after the content that looks at them."""

    def __init__(self, size: int) -> None:
        self._room = Budget(size)
        self._storages: dict[str, _Storage] = {}

    def load(self, identity: Any) -> Any:
        """What a persistent identity stands for."""
        if identity[0] == "module":  # a class and its source code
            return identity[1]
        kind, dtype, key, _, count, view = identity
        if kind != "storage" or not isinstance(dtype, torch.dtype) or not isinstance(key, str) or count < 0:
            raise TorchFileError("is damaged: it refers to something that is no storage")
        if key not in self._storages:
            self._room.take(count * dtype.itemsize)  # the bytes must be in the file
            self._storages[key] = _Storage(torch.zeros(count * dtype.itemsize, dtype=torch.uint8), dtype)
        whole = self._storages[key].bytes
        if view is not None:
            _, start, length = view
            whole = whole[start * dtype.itemsize : (start + length) * dtype.itemsize]
        return _Storage(whole, dtype)

    def fill(self, file: io.BufferedReader, keys: Any) -> None:
        """Read the bytes of all storages, in the order of ``keys``."""
        if not isinstance(keys, list) or set(keys) != self._storages.keys() or len(keys) != len(self._storages):
            raise TorchFileError("is damaged: its storages are not those it speaks of; get the file again")
        for key in keys:
            storage = self._storages[key]
            count = int.from_bytes(file.read(8), "little")
            if count * storage.dtype.itemsize != storage.bytes.numel():
                raise TorchFileError("is damaged: a tensor is longer than its bytes; get the file again")
            view = storage.bytes.numpy().data if count else memoryview(b"")
            filled = 0
            while filled < len(view):
                got = file.readinto(view[filled : filled + _CHUNK])
                if not got:
                    raise TorchFileError("is truncated; get the file again")
                filled += got
