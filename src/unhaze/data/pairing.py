"""Which picture belongs to which: results to ground truth, results to hazy inputs.

A rule turns the name of a result into the name its target must have. Whatever finds no partner, or more than one, is
named in the outcome; nothing is dropped in silence.

Pictures in sub-folders pair within the sub-folder of the same name.
"""

from __future__ import annotations

import os
import posixpath
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from unhaze.errors import UsageError

__all__ = ["RULES", "Keys", "Listing", "Pairing", "list_pictures", "pair_names", "pair_with", "parse_rule"]

_HAZY_WORD = re.compile(r"(?<![A-Za-z])hazy(?![A-Za-z])", re.IGNORECASE)
_CLEAR_WORDS = ("GT", "gt", "clear", "clean", "Clear", "Gt")

Keys = Callable[[str], Sequence[str]]
"""Stem of a result -> stems its target may have."""


def _same_name(stem: str) -> Sequence[str]:
    return (stem,)


def _reside(stem: str) -> Sequence[str]:
    return (stem.split("_", 1)[0],)


def _o_haze(stem: str) -> Sequence[str]:
    if not _HAZY_WORD.search(stem):
        return ()
    return tuple(dict.fromkeys(_HAZY_WORD.sub(word, stem, count=1) for word in _CLEAR_WORDS))


RULES: Mapping[str, Keys] = {"same-name": _same_name, "reside": _reside, "o-haze": _o_haze}
"""Name of a rule -> the rule.

``same-name``: ``a.png`` with ``a.jpg``, one to one.
``reside``: the part before the first underscore, ``1400_8.png`` and ``1400_9.png`` with ``1400.png``. As with a
regular expression, results may share a target, unless they differ in nothing but the suffix.
``o-haze``: the word ``hazy`` replaced by ``GT``, ``clear`` or ``clean``, ``01_outdoor_hazy.jpg`` with
``01_outdoor_GT.jpg``.
"""

_MANY_TO_ONE = {"reside", "regex"}


@dataclass(frozen=True, slots=True)
class Listing:
    """Pictures of a folder.

    Attributes:
        root: The folder.
        names: Paths relative to it, with forward slashes, sorted.
        ignored: Files that are not pictures, likewise.
    """

    root: Path
    names: tuple[str, ...]
    ignored: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Pairing:
    """Outcome of pairing results with targets.

    Attributes:
        rule: The rule that was used; for a regular expression ``regex:`` and the expression.
        how: One sentence that says how the rule was come by.
        pairs: (result, target), by result.
        unmatched: Results without a target.
        ambiguous: Results with more than one possible target, or that share a target they may not share, and why.
        unused: Targets that no result asks for.
    """

    rule: str
    how: str
    pairs: tuple[tuple[str, str], ...]
    unmatched: tuple[str, ...]
    ambiguous: Mapping[str, str]
    unused: tuple[str, ...]


def list_pictures(root: Path, suffixes: Iterable[str]) -> Listing:
    """List the pictures in a folder and its sub-folders; hidden files are passed over.

    Args:
        root: A folder.
        suffixes: Endings of pictures, in lower case, with the dot.

    Raises:
        UsageError: ``root`` is not a folder, or holds no picture.
    """
    if not root.is_dir():
        raise UsageError(f"{root} is not a folder; give the folder that holds the pictures.")
    wanted = frozenset(suffixes)
    names: list[str] = []
    ignored: list[str] = []
    for name in _files_below(root, ""):
        (names if posixpath.splitext(name)[1].lower() in wanted else ignored).append(name)
    if not names:
        raise UsageError(f"The folder {root.name or root} holds no picture.")
    return Listing(root, tuple(sorted(names)), tuple(sorted(ignored)))


def _files_below(folder: str | Path, prefix: str) -> Iterator[str]:
    # data sets have hundreds of thousands of files: a path object for each would take half a minute
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir(follow_symlinks=False):
                yield from _files_below(entry.path, f"{prefix}{entry.name}/")
            elif entry.is_file():
                yield prefix + entry.name


