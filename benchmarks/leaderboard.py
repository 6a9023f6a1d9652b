"""Every model whose weights exist on the same held-out pictures: a table of figures, and the page made of it.

    python benchmarks/leaderboard.py --data DATA --weights WEIGHTS --pictures 3   # measures, writes table and page
    python benchmarks/leaderboard.py                                             # writes the page from the table

``WEIGHTS`` holds what the weights cards name, under the file names of ``MODELS``; a model whose file is not there keeps
the row it has. Pictures, splits and haze are those of ``benchmarks/default.py``, of which every source gives the same
evenly spaced few to every model. Each model runs in a process of its own with one thread.
"""

from __future__ import annotations

import argparse
import json
import pickle
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
TABLE, PAGE = HERE / "leaderboard.json", HERE.parent / "docs" / "leaderboard.md"
# name in the table: model, file of weights ("" where they ship or none are needed)
MODELS = {
    "nothing": ("", ""),
    "dcp": ("dcp", ""),
    "cap": ("cap", ""),
    "bccr": ("bccr", ""),
    "field-m (default)": ("field-m", ""),
    "AOD-Net": ("aodnet-base", "aodnet.pth"),
    "GCANet": ("gcanet-base", "gcanet.pth"),
    "MAXIM-2S indoor": ("maxim-2s", "maxim-indoor.safetensors"),
    "MAXIM-2S outdoor": ("maxim-2s", "maxim-outdoor.safetensors"),
}
PAIRED = {
    "SOTS/ITS": "SOTS and ITS samples",
    "rooms": "rooms of other places",
    "kitchen": "a kitchen",
    "road": "a drive",
}
REAL = {"real_hazy": "photographs in haze", "real_fog": "pictures in fog"}
MEASURES = ("FADE", "NIQE", "ring", "L*")


def prepare(data: Path, count: int, longest: int) -> dict[str, Any]:
    """Pairs and photographs, ``count`` of each source, as ``benchmarks/default.py`` makes them."""
    import numpy as np

    sys.path.insert(0, str(HERE))
    import default as study

    def spread(items: list[Any]) -> list[Any]:
        kept = np.linspace(0, len(items) - 1, min(count, len(items))).round().astype(int)
        return [items[i] for i in kept]

    sources = (("SOTS/ITS", study.reside), ("rooms", study.rooms), ("kitchen", study.kitchen), ("road", study.road))
    photographs = study.photographs(data)
    return {
        "pairs": {title: [(pair.hazy, pair.clear) for pair in spread(list(source(data)))] for title, source in sources},
        "real": {folder: [study.fit(each, longest) for _, each in spread(photographs[folder])] for folder in REAL},
    }


def measure(name: str, pictures: dict[str, Any], weights: Path) -> dict[str, Any]:
    """The row of one model, measured in this process."""
    import numpy as np
    import torch

    sys.path.insert(0, str(HERE))
    import default as study
    from unhaze import Dehazer

    torch.set_num_threads(1)
    model, file = MODELS[name]
    chosen: dict[str, Any] = {"threads": 1}
    if file:
        chosen |= {"weights": weights / file, "device": "cpu"}
    seconds: list[float] = []

    def run(dehazer: Dehazer | None, hazy: study.Image) -> study.Image:
        if dehazer is None:
            return hazy
        started = time.perf_counter()
        restored = np.asarray(dehazer(hazy).image)
        seconds.append((time.perf_counter() - started) / hazy.shape[0] / hazy.shape[1] * 1e6)
        return restored

    # what is compared with a clear picture must not be brighter than the light that was in it
    measured = Dehazer(model, keep_exposure=0.0, **chosen) if model else None
    usual = Dehazer(model, **chosen) if model else None
    outcome = {title: [run(measured, hazy) for hazy, _ in each] for title, each in pictures["pairs"].items()}
    judged = {folder: [run(usual, hazy) for hazy in each] for folder, each in pictures["real"].items()}
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    row: dict[str, Any] = {"model": model, "pairs": {}, "real": {}}
    for title, each in pictures["pairs"].items():
        scores = [study.compare(after, clear) for after, (_, clear) in zip(outcome[title], each, strict=True)]
        row["pairs"][title] = {
            "pictures": len(scores),
            "PSNR": round(statistics.fmean(score.psnr for score in scores), 2),
            "SSIM": round(statistics.fmean(score.ssim for score in scores), 4),
        }
    for folder, hazes in pictures["real"].items():
        found = [study.judge(after, hazy) for after, hazy in zip(judged[folder], hazes, strict=True)]
        means = {key: statistics.fmean(each[key] for each in found if key in each) for key in MEASURES}
        row["real"][folder] = {"pictures": len(found)} | {key: round(value, 3) for key, value in means.items()}
    if model:
        row["seconds per megapixel"] = round(statistics.median(seconds), 2)
        row["peak memory MiB"] = round(memory)
    return row


