"""Which scenarios a suite plays: by name, by tag, by an expression such as `replica and not freeze`."""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING

from harness import discover
from harness.errors import NotReady, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from harness.api import Scenario

_TOKEN = re.compile(r"\s*(\(|\)|[^\s()]+)")
_WORDS = {"and", "or", "not", "(", ")"}


def select(names: Sequence[str], expression: str | None, tags: Sequence[str]) -> list[Scenario]:
    """Scenarios that were named, or all known ones, that have one of `tags` and fit `expression`; in a fixed order.

    Raises UsageError for an unknown name or tag or a broken expression, NotReady (exit 5) when nothing is left.
    """
    known = discover.scenarios()
    chosen = [discover.scenario(name) for name in names] or [known[name] for name in sorted(known)]
    every = sorted({tag for scenario in known.values() for tag in scenario.tags})
    for tag in tags:
        if tag not in every:
            raise UsageError(f"--tag: unknown tag {tag!r}{discover.nearest(tag, every)}; known: {', '.join(every)}")
    fits = parse(expression) if expression is not None else lambda _: True
    left = [s for s in chosen if (not tags or s.tags.intersection(tags)) and fits(s)]
    if not left:
        raise NotReady(f"no scenario is selected; there are: {', '.join(sorted(known))}")
    return left


def parse(expression: str) -> Callable[[Scenario], bool]:
    """Read `word`, `not`, `and`, `or` and brackets; a word fits a scenario whose name or tags contain it.

    Raises UsageError naming the expression.
    """
    fits = fitting(expression)
    return lambda scenario: fits([scenario.name, *scenario.tags])


def fitting(expression: str) -> Callable[[Sequence[str]], bool]:
    """Read the same for anything that has names: a word fits when it is contained in one of them."""
    tokens = [match[1] for match in _TOKEN.finditer(expression)]
    words = [token for token in tokens if token not in _WORDS]
    code = " ".join(token if token in _WORDS else f"_{words.index(token)}" for token in tokens)
    try:
        tree = ast.parse(code, mode="eval").body
        _check(tree)
    except (SyntaxError, TypeError) as error:
        raise UsageError(f"-k: {expression!r} is no expression; write words with and, or, not and brackets") from error

    def fits(texts: Sequence[str]) -> bool:
        return _value(tree, [any(word.lower() in text for text in texts) for word in words])

    return fits


def _check(node: ast.expr) -> None:
    if isinstance(node, ast.BoolOp):
        for value in node.values:
            _check(value)
    elif isinstance(node, ast.UnaryOp):
        _check(node.operand)
    elif not isinstance(node, ast.Name):
        raise TypeError(ast.dump(node))


def _value(node: ast.expr, given: Sequence[bool]) -> bool:
    if isinstance(node, ast.BoolOp):
        values = [_value(value, given) for value in node.values]
        return all(values) if isinstance(node.op, ast.And) else any(values)
    if isinstance(node, ast.UnaryOp):
        return not _value(node.operand, given)
    return given[int(ast.unparse(node)[1:])]
