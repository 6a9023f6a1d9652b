"""Restores and scores the cases of a benchmark, in this process or in several."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from functools import lru_cache
from multiprocessing import connection, get_context, parent_process
from typing import TYPE_CHECKING, Any

from unhaze.errors import ImageError, UnhazeError
from unhaze.evaluation.protocols import get_protocol
from unhaze.evaluation.scoring import Scores, read_batch, score_picture
from unhaze.images.files import identify
from unhaze.restore.machine import available_memory

if TYPE_CHECKING:
    from torch import Tensor

    from unhaze.evaluation._cases import Case, Plan, Run
    from unhaze.restore.dehazer import Dehazer

__all__ = ["dehazer_of", "restored_picture", "score_cases"]

_FEWEST_FOR_POOL = 16  # a worker takes seconds to start
_SHARE_OF_MEMORY = 0.7


def score_cases(plan: Plan, cases: Sequence[Case], workers: int) -> Iterator[tuple[Case, Scores | str, float]]:
    """Each case with its scores, or with why it has none, and the seconds it took, as they come.

    Raises:
        UnhazeError: A worker died, for lack of memory as a rule.
    """
    arguments = (plan.protocol.name, plan.metrics, plan.benchmark.target_rule)
    workers = _workers_that_fit(cases, workers)
    if workers <= 1 or len(cases) < _FEWEST_FOR_POOL:
        import torch

        before = torch.get_num_threads()
        torch.set_num_threads(1)  # as in a worker: sums over several threads differ in the last bit
        try:
            for case in cases:
                yield case, *_score_case(case, *arguments)
        finally:
            torch.set_num_threads(before)
        return
    pool = ProcessPoolExecutor(min(workers, len(cases)), get_context("spawn"), _start_worker)
    try:
        futures = {pool.submit(_score_case, case, *arguments): case for case in cases}
        for future in as_completed(futures):
            yield futures[future], *future.result()
    except BrokenProcessPool as error:
        raise UnhazeError(
            "A worker died, for lack of memory as a rule; start again with fewer --jobs. What was scored is kept."
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def restored_picture(case: Case) -> Tensor:
    """The restored picture of a case, (1, 3, H, W) in [0, 1]; a model is run again.

    Raises:
        ImageError: It cannot be read or restored.
    """
    if case.result is not None:
        return read_batch(case.result.read_bytes())

    import numpy as np

    from unhaze.images.files import read_image
    from unhaze.metrics.functional import as_batch

    assert case.hazy is not None
    pixels: Any = read_image(case.hazy.read_bytes(), finite=True).pixels
    if pixels.dtype.kind != "f":
        pixels = (pixels / np.float32(np.iinfo(pixels.dtype).max)).astype(np.float32)
    return as_batch(dehazer_of(case.run)(pixels, maps=False).image)


def dehazer_of(run: Run) -> Dehazer:
    """The model of a run, ready; the last two are kept, since cases come run by run and networks are large.

    Raises:
        UsageError: There is no such model, or it has no such option.
    """
    return _dehazer(run.model, tuple(sorted(run.options.items())))


@lru_cache(maxsize=2)
def _dehazer(model: str | None, options: tuple[tuple[str, Any], ...]) -> Dehazer:
    from unhaze.restore.dehazer import Dehazer

    return Dehazer(model, threads=1, **dict(options))


def _score_case(case: Case, protocol: str, metrics: Sequence[str], target_rule: str) -> tuple[Scores | str, float]:
    started = time.perf_counter()
    scores: Scores | str
    reading = "The result"  # what a message is about, empty once all is read
    try:
        restored = restored_picture(case)
        reading = "The target"
        target = None if case.target is None else read_batch(case.target.read_bytes())
        reading = "The hazy picture"
        hazy = None if case.hazy is None else read_batch(case.hazy.read_bytes())
        reading = ""
        recipe = get_protocol(protocol)
        scores = score_picture(
            restored, target=target, hazy=hazy, protocol=recipe, metrics=metrics, target_rule=target_rule
        )
    except UnhazeError as error:
        scores = f"{reading} cannot be used: {error}" if reading and isinstance(error, ImageError) else str(error)
    except OSError as error:
        scores = f"One of its files cannot be read from the disk ({error.strerror})."
    except Exception as error:  # one picture must not end the others' run
        scores = f"Something unexpected went wrong ({type(error).__name__}: {error})."
    return scores, time.perf_counter() - started


def _workers_that_fit(cases: Sequence[Case], workers: int) -> int:
    """At most ``workers``, fewer where networks on their largest pictures would not fit into memory side by side.

    A network on a device other than the processor has that to itself.
    """
    largest: dict[str, tuple[int, Case]] = {}
    for case in cases:
        if case.run.is_network and case.hazy is not None:
            try:
                pixels = identify(case.hazy).pixels
            except (ImageError, OSError):
                pixels = 0  # damaged, which scoring will report
            if case.run.label not in largest or pixels > largest[case.run.label][0]:
                largest[case.run.label] = pixels, case
    for pixels, case in largest.values():
        dehazer, free = dehazer_of(case.run), available_memory()
        if dehazer.device != "cpu":
            return 1
        if free is not None and pixels:
            assert case.hazy is not None
            need = dehazer.memory_needed(identify(case.hazy), maps=False)
            workers = max(1, min(workers, int(_SHARE_OF_MEMORY * free) // need))
    return workers


def _start_worker() -> None:
    import cv2
    import torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which lets workers finish
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    threading.Thread(target=_leave_with_parent, daemon=True).start()


def _leave_with_parent() -> None:
    """A parent that is killed cannot stop its workers, and they would wait for work for ever."""
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)
