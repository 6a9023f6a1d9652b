"""The documentation site: what is in it, and that it asks no other host for anything."""

import re
import subprocess
import sys
from pathlib import Path

import griffe
import pytest
from mkdocs.config import load_config
from mkdocs.structure.files import get_files
from scripts.docsite import commands, figures, reference
from scripts.docsite.roles import DocstringMarkdown
from tests.docs.blocks import ROOT

from unhaze.cli._app import COMMANDS

# attributes through which a browser fetches something by itself, unlike a link that somebody clicks
FETCHED = re.compile(
    r"""<(?:script|img|iframe|source|video|audio|embed)\b[^>]*\ssrc=["']?(?:https?:)?//[^"'\s>]+"""
    r"""|<link\b(?=[^>]*\srel=["']?(?:stylesheet|preload|preconnect|dns-prefetch|modulepreload|icon))[^>]*"""
    r"""\shref=["']?(?:https?:)?//[^"'\s>]+|<object\b[^>]*\sdata=["']?https?://""",
    re.I,
)
FETCHED_BY_CSS = re.compile(r"url\(\s*[\"']?(?:https?:)?//|@import\s+(?:url\()?[\"']?(?:https?:)?//", re.I)


@pytest.fixture(scope="module")
def modules():
    return reference.public_modules(ROOT / "src/unhaze")


@pytest.fixture(scope="module")
def config():
    """The configuration with the pages that the hooks add to its navigation."""
    loaded = load_config(str(ROOT / "mkdocs.yml"))
    return loaded.plugins.on_config(loaded)


def pages_in(nav):
    """Paths of all pages in a part of the navigation."""
    parts = nav.values() if isinstance(nav, dict) else nav
    return [nav] if isinstance(nav, str) else [page for part in parts for page in pages_in(part)]


def test_every_page_of_the_navigation_exists_and_every_page_is_in_it(config):
    written = {file.src_uri for file in get_files(config).documentation_pages() if file.src_uri != "images/README.md"}
    (hooks,) = config.hooks.values()
    generated = {path for path in hooks.made() if path.endswith(".md")}
    assert not written & generated, "a generated page has the name of a written one"
    listed = pages_in(config.nav)
    assert len(listed) == len(set(listed))
    assert set(listed) == written | generated


def test_the_configuration_asks_no_other_host(config):
    assert config.theme["font"] is False
    assert config.strict
    assert not config.use_directory_urls, "pages that are opened from the disk need names of files in their links"
    assert set(config.plugins) - set(config.hooks) == {"material/search", "mkdocstrings", "autorefs"}
    assets = [*config.extra_css, *map(str, config.extra_javascript), *config.extra.get("polyfills", [])]
    assert not [asset for asset in assets if "//" in asset]


def test_patterns_of_what_a_browser_fetches():
    assert FETCHED.search('<script async src="https://cdn.example/a.js">')
    assert FETCHED.search("<link rel=stylesheet href=//fonts.example/css>")
    assert not FETCHED.search('<a href="https://creativecommons.org/"><img src="a.png">')
    assert not FETCHED.search('<link rel="canonical" href="https://example.org/">')
    assert FETCHED_BY_CSS.search("@font-face{src:url(https://example.org/a.woff)}")


def test_pictures_of_the_guides_are_drawn():
    pages = [*(ROOT / "docs/guides").glob("*.md"), ROOT / "docs/index.md"]
    wanted = {name for page in pages for name in re.findall(r"\]\((?:guides/)?figures/([^)]+)\)", page.read_text())}
    assert wanted == set(figures.FIGURES)


def test_the_scene_of_the_figures_obeys_the_model():
    made = figures.scene()
    assert made.clear.shape == (*made.depth.shape, 3)
    again = made.clear * made.transmission[..., None] + figures.AIRLIGHT * (1 - made.transmission[..., None])
    assert abs(again - made.hazy).mean() < 0.004  # the noise
    _, airlight, raw, smooth = figures.estimated()
    assert abs(airlight - figures.AIRLIGHT).max() < 0.02
    near = made.depth < 1000
    assert abs(raw - made.transmission)[near].mean() < 0.1, "what the page says of the dark channel must show"
    assert smooth.shape == made.depth.shape


def test_every_command_has_a_page_with_its_options():
    pages = commands.command_pages()
    assert [Path(page).stem for page in pages] == list(COMMANDS)
    assert "`--strength" in pages["commands/run.md"]
    assert "## unhaze models verify" in pages["commands/models.md"]
    assert all(page.startswith("# unhaze ") and "```text" in page for page in pages.values())