def parse_rule(text: str) -> tuple[str, Keys | None]:
    """Name and function of a rule as the user writes it.

    Args:
        text: ``auto``, the name of a rule, or ``regex:`` and an expression that must match the whole stem of a result
            and whose first group (or the group named ``target``) is the stem of the target.

    Returns:
        The name, and the rule; ``None`` for ``auto``.

    Raises:
        UsageError: No such rule, or a regular expression that is not one or has no group.
    """
    if text == "auto":
        return text, None
    if text in RULES:
        return text, RULES[text]
    if not text.startswith("regex:"):
        known = ", ".join(RULES)
        raise UsageError(f"There is no pairing rule named {text!r}; choose auto, {known} or regex:EXPRESSION.")
    expression = text.removeprefix("regex:")
    try:
        pattern = re.compile(expression)
    except re.error as error:
        raise UsageError(f"{expression!r} is not a regular expression: {error}.") from error
    if pattern.groups == 0:
        raise UsageError(f"{expression!r} has no group; put the part that names the target into parentheses.")
    group: str | int = "target" if "target" in pattern.groupindex else 1

    def keys(stem: str) -> Sequence[str]:
        match = pattern.fullmatch(stem)
        found = match.group(group) if match else None
        return (found,) if found else ()

    return text, keys


def pair_names(results: Sequence[str], targets: Sequence[str], rule: str = "auto") -> Pairing:
    """Pair results with targets.

    Args:
        results: Names of results, relative to their folder, with forward slashes.
        targets: Names of targets, likewise.
        rule: See :func:`parse_rule`. ``auto`` takes the rule that pairs the most results, and among equals the first
            of ``same-name``, ``reside``, ``o-haze``.

    Raises:
        UsageError: The rule is not one, or ``auto`` pairs nothing, or two rules pair equally many but differently.
    """
    name, keys = parse_rule(rule)
    if keys is not None:
        return _pair(results, targets, name, keys, f"The rule {name} was asked for.")
    tried = [_pair(results, targets, name, keys, "") for name, keys in RULES.items()]
    most = max(len(outcome.pairs) for outcome in tried)
    if most == 0:
        raise UsageError(
            f"No pairing rule fits: {results[0]!r} finds no partner among names like {targets[0]!r}; "
            "give one with regex:EXPRESSION."
        )
    best = [outcome for outcome in tried if len(outcome.pairs) == most]
    if any(outcome.pairs != best[0].pairs for outcome in best):
        names = " and ".join(outcome.rule for outcome in best)
        raise UsageError(f"The rules {names} pair equally many pictures, but not the same ones; name the one you mean.")
    how = f"The rule {best[0].rule} was detected: it pairs {most} of {len(results)} pictures."
    return replace(best[0], how=how)


def pair_with(
    results: Sequence[str], targets: Sequence[str], name: str, keys: Keys, *, shared: bool, anywhere: bool = False
) -> Pairing:
    """Pair results with targets by a rule that is not among :data:`RULES`.

    Args:
        results: Names of results, relative to their folder, with forward slashes.
        targets: Names of targets, likewise.
        name: What the rule is called.
        keys: The rule.
        shared: Whether several results may have one target.
        anywhere: The targets lie in one folder, in whatever sub-folders the results are.
    """
    return _pair(results, targets, name, keys, f"The rule {name} belongs to the data set.", shared, anywhere)


def _pair(
    results: Sequence[str],
    targets: Sequence[str],
    name: str,
    keys: Keys,
    how: str,
    shared: bool | None = None,
    anywhere: bool = False,
) -> Pairing:
    by_key: dict[str, list[str]] = defaultdict(list)
    for target in targets:
        by_key[_without_suffix(target)].append(target)
    found: dict[str, str] = {}
    unmatched: list[str] = []
    ambiguous: dict[str, str] = {}
    for result in sorted(results):
        folder, file = posixpath.split(result)
        stems = keys(_without_suffix(file))
        fitting = stems if anywhere else [posixpath.join(folder, stem) for stem in stems]
        candidates = [target for key in fitting for target in by_key.get(key, ())]
        if not candidates:
            unmatched.append(result)
        elif len(candidates) > 1:
            ambiguous[result] = f"fits {len(candidates)} targets: {', '.join(sorted(candidates))}"
        else:
            found[result] = candidates[0]
    shares = name.split(":", 1)[0] in _MANY_TO_ONE if shared is None else shared
    # results that differ in nothing but the suffix may never share a target
    claims = {result: (target, _without_suffix(result) if shares else "") for result, target in found.items()}
    counts = Counter(claims.values())
    for result, claim in claims.items():
        if counts[claim] > 1:
            ambiguous[result] = f"is not the only result for the target {found.pop(result)}"
    used = set(found.values())
    unused = tuple(sorted(target for target in targets if target not in used))
    return Pairing(name, how, tuple(sorted(found.items())), tuple(unmatched), ambiguous, unused)


def _without_suffix(name: str) -> str:
    return posixpath.splitext(name)[0]
