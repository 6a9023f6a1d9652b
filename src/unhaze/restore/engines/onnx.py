"""Running the ONNX file of a trained method, with OpenVINO where that is installed, else with onnxruntime.

Both give the same numbers to 1e-5 or better: OpenVINO is held to float32, because its own choice on processors with
bfloat16 is a hundred times less precise. Neither is imported before a picture is to be dehazed.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Lock
from typing import TYPE_CHECKING, Any, Protocol

from unhaze.errors import MissingDependencyError, MissingError, OverBudgetError, UnknownNameError, WeightsError
from unhaze.restore.engines._prepared import kept_place, open_session
from unhaze.restore.machine import usable_cores

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    FloatArray = NDArray[np.float32]

__all__ = [
    "ENGINES",
    "ENGINE_VARIABLE",
    "PROVIDERS",
    "EngineInfo",
    "OnnxEngine",
    "close_engines",
    "import_onnxruntime",
    "import_openvino",
    "installed_engines",
    "resolve_engine",
]

PROVIDERS = {
    "cuda": ("CUDAExecutionProvider",),
    "tensorrt": ("TensorrtExecutionProvider", "CUDAExecutionProvider"),
    "coreml": ("CoreMLExecutionProvider",),
    "directml": ("DmlExecutionProvider",),
}
"""Engines that are parts of onnxruntime for one kind of device, and the parts they stand for, the best first."""

ENGINES = ("auto", "onnxruntime", "openvino", *PROVIDERS)
ENGINE_VARIABLE = "UNHAZE_ENGINE"  # what auto means, for all commands and programs of a machine

_PREFERRED = ("openvino", "onnxruntime")
_FREE_SIDE = 64  # a multiple of what the default asks for
_CPU = "CPUExecutionProvider"
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """What runs a network.

    Attributes:
        name: ``"onnxruntime"`` or ``"openvino"``.
        version: Version of the package.
        provider: The part of it that does the arithmetic, and its precision where there is a choice.

    >>> print(EngineInfo("onnxruntime", "1.31.1", "CPUExecutionProvider"))
    onnxruntime 1.31.1 (CPUExecutionProvider)
    """

    name: str
    version: str
    provider: str

    def __str__(self) -> str:
        return f"{self.name} {self.version} ({self.provider})"


def installed_engines() -> list[str]:
    """Names of the engines that are installed, the one that ``"auto"`` takes first."""
    return [name for name in _PREFERRED if find_spec(name) is not None]


def resolve_engine(name: str = "auto") -> str:
    """The engine that ``name`` stands for; nothing is imported.

    ``"auto"`` is what the environment variable ``UNHAZE_ENGINE`` says, else the best one that is installed.

    Raises:
        UnknownNameError: There is no such engine.
        MissingDependencyError: It is not installed.
    """
    if name == "auto":
        name = os.environ.get(ENGINE_VARIABLE) or "auto"
    if name not in ENGINES:
        raise UnknownNameError("engine", name, ENGINES)
    if name == "auto":
        name = next((each for each in _PREFERRED if find_spec(each) is not None), "onnxruntime")
    package = "onnxruntime" if name in PROVIDERS else name
    if find_spec(package) is not None:
        return name
    purpose = "run the trained network"
    if package == "openvino":
        raise MissingDependencyError(package, "openvino", f"{purpose} with it")
    raise MissingError(
        f"{package} is needed to {purpose}; install it with: pip install {package}, "
        "or use a method without a network, such as dcp."
    )


def import_onnxruntime() -> Any:
    """The package onnxruntime, without its telemetry.

    It would report to its maker, and keep an id in the folder of temporary files, unless this variable of the
    environment says otherwise when it is loaded; who sets it decides.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    return import_module("onnxruntime")


