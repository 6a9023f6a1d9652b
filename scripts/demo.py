"""Dehaze real photographs and leave before/after pictures to look at.

    python scripts/demo.py --output demo [PICTURE_OR_FOLDER ...]

Mountains in real haze, and two sample photographs that scikit-learn carries and ``unhaze synth`` hazes first; pictures
and folders given on the command line are dehazed besides.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from importlib.resources import as_file, files
from pathlib import Path

SAMPLES = ("china.jpg", "flower.jpg")
HAZY = Path(__file__).parents[1] / "docs/images/aitzgorri.jpg"  # a real one, by Aitzol Berasategi, CC BY 4.0


def unhaze(*arguments: str | Path) -> int:
    """Run the command line and show what is run."""
    command = ["unhaze", *map(str, arguments)]
    print("$", *command, flush=True)
    return subprocess.run([sys.executable, "-m", *command], check=False).returncode


def copy_samples(folder: Path) -> None:
    """Put the sample photographs into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in SAMPLES:
        with as_file(files("sklearn.datasets.images") / name) as sample:
            shutil.copy(sample, folder / name)


def main() -> int:
    """Make the pictures; 0 if all went well."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("demo"))
    parser.add_argument("pictures", nargs="*")
    options = parser.parse_args()
    clear, hazy, restored = (options.output / name for name in ("clear", "hazy", "restored"))
    copy_samples(clear)
    status = unhaze("synth", clear, "-o", hazy, "--beta", "0.01", "--patchy", "0.3", "--seed", "1", "--overwrite")
    status |= unhaze(
        "run", hazy, HAZY, *options.pictures, "-o", restored, "--compare", "--overwrite",
        "--report", options.output / "report.jsonl",
    )  # fmt: skip
    if status == 0:
        print("\nBefore and after:", *sorted(map(str, restored.rglob("*-compare.jpg"))), sep="\n  ")
    return status


if __name__ == "__main__":
    sys.exit(main())
