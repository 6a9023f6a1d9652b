"""A page for each command, from the help that the command itself prints."""

from __future__ import annotations

from typing import Any

FOLDER = "commands"


def command_pages() -> dict[str, str]:
    """Path below the documentation folder -> Markdown, one page a command, in the order of ``unhaze --help``."""
    import typer

    from unhaze.cli import app

    root: Any = typer.main.get_command(app)
    context = root.make_context("unhaze", [], resilient_parsing=True)
    pages = {}
    for name in root.list_commands(context):
        _, command, _ = root.resolve_command(context, [name])
        pages[f"{FOLDER}/{name}.md"] = "\n".join(_describe(command, f"unhaze {name}", 1)) + "\n"
    return pages


def _describe(command: Any, path: str, level: int) -> list[str]:
    """A command, and the commands below it."""
    context = command.context_class(command, info_name=path)
    usage = " ".join(command.collect_usage_pieces(context))
    lines = ["#" * level + f" {path}", "", "```text", f"{path} {usage}", "```", "", *_paragraphs(command.help or "")]
    arguments = [each for each in command.params if each.param_type_name == "argument"]
    options = [each for each in command.params if each.param_type_name == "option" and not each.hidden]
    for title, rows in (("Argument", arguments), ("Option", options)):
        if rows:
            lines += ["", f"| {title} | What it does |", "| --- | --- |", *(_row(each, context) for each in rows)]
    for name in getattr(command, "commands", {}):
        lines += ["", *_describe(command.commands[name], f"{path} {name}", level + 1)]
    return lines


def _paragraphs(text: str) -> list[str]:
    return [_escape(line) for line in text.replace("\b", "").strip().splitlines()]


def _row(parameter: Any, context: Any) -> str:
    if parameter.param_type_name == "argument":
        name, told = " ".join(parameter.get_usage_pieces(context)), parameter.help or ""
    else:
        name, told = parameter.get_help_record(context) or ("", "")
    name = name.replace("|", "\\|")
    return f"| `{name}` | {_escape(told).replace('|', chr(92) + '|')} |"


def _escape(text: str) -> str:
    """Text of a terminal as Markdown: nothing in it is markup."""
    for sign in "\\`*_<[":
        text = text.replace(sign, "\\" + sign)
    return " ".join(text.split())
