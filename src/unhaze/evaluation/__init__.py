"""Scores that can be trusted: named protocols, benchmarks with provenance, tables beside reported figures.

:mod:`~unhaze.evaluation.protocols`, :mod:`~unhaze.data.pairing`, :mod:`~unhaze.evaluation.reported` and
:mod:`~unhaze.evaluation.statistics` need no torch; scoring does.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

# public name -> module that defines it; loaded on first use, because scoring needs torch and protocols do not
_HOME = {
    "Benchmark": "benchmark",
    "Protocol": "protocols",
    "Run": "benchmark",
    "analyze": "report",
    "compare_paired": "statistics",
    "get_protocol": "protocols",
    "list_protocols": "protocols",
    "plan_benchmark": "benchmark",
    "reported_figures": "reported",
    "run_benchmark": "benchmark",
    "score_picture": "scoring",
    "summarize": "statistics",
    "write_report": "report",
}

__all__ = [
    "Benchmark",
    "Protocol",
    "Run",
    "analyze",
    "compare_paired",
    "get_protocol",
    "list_protocols",
    "plan_benchmark",
    "reported_figures",
    "run_benchmark",
    "score_picture",
    "summarize",
    "write_report",
]

if TYPE_CHECKING:
    from unhaze.evaluation.benchmark import Benchmark, Run, plan_benchmark, run_benchmark
    from unhaze.evaluation.protocols import Protocol, get_protocol, list_protocols
    from unhaze.evaluation.report import analyze, write_report
    from unhaze.evaluation.reported import reported_figures
    from unhaze.evaluation.scoring import score_picture
    from unhaze.evaluation.statistics import compare_paired, summarize


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'unhaze.evaluation' has no attribute {name!r}")
    return getattr(import_module(f"unhaze.evaluation.{_HOME[name]}"), name)
