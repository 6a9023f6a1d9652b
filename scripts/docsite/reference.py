"""Pages of the reference, one a module, from the package as it stands: no list of modules is kept anywhere."""

from __future__ import annotations

import ast
from dataclasses import dataclass, field
from pathlib import Path

LEFT_OUT = ("cli", "__main__")  # commands have pages of their own, made from their help
FOLDER = "reference"


@dataclass(frozen=True)
class Module:
    """A public module or package.

    Attributes:
        name: Dotted, such as ``unhaze.physics.scattering``.
        path: The source file.
        summary: First sentence of its docstring.
        defined: Public names that are defined here.
        borrowed: Public names that are imported from elsewhere, and the dotted name of where they are defined.
        told: First sentence of the docstring of each class and function that is defined here.
    """

    name: str
    path: Path
    summary: str
    defined: tuple[str, ...]
    borrowed: dict[str, str] = field(default_factory=dict)
    told: dict[str, str] = field(default_factory=dict)

    @property
    def is_package(self) -> bool:
        """Whether other modules are in it."""
        return self.path.name == "__init__.py"

    @property
    def page(self) -> str:
        """Path of its page below the documentation folder."""
        parts = self.name.split(".")
        return "/".join([FOLDER, *parts[1:], "index.md"] if self.is_package else [FOLDER, *parts[1:]]) + (
            "" if self.is_package else ".md"
        )


def is_public(name: str) -> bool:
    """Whether no part of a dotted name begins with an underscore."""
    return not any(part.startswith("_") for part in name.split("."))


def public_modules(package: Path) -> list[Module]:
    """Every public module below a package's folder, the package itself first, packages before what is in them."""
    found = []
    for path in sorted(package.rglob("*.py"), key=lambda each: (each.parent.parts, each.name != "__init__.py", each)):
        parts = path.relative_to(package.parent).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        if is_public(name) and parts[1] not in LEFT_OUT:
            found.append(_read(name, path))
    return found


def _read(name: str, path: Path) -> Module:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    named, here, imported, told = None, [], {}, {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            imported |= {each.asname or each.name: f"{node.module}.{each.name}" for each in node.names}
    for node in tree.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            here.append(node.name)
            told[node.name] = _first_sentence(ast.get_docstring(node) or "")
        for target in node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]:
            if isinstance(target, ast.Name):
                here.append(target.id)
                if target.id == "__all__" and isinstance(node, ast.Assign):
                    named = ast.literal_eval(node.value)
    public = here if named is None else named
    public = [each for each in dict.fromkeys(public) if not each.startswith("_")]
    return Module(
        name,
        path,
        _first_sentence(ast.get_docstring(tree) or ""),
        tuple(each for each in public if each in here),
        {each: imported[each] for each in public if each not in here and each in imported},
        told,
    )


def _first_sentence(text: str) -> str:
    return " ".join(text.strip().partition("\n\n")[0].split())


def page_of(module: Module, modules: list[Module]) -> str:
    """Markdown of a module's page, for mkdocstrings to fill."""
    own = list(module.defined)
    # what other modules define is described there, unless nobody could find it there
    homes = {name: home for name, home in module.borrowed.items() if is_public(home)}
    own += [name for name in module.borrowed if name not in homes]
    lines = _directive(module.name, own)
    if homes:
        lines += ["", "## Names from the modules below" if module.name != "unhaze" else "## Names", ""]
        told = {f"{each.name}.{name}": text for each in modules for name, text in each.told.items()}
        lines += ["| name | what |", "| --- | --- |"]
        for name, home in sorted(homes.items(), key=lambda each: each[0].lower()):
            lines.append(f"| [`{name}`][{home}] | {cell(told.get(home, ''))} |")
    inside = [each for each in modules if each.name.rpartition(".")[0] == module.name]
    if module.is_package and inside:
        lines += ["", "## Modules", "", "| module | what |", "| --- | --- |"]
        for each in inside:
            target = each.page.removeprefix(module.page.removesuffix("index.md"))
            lines.append(f"| [`{each.name}`]({target}) | {cell(each.summary)} |")
    return "\n".join(lines) + "\n"


def cell(text: str) -> str:
    """A sentence of a docstring for a cell of a table: Sphinx roles become mere code."""
    from .roles import ROLE

    text = ROLE.sub(lambda match: f"`{(match['long'] or match['target']).lstrip('~').rpartition('.')[2]}`", text)
    return text.replace("|", "\\|")


def _directive(name: str, members: list[str]) -> list[str]:
    chosen = "[" + ", ".join(members) + "]" if members else "false"
    return [f"::: {name}", "    options:", f"      members: {chosen}"]


def nav_of(modules: list[Module]) -> list[object]:
    """The reference as a tree for the navigation."""

    def entry(module: Module) -> object:
        short = module.name.rpartition(".")[2]
        inside = [entry(each) for each in modules if each.name.rpartition(".")[0] == module.name]
        return {short: [module.page, *inside]} if module.is_package else {short: module.page}

    top = modules[0]
    return [top.page, *(entry(each) for each in modules[1:] if each.name.count(".") == 1)]