def test_the_reference_has_the_public_names_of_a_module(modules):
    by_name = {module.name: module for module in modules}
    assert not [name for name in by_name if not reference.is_public(name) or name.startswith("unhaze.cli")]
    page = reference.page_of(by_name["unhaze.physics.scattering"], modules)
    assert "::: unhaze.physics.scattering" in page
    assert "add_haze" in page.partition("members:")[2]
    top = reference.page_of(by_name["unhaze"], modules)
    assert re.search(r"\[`Dehazer`\]\[unhaze\.[\w.]+\.Dehazer\]", top)
    assert "[`unhaze.physics`](physics/index.md)" in top


def test_the_drawing_of_the_house_has_every_room():
    drawn = re.findall(r'id="room-(\w+)"', (ROOT / "docs/images/house.svg").read_text())
    rooms = sorted(path.parent.name for path in (ROOT / "src/unhaze").glob("*/__init__.py"))
    assert sorted(drawn) == rooms


def test_files_of_the_walks_exist():
    named = re.findall(r"`([a-z_/]+(?:\.py|/))`", (ROOT / "docs/house.md").read_text())
    missing = [name for name in named if not (ROOT / "src/unhaze" / name).exists() and not (ROOT / name).exists()]
    assert len(named) > 20
    assert not missing


SOURCE = '''
"""A room."""

__all__ = ["LIMIT", "open_door", "Door"]

# how many may enter
LIMIT = 3


class Door:
    """A door."""

    def close(self):
        """Shut it, as :meth:`close` says, see :func:`open_door` and :class:`~room.Door`; not :func:`_hidden`."""


def open_door():
    """Open a :class:`Door`.

    >>> 1 + 1
    2
    >>> for each in [1]:
    ...     print(each)
    1

    After it. :func:`elsewhere.thing`
    """


def _hidden():
    """Nothing."""
'''


@pytest.fixture
def room(tmp_path):
    (tmp_path / "room.py").write_text(SOURCE)
    extensions = griffe.load_extensions(DocstringMarkdown())
    return griffe.load("room", search_paths=[str(tmp_path)], extensions=extensions)


def test_roles_become_links_to_what_is_shown(room):
    text = room["Door.close"].docstring.value
    assert "[`close`][room.Door.close]" in text
    assert "[`open_door`][room.open_door]" in text
    assert "[`Door`][room.Door]" in text
    assert "not `_hidden`." in text
    assert "`elsewhere.thing`" in room["open_door"].docstring.value


def test_doctests_become_blocks(room):
    text = room["open_door"].docstring.value
    assert "```pycon\n>>> 1 + 1\n2\n>>> for each in [1]:\n...     print(each)\n1\n```\n" in text
    assert text.index("```\n\nAfter it.")


def test_constants_are_shown_with_what_stands_above_them(room):
    assert room["LIMIT"].docstring.value == "how many may enter"


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    """The site, built strictly: a link that leads nowhere, inside a page or a docstring, is an error."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.slow
def test_the_site_builds_and_asks_no_other_host(site):
    for path in site.rglob("*.html"):
        text = path.read_text(encoding="utf-8")
        assert not FETCHED.search(text), (path.name, FETCHED.search(text)[0])
        assert 'class="mermaid"' not in text, "the theme would load mermaid from another host"
    for path in site.rglob("*.css"):
        assert not FETCHED_BY_CSS.search(path.read_text(encoding="utf-8")), path.name
    assert (site / "search/search_index.json").stat().st_size > 100_000


@pytest.mark.slow
def test_every_public_name_has_its_place_in_the_site(site, modules):
    missing = []
    for module in modules:
        text = (site / module.page).with_suffix(".html").read_text(encoding="utf-8")
        places = set(re.findall(r'\bid="([\w.]+)"', text))
        missing += [f"{module.name}.{name}" for name in module.defined if f"{module.name}.{name}" not in places]
        for name, home in module.borrowed.items():
            there = f"#{home}" in text or f"{module.name}.{name}" in places  # a link, or its description
            missing += [] if there else [f"{module.name}.{name}"]
    assert not missing


@pytest.mark.slow
def test_no_markup_of_docstrings_is_left_over(site):
    for path in (site / "reference").rglob("*.html"):
        text = re.sub(r"<code>.*?</code>", "", path.read_text(encoding="utf-8"), flags=re.S)
        assert not re.search(r":(?:func|class|meth|mod):", text), path
        assert "<blockquote>" not in text, f"{path}: a doctest was taken for a quotation"
