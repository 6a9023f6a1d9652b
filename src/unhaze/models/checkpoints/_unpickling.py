"""Pickles read as data: what a file names is not imported, what it asks for is not called, what it makes is counted."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from unhaze.images.budget import Budget

__all__ = ["Inert", "Storage", "TorchFileError", "Unpickler", "UnreadTensor", "UnsafeFileError"]

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

    def __init__(self, kind: str, *args: Any) -> None:
        self.kind = kind


class Storage:
    """Bytes that tensors look at."""

    __slots__ = ("bytes", "dtype")

    def __init__(self, content: Tensor, dtype: torch.dtype) -> None:
        self.bytes, self.dtype = content, dtype

    def __setstate__(self, state: Any) -> None:
        raise UnsafeFileError("a change of a storage")


def _new(kind: Any, *_: Any) -> Inert:
    if not (isinstance(kind, type) and issubclass(kind, Inert)):
        raise TorchFileError("is damaged: an object is made of something else than a class")
    return kind.__new__(kind)


def _rebuild(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> Tensor:
    return _rebuild_typed(storage, offset, size, stride, False, None, getattr(storage, "dtype", None))


def _rebuild_typed(
    storage: Any, offset: Any, size: Any, stride: Any, requires_grad: Any, hooks: Any, dtype: Any, *_: Any
) -> Tensor:
    if not isinstance(storage, Storage) or not isinstance(dtype, torch.dtype):
        raise TorchFileError("is damaged: a tensor has no storage")
    usable = storage.bytes[: storage.bytes.numel() // dtype.itemsize * dtype.itemsize]
    return torch.as_strided(usable.view(dtype), size, stride, offset)  # checks that all of it lies in the storage


def _rebuild_subclass(function: Any, kind: Any, args: Any, state: Any) -> Any:
    """A tensor with attributes, or of a class of its own: the tensor alone."""
    if not isinstance(function, _Function):
        raise UnsafeFileError("a function")
    return function(*args)


# what stands for a name in a file, as far as it is known before; a storage stands for the type of its numbers
_TORCH_CALLS: dict[str, Callable[..., Any]] = {
    "_rebuild_tensor": _rebuild,
    "_rebuild_tensor_v2": _rebuild,
    "_rebuild_tensor_v3": _rebuild_typed,
    "_rebuild_parameter": lambda tensor, *_: tensor,
    "_rebuild_parameter_with_state": lambda tensor, *_: tensor,
    "_rebuild_from_type_v2": _rebuild_subclass,
    **{name: partial(UnreadTensor, kind) for name, kind in _UNREAD.items()},
}
_STAND_INS: dict[tuple[str, str], Any] = {
    ("collections", "defaultdict"): _Function(lambda *_: _Mapping()),
    ("copyreg", "_reconstructor"): _Function(_new),
    ("copyreg", "__newobj__"): _Function(_new),
    **{("torch", name): dtype for name, dtype in _DTYPES.items()},
    **{
        (module, underscore + name): dtype
        for module in ("torch", "torch.storage", "torch.cuda")
        for underscore in ("", "_")
        for name, dtype in _STORAGES.items()
    },
    **{
        (module, name): _Function(call)
        for module in ("torch._utils", "torch._tensor")
        for name, call in _TORCH_CALLS.items()
    },
}

# the opcodes that make objects from bytes outside the stream, or from nothing but a length
_FOREIGN_OPCODES = {
    *(pickle.BYTEARRAY8, pickle.NEXT_BUFFER, pickle.READONLY_BUFFER),
    *(pickle.EXT1, pickle.EXT2, pickle.EXT4),
}
# the opcodes that hash what lies on the stack, and where it lies there: keys, and the members of sets
_HASHED: dict[bytes, slice] = {
    pickle.SETITEM: slice(-2, -1),
    pickle.SETITEMS: slice(None, None, 2),
    pickle.DICT: slice(None, None, 2),
    pickle.ADDITEMS: slice(None),
    pickle.FROZENSET: slice(None),
}
_MAKES_CONTAINERS = {
    *(pickle.MARK, pickle.EMPTY_LIST, pickle.EMPTY_DICT, pickle.EMPTY_SET, pickle.LIST),
    *(pickle.TUPLE, pickle.TUPLE1, pickle.TUPLE2, pickle.TUPLE3, pickle.REDUCE, pickle.NEWOBJ),
    *_HASHED,
}
_CONTAINER = 100  # about what one takes [bytes]
_LARGEST_KEY = 1 << 60  # larger numbers may share a hash


def _guarded(code: bytes, load: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """The way of an opcode that makes a container: what it makes is counted, what it hashes is looked at."""

    def guarded(unpickler: Unpickler) -> Any:
        unpickler.budget.take(_CONTAINER)
        for key in unpickler.stack[_HASHED[code]] if code in _HASHED else ():
            for part in key if isinstance(key, tuple) else (key,):
                # tuples in tuples are hashed for ever, and numbers can be made to collide
                if isinstance(part, tuple | frozenset) or (isinstance(part, int | float) and abs(part) > _LARGEST_KEY):
                    raise TorchFileError("is damaged: a dictionary has a key that no program writes")
        return load(unpickler)

    return guarded


class Unpickler(pickle._Unpickler):
    """Python's own unpickler in Python: the one in C takes memory for any index that a file writes down.

    Args:
        file: The stream.
        load_storage: Makes a storage of a persistent identity; ``None`` where there may be none.
        budget: For copies that the file asks for.
    """

    stack: list[Any]  # of the base, whose stubs name neither it nor what loads an opcode
    dispatch: ClassVar[dict[int, Any]] = {
        code[0]: _guarded(code, load) if code in _MAKES_CONTAINERS else load
        for code, load in ((bytes((number,)), load) for number, load in pickle._Unpickler.dispatch.items())
        if code not in _FOREIGN_OPCODES
    }

    def __init__(self, file: Any, load_storage: Callable[[Any], Any] | None, budget: Budget) -> None:
        super().__init__(file, encoding="latin1")  # names are ASCII; bytes of Python 2 must not fail to decode
        self.budget = budget
        self._load_storage = load_storage
        self._classes = _STAND_INS | {
            ("collections", "OrderedDict"): _Function(self._mapping),
            ("collections", "Counter"): _Function(self._mapping),
            ("builtins", "dict"): _Function(self._mapping),
            ("_codecs", "encode"): _Function(self._encode),
        }

    def persistent_load(self, pid: Any) -> Any:
        """A storage."""
        if self._load_storage is None:
            raise TorchFileError("is damaged: a storage where none may be; get the file again")
        return self._load_storage(pid)

    def find_class(self, module: str, name: str) -> Any:
        """What stands here for a name in the file; nothing is imported."""
        module = _OLD_HOMES.get(module, module)
        root = module.partition(".")[0]
        if (module, name) not in self._classes:
            if module in _HARMLESS_MODULES or root in _HARMLESS_ROOTS:
                harmless = name.isidentifier() and not name.startswith("_")  # a class, not a way to something below
            else:
                harmless = name in _HARMLESS_NAMES.get(module, ())
            # perhaps a class of somebody's training script
            known = root in {*sys.stdlib_module_names, "torch", "numpy"}
            foreign = not known and name.isidentifier() and name[0].isupper()
            facts = {"__slots__": (), "harmless": harmless, "foreign": foreign}
            self._classes[module, name] = type(str(name), (Inert,), facts)
        return self._classes[module, name]

    def _mapping(self, pairs: Any = ()) -> _Mapping:
        if not isinstance(pairs, list | tuple | dict):
            raise TorchFileError("is damaged: a dictionary is made of something else")
        self.budget.take(64 * len(pairs))  # about what an entry takes
        return _Mapping(pairs)

    def _encode(self, text: Any, codec: Any = "latin1") -> bytes:
        """How protocol 2 writes bytes."""
        if not isinstance(text, str) or codec not in ("latin1", "latin-1"):
            raise TorchFileError("is damaged: bytes are made of something else")
        self.budget.take(len(text))
        return text.encode("latin1")