def import_openvino() -> Any:
    """The package openvino, without its telemetry.

    Its converter, which nothing here uses, would write a client id into the home folder on import, and may report to
    its maker. Where the package for that is missing it does without.
    """
    telemetry = "openvino_telemetry"
    if telemetry in sys.modules or "openvino" in sys.modules:
        return import_module("openvino")
    sys.modules[telemetry] = None  # type: ignore[assignment]  # how Python marks a module as not importable
    try:
        return import_module("openvino")
    finally:
        del sys.modules[telemetry]


class OnnxEngine:
    """An ONNX file, ready to run; opened at the first use. Any thread may call it.

    Args:
        weights: The file; for OpenVINO also one of its own, ``.xml``.
        engine: One of :data:`ENGINES`. Where a part of onnxruntime is not there, the next best is taken, and logged.
        threads: Processor cores for one call; default all that this process may use.
        side: A side that inputs of free size can have [px].

    Raises:
        UnknownNameError: There is no such engine.
        MissingDependencyError: It is not installed.
    """

    def __init__(
        self, weights: Path, *, engine: str = "auto", threads: int | None = None, side: int = _FREE_SIDE
    ) -> None:
        self.name = resolve_engine(engine)
        self._side = side
        self._is_choice_free = engine == "auto" and not os.environ.get(ENGINE_VARIABLE)
        self._weights, self._threads = weights, threads or usable_cores()
        self._lock = Lock()
        self._open: Session | None = None

    @property
    def info(self) -> EngineInfo:
        """What runs the file; opens it, as :meth:`open` does."""
        return self.open().info

    def run(self, **inputs: FloatArray) -> Mapping[str, FloatArray]:
        """The outputs of the network by name, for its inputs by name.

        Raises:
            MissingError: The engine is installed but does not work.
            OverBudgetError: Memory did not suffice.
            WeightsError: The file cannot be run on these inputs.
        """
        session = self._open or self.open()
        try:
            return dict(zip(session.outputs, session.infer(inputs), strict=True))
        except Exception as error:  # the engines have no base class of their own
            reason = _reason(error)
            if isinstance(error, MemoryError) or "alloc" in reason:
                raise OverBudgetError(
                    f"Memory did not suffice to run {self._weights.name}; make the picture smaller, or do less at once."
                ) from error
            raise WeightsError(
                f"{self._weights} cannot be run on what it was given ({reason}); export it again."
            ) from error

    def open(self) -> Session:
        """Make the file ready to run, at the first call.

        Raises:
            MissingError: The engine is installed but does not work.
        """
        with self._lock:
            if self._open is not None:
                return self._open
            # who did not ask for OpenVINO shall not fail by a broken one
            others = [each for each in _PREFERRED if each != self.name] if self._is_choice_free else []
            failures: dict[str, Exception] = {}
            for name in (self.name, *others):
                if failures and find_spec(name) is None:
                    continue
                try:
                    status = self._weights.stat()
                    what = (name, self._weights, self._threads, self._side)
                    with _OPENING:
                        # while the file is the same the session is: opening takes longer than running
                        key = (*what, status.st_size, status.st_mtime_ns)
                        self._open = _SESSIONS.pop(key, None) or _OPENERS[name](*what[1:])
                        _SESSIONS[key] = self._open  # as the one used last
                        while len(_SESSIONS) > _MOST_SESSIONS:
                            del _SESSIONS[next(iter(_SESSIONS))]
                except Exception as error:  # whatever a broken installation may raise
                    failures[name] = error
                else:
                    self.name = name
                    return self._open
        reason = "; ".join(f"{name}: {_reason(error)}" for name, error in failures.items())
        raise MissingError(
            f"The network {self._weights.name} cannot be run ({reason}); install {self.name} again, "
            "or use a method without a network, such as dcp."
        ) from failures[self.name]


class Session(Protocol):
    """A file that an engine has opened.

    Attributes:
        info: What runs it.
        outputs: Names of what it gives.
        infer: From the inputs by name to the outputs in their order. Any thread may call it.
    """

    info: EngineInfo
    outputs: list[str]

    def infer(self, inputs: Mapping[str, FloatArray], /) -> Sequence[FloatArray]: ...


