"""Hooks of mkdocs: what is not written by hand is made here and added to the site.

Reference pages come from the package, command pages from the help of the commands, figures from unhaze itself, and two
pages from files at the root of the repository. Nothing is written into the documentation folder.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from docsite import commands, figures, reference
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
FROM_ROOT = {"contributing.md": "CONTRIBUTING.md", "changelog.md": "CHANGELOG.md"}
NOT_PAGES = re.compile(r"\]\((?!https?:|#|docs/|CONTRIBUTING\.md|CHANGELOG\.md)([^)]+)\)")


def on_config(config: Any) -> Any:
    """Add the generated pages to the navigation."""
    modules = reference.public_modules(ROOT / "src" / "unhaze")
    for entry in config["nav"]:
        if "Commands" in entry:
            entry["Commands"] += [{Path(page).stem: page} for page in commands.command_pages()]
        if "Reference" in entry:
            entry["Reference"] += reference.nav_of(modules)
    return config


def on_files(files: Files, config: Any) -> Files:
    """Add the generated pages and pictures."""
    for path, make in made().items():
        files.append(File.generated(config, path, content=make()))
    return files


def made() -> dict[str, Callable[[], str | bytes]]:
    """Everything that is generated: path below the documentation folder -> what makes its content."""
    modules = reference.public_modules(ROOT / "src" / "unhaze")
    pages: dict[str, Callable[[], str | bytes]] = {
        module.page: partial(reference.page_of, module, modules) for module in modules
    }
    pages |= {page: partial(str, text) for page, text in commands.command_pages().items()}
    pages |= {page: partial(from_root, name) for page, name in FROM_ROOT.items()}
    return pages | {f"{figures.FOLDER}/{name}": draw for name, draw in figures.FIGURES.items()}


def from_root(name: str) -> str:
    """A page at the root of the repository, its links as they are within the site."""
    text = (ROOT / name).read_text(encoding="utf-8")
    text = NOT_PAGES.sub("]", text)  # source files are no part of the site: the name stays, without a link
    text = text.replace("](docs/", "](").replace("](CONTRIBUTING.md", "](contributing.md")
    return text.replace("](CHANGELOG.md", "](changelog.md")
