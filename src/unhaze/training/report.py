"""The page that a training leaves behind: what it was, how it went, and what it shows."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Sequence
from pathlib import Path

from unhaze.images.atomic import atomic_output
from unhaze.images.manifest import read_report

__all__ = ["write_report"]

_WIDTH, _HEIGHT, _EDGE = 640, 200, 36
_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222}"
    "svg{background:#fafafa;width:100%;height:auto}td,th{text-align:left;padding:.15rem .8rem .15rem 0}"
    "img{max-width:100%}pre{background:#f4f4f4;padding:1rem;overflow:auto}"
)


def write_report(run: str | Path, title: str) -> Path:
    """Write ``report.html`` into the folder of a run: one file that needs nothing else.

    Args:
        run: Folder with ``config.json``, ``log.jsonl`` and perhaps ``strips``.
        title: Heading.

    Returns:
        Path of the page.

    Raises:
        OutputError: It cannot be written.
    """
    run = Path(run)
    lines = list(read_report(run / "log.jsonl"))
    facts = json.loads((run / "config.json").read_text("utf-8"))
    # scores first, then the loss, then the rest
    names = sorted(
        {name for line in lines for name in line} - {"step"},
        key=lambda name: (not name.startswith("val_"), name != "loss", name),
    )
    curves: dict[str, list[tuple[int, float]]] = {}
    for name in names:
        points = [(line["step"], float(line[name])) for line in lines if isinstance(line.get(name), int | float)]
        if len(points) > 1:
            curves[name] = points
    newest = {name: value for line in lines for name, value in line.items()}
    table = {**facts["data"], **facts["versions"], "threads": facts["threads"], **newest}
    rows = (f"<tr><th>{html.escape(str(k))}</th><td>{html.escape(str(v))}</td></tr>" for k, v in table.items())
    body = [
        f"<h1>{html.escape(title)}</h1>",
        f"<table>{''.join(rows)}</table>",
        *(f"<h2>{html.escape(name)}</h2>{_curve(points, name)}" for name, points in curves.items()),
        *_pictures(run),
        f"<h2>Settings</h2><pre>{html.escape(json.dumps(facts['config'], indent=1))}</pre>",
    ]
    page = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f"<title>{html.escape(title)}</title><style>{_STYLE}</style></head><body>{''.join(body)}</body></html>"
    )
    with atomic_output(run / "report.html", overwrite=True) as temporary:
        temporary.write_text(page, "utf-8")
    return run / "report.html"


def _curve(points: Sequence[tuple[int, float]], name: str) -> str:
    """Values over steps as SVG, with the ends of both axes written out."""
    steps, values = [step for step, _ in points], [value for _, value in points]
    low, high = min(values), max(values)
    across, up = max(1, steps[-1] - steps[0]), (high - low) or 1.0
    path = " ".join(
        f"{_EDGE + (step - steps[0]) / across * (_WIDTH - 2 * _EDGE):.1f},"
        f"{_HEIGHT - 24 - (value - low) / up * (_HEIGHT - 48):.1f}"
        for step, value in points
    )
    label = f"{name} from {values[0]:.4g} at step {steps[0]} to {values[-1]:.4g} at step {steps[-1]}"
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{html.escape(label)}">'
        f'<polyline points="{path}" fill="none" stroke="#1f6f8b" stroke-width="1.5"/>'
        f'<text x="4" y="20" font-size="12">{high:.4g}</text><text x="4" y="{_HEIGHT - 26}" font-size="12">{low:.4g}'
        f'</text><text x="{_EDGE}" y="{_HEIGHT - 6}" font-size="12">step {steps[0]}</text>'
        f'<text x="{_WIDTH - 4}" y="{_HEIGHT - 6}" font-size="12" text-anchor="end">step {steps[-1]}</text></svg>'
    )


def _pictures(run: Path) -> list[str]:
    """The last strip of validation samples, and that of their depth where there is one."""
    strips = sorted((run / "strips").glob("*.png"))
    shown = [path for path in strips if not path.stem.endswith("-depth")][-1:]
    shown += [path for path in strips if path.stem.endswith("-depth")][-1:]
    written = []
    for path in shown:
        depth = path.stem.endswith("-depth")
        what = "hazy, restored, clear, and below them the depth of each" if depth else "hazy, restored, clear"
        alt, data = f"Validation samples: {what} ({path.stem})", base64.b64encode(path.read_bytes()).decode()
        written.append(f'<h2>{alt}</h2><img alt="{alt}" src="data:image/png;base64,{data}">')
    return written