class _OnnxRuntime:
    def __init__(self, weights: Path, threads: int, side: int, wanted: Sequence[str] = ()) -> None:
        onnxruntime = import_onnxruntime()
        there = onnxruntime.get_available_providers()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 4  # what goes wrong is raised
        options.enable_cpu_mem_arena = False  # it keeps the most that any call has needed
        # idle workers that spin would take the cores from the pixels
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        providers = [*(each for each in wanted if each in there), _CPU]
        if providers == [_CPU]:
            session = open_session(weights, kept_place(weights, onnxruntime.__version__), options, providers)
        else:
            session = onnxruntime.InferenceSession(str(weights), options, providers=providers)
        self.outputs = [output.name for output in session.get_outputs()]
        self.infer: Callable[[Mapping[str, FloatArray]], Sequence[FloatArray]] = partial(session.run, None)
        self.info = EngineInfo("onnxruntime", onnxruntime.__version__, session.get_providers()[0])
        if wanted and self.info.provider != wanted[0]:
            _log.warning(
                f"{wanted[0]} is not there or does not work in onnxruntime {onnxruntime.__version__}, which has "
                f"{', '.join(there)}; {weights.name} runs with {self.info.provider}."
            )


class _OpenVino:
    def __init__(self, weights: Path, threads: int, side: int) -> None:
        import numpy as np

        openvino = import_openvino()
        # so many calls may be under way at once without waiting for one another
        streams = max(1, usable_cores() // threads)
        settings = {
            "INFERENCE_PRECISION_HINT": "f32",
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": threads * streams,
            "NUM_STREAMS": streams,
            "ENABLE_CPU_PINNING": False,  # pinned threads would keep the cores from the pixels
        }
        core = openvino.Core()
        self._model = core.compile_model(core.read_model(str(weights)), "CPU", settings)
        self.outputs = [output.get_any_name() for output in self._model.outputs]
        # A request serves one call at a time. They are not kept by thread: one that dies with a thread while the
        # program ends takes the program down.
        self._idle: SimpleQueue[Any] = SimpleQueue()
        precision = self._model.get_property("INFERENCE_PRECISION_HINT").get_type_name()
        (device, *_) = self._model.get_property("EXECUTION_DEVICES")
        # its binding locks up where its first calls come from several threads at once
        shapes = {each.get_any_name(): each.get_partial_shape() for each in self._model.inputs}
        self.infer(
            {
                name: np.zeros([side if length.is_dynamic else length.get_length() for length in shape], np.float32)
                for name, shape in shapes.items()
            }
        )
        self.info = EngineInfo("openvino", openvino.__version__.partition("-")[0], f"{device}, {precision}")

    def infer(self, inputs: Mapping[str, FloatArray]) -> Sequence[FloatArray]:
        try:
            request = self._idle.get_nowait()
        except Empty:
            request = self._model.create_infer_request()
        results = request.infer(dict(inputs))
        outputs = [results[index].copy() for index in range(len(self.outputs))]  # its buffers serve again
        self._idle.put(request)
        return outputs


_OPENERS: dict[str, Callable[[Path, int, int], Session]] = {
    "onnxruntime": _OnnxRuntime,
    "openvino": _OpenVino,
    **{name: partial(_OnnxRuntime, wanted=wanted) for name, wanted in PROVIDERS.items()},
}
_MOST_SESSIONS = 4
_SESSIONS: dict[tuple[Any, ...], Session] = {}  # by what was asked for and the state of the file, as used
_OPENING = Lock()  # of whoever reads or changes them


def close_engines() -> None:
    """Forget the engines that were opened; each is freed with the last model that uses it, and opened again on use."""
    with _OPENING:
        _SESSIONS.clear()


def _reason(error: Exception) -> str:
    """The line of an error that says what is wrong; OpenVINO begins with where in its code that was noticed."""
    lines = [line.strip() for line in str(error).splitlines()]
    said = [line for line in lines if line and not line.startswith(("Exception from ", "Check '"))]
    return (said or [type(error).__name__])[0][:300].rstrip(".")