def page(table: dict[str, Any]) -> str:
    """The page of the documentation, from the table and the figures that papers report."""
    from unhaze.evaluation.reported import reported_figures

    rows: dict[str, dict[str, Any]] = table["rows"]
    lacking = [name for name in MODELS if name not in rows]
    some = next(iter(rows.values()))
    told = [f"{each['pictures']} of {PAIRED[key]}" for key, each in some["pairs"].items()]
    told += [f"{each['pictures']} {REAL[key]}" for key, each in some["real"].items()]
    lines = [
        "# Leaderboard",
        "",
        "<!-- made by `python benchmarks/leaderboard.py`; edit the program, not this page -->",
        "",
        "Every model that runs here with weights that exist, on the same pictures, none of which the default was",
        "trained on. `python benchmarks/leaderboard.py --data DATA --weights WEIGHTS` measures them and writes this",
        "page.",
        "",
        "GCANet and MAXIM were trained on the haze of RESIDE: the first column is where they are at home. Hold the",
        "others against it.",
        "",
        *([f"Not measured on these pictures yet: {', '.join(lacking)}.", ""] if lacking else []),
        "## Measured here: pictures with ground truth",
        "",
        "PSNR [dB] / SSIM (Gaussian window, per channel), higher is better.",
        "",
        "| model | " + " | ".join(PAIRED.values()) + " |",
        "|---|" + "---|" * len(PAIRED),
    ]
    for name, row in rows.items():
        cells = [f"{row['pairs'][key]['PSNR']:.2f} / {row['pairs'][key]['SSIM']:.3f}" for key in PAIRED]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    lines += [
        "",
        "## Measured here: real photographs, no ground truth",
        "",
        "FADE and NIQE, lower is better; ring, false edges in fog and sky, below .1 nobody sees them; L\\*, change of",
        "lightness, near 0 keeps the brightness. See [metrics](metrics.md).",
        "",
        "| model | " + " | ".join(f"{title}: {key}" for title in REAL.values() for key in _shown()) + " |",
        "|---|" + "---|" * (len(REAL) * len(MEASURES)),
    ]
    for name, row in rows.items():
        cells = [f"{row['real'][folder][key]:.2f}" for folder in REAL for key in MEASURES]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    lines += [
        "",
        "## Measured here: time and memory",
        "",
        "Median seconds per megapixel on one thread, and the peak memory of the process, libraries and the pictures of",
        f"the measurement included. {table['machine']}",
        "",
        "| model | s per megapixel | peak memory [MiB] |",
        "|---|---|---|",
    ]
    for name, row in rows.items():
        if "seconds per megapixel" in row:
            lines.append(f"| {name} | {row['seconds per megapixel']:.2f} | {row['peak memory MiB']} |")
    lines += [
        "",
        "## The pictures",
        "",
        f"{'; '.join(told)}.",
        "",
        f"Photographs are at most {table['longest']} px long. Rooms and kitchen are hazed by the",
        "recipe of RESIDE with sensor depth, the drive with ground-plane depth, as in `benchmarks/default.py`. So few",
        "pictures tell differences of several dB, not of tenths.",
        "",
        "## Reported by papers, not measured here",
        "",
        "Over whole data sets, by the authors' own programs: not comparable with the columns above.",
        "",
    ]
    shown = [("sots-indoor", "psnr"), ("sots-outdoor", "psnr"), ("rtts", "fade"), ("urhi", "fade"), ("fattal", "fade")]
    figures: dict[tuple[str, str], dict[tuple[str, str], str]] = {}
    for dataset, metric in shown:
        for figure in reported_figures(dataset=dataset, metric=metric):
            if figure.table.id in ("dcmpnet-1", "bilalora-2"):
                key = (figure.row.method, f"{figure.table.paper.label}, Table {figure.table.number}")
                figures.setdefault(key, {})[dataset, metric] = figure.printed
    lines.append("| method (reported) | source | " + " | ".join(f"{d} {m.upper()}" for d, m in shown) + " |")
    lines.append("|---|---|" + "---|" * len(shown))
    for (method, source), cells_of in figures.items():
        lines.append(f"| {method} | {source} | " + " | ".join(cells_of.get(each, "–") for each in shown) + " |")
    return "\n".join(lines) + "\n"


def _shown() -> tuple[str, ...]:
    return tuple(key.replace("*", "\\*") for key in MEASURES)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, help="pictures, as benchmarks/default.py takes them; none: page only")
    parser.add_argument("--weights", type=Path, default=Path("weights"), help="folder of the files that MODELS names")
    parser.add_argument("--pictures", type=int, default=3, help="of each source; all models get the same")
    parser.add_argument("--longest", type=int, default=512, help="long side of the photographs [px]")
    parser.add_argument("--machine", default="", help="a sentence on the machine, for the page")
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=list(MODELS), metavar="MODEL")
    parser.add_argument("--table", type=Path, default=TABLE)
    parser.add_argument("--page", type=Path, default=PAGE)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        print(json.dumps(measure(given.one, pickle.loads(sys.stdin.buffer.read()), given.weights)))
        return
    table = json.loads(given.table.read_text("utf-8")) if given.table.exists() else {"rows": {}}
    pictures = pickle.dumps(prepare(given.data, given.pictures, given.longest)) if given.data else b""
    for name in given.models if given.data else ():
        file = MODELS[name][1]
        if file and not (given.weights / file).is_file():
            print(f"{name} is left as it is: there is no {given.weights / file}.", file=sys.stderr)
            continue
        command = [sys.executable, __file__, "--weights", str(given.weights), "--one", name]
        done = subprocess.run(command, input=pictures, check=True, stdout=subprocess.PIPE)
        row = json.loads(done.stdout.splitlines()[-1])
        rows = table["rows"] | {name: row}
        table = {"machine": given.machine or table.get("machine", ""), "longest": given.longest}
        table["rows"] = {each: rows[each] for each in MODELS if each in rows}
        given.table.write_text(json.dumps(table, indent=1) + "\n", "utf-8")
        print(name, json.dumps(row), file=sys.stderr, flush=True)
    given.page.write_text(page(table), "utf-8")


if __name__ == "__main__":
    main()
