"""Strict reader of the YAML files that people write for us. A value stays the text that was written.

YAML 1.1 turns `00042` into 34, `12:30` into 750 and `no` into false, which is another person, another terminal or
another code of the CRM. Here nothing is converted before a field says what it is: the types below convert the few
fields that are no text. Anchors, aliases, tags and repeated keys are refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BeforeValidator

from zk_pipeline.errors import UsageError

_NULLS = ("", "~", "null", "Null", "NULL")
_FLAGS = {
    word: value
    for value, words in ((True, ("true", "yes", "on")), (False, ("false", "no", "off")))
    for plain in words
    for word in (plain, plain.title(), plain.upper())
}
_WHOLE = re.compile(r"-?(0|[1-9][0-9]*)")
_DECIMAL = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?")
_NO_NUMBER = re.compile(r"[-+]?\.inf|\.nan", re.IGNORECASE)
_MAX_DIGITS = 300  # more are infinite as a double, which many CRMs read every number as
_YAML_12_NUMBER = re.compile(r"0o[0-7]+|[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")


def problem_at(path: Path, line: int, problem: str) -> UsageError:
    return UsageError(f"{path}, line {line}: {problem}")


@dataclass(frozen=True)
class YamlFile:
    """`content` is made of dicts, lists, texts as written, and None where nothing (or null) stands.

    `lines` has the line of each entry by its place, such as ("devices", 0, "name").
    """

    path: Path
    content: Any
    lines: Mapping[tuple[str | int, ...], int] = field(default_factory=dict)

    def where(self, *place: str | int) -> str:
        """File and line of a place, or of the nearest thing around it."""
        for length in range(len(place), 0, -1):
            if place[:length] in self.lines:
                return f"{self.path}, line {self.lines[place[:length]]}"
        return str(self.path)


def read_yaml(path: Path) -> YamlFile:
    """Raises UsageError naming the file and, where there is one, the line."""
    root = compose_yaml(path)
    lines: dict[tuple[str | int, ...], int] = {}
    return YamlFile(path, None if root is None else _content(root, (), lines), lines)


def compose_yaml(path: Path) -> yaml.Node | None:
    """The same as nodes, which know their lines; None for a file that says nothing."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise problem_at(path, line, "cannot be read as YAML: it is not text in UTF-8") from None
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror or error}") from None
    try:
        return _StrictLoader(text).get_single_node()
    except _Refused as error:
        raise problem_at(path, error.line, error.problem) from None
    except yaml.MarkedYAMLError as error:
        line = getattr(error.problem_mark or error.context_mark, "line", 0) + 1
        raise problem_at(path, line, f"cannot be read as YAML: {error.problem}") from None
    except yaml.reader.ReaderError as error:
        line = text[: error.position].count("\n") + 1
        raise problem_at(path, line, f"cannot be read as YAML: {error.reason}") from None
    except RecursionError:
        raise UsageError(f"{path}: cannot be read as YAML: it is nested too deeply") from None


class _Refused(Exception):
    def __init__(self, place: yaml.Node | yaml.Event, problem: str) -> None:
        super().__init__(problem)
        self.line = place.start_mark.line + 1 if place.start_mark else 1
        self.problem = problem


class _StrictLoader(yaml.SafeLoader):
    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent):
            raise _Refused(event, f"the alias *{event.anchor} is not supported: write the value out")
        if event.anchor is not None:
            raise _Refused(event, f"the anchor &{event.anchor} is not supported: write each value out")
        if event.tag is not None:
            raise _Refused(event, f"the tag {event.tag} is not supported: leave it out, and put text in quotes")
        return super().compose_node(parent, index)

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        found: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise _Refused(key, "a key must be a single name")
            if key.value in found:
                raise _Refused(key, f"{key.value!r} stands there twice")
            found.add(key.value)
        return node


def _content(node: yaml.Node, place: tuple[str | int, ...], lines: dict[tuple[str | int, ...], int]) -> Any:
    lines.setdefault(place, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        content = {}
        for key, value in node.value:
            inner = (*place, key.value)
            lines[inner] = key.start_mark.line + 1
            content[key.value] = _content(value, inner, lines)
        return content
    if isinstance(node, yaml.SequenceNode):
        return [_content(each, (*place, number), lines) for number, each in enumerate(node.value)]
    return None if is_null(node) else node.value


def is_null(node: yaml.Node) -> bool:
    """Whether nothing stands there, or `null` or `~` without quotes."""
    return isinstance(node, yaml.ScalarNode) and node.style is None and node.value in _NULLS


def json_value(node: yaml.ScalarNode) -> str | int | float | bool | None:
    """What a scalar means in JSON. Raises ValueError for what YAML 1.1 and 1.2, or people, read differently."""
    text: str = node.value
    if node.style is not None:
        return text
    if is_null(node):
        return None
    if _NO_NUMBER.fullmatch(text):
        raise ValueError(f"{text} is no number that JSON can hold: leave it out, or write null or a number")
    if _DECIMAL.fullmatch(text):
        if len(text) > _MAX_DIGITS:
            raise ValueError(f"a number of {len(text)} digits is too long: put text in quotes")
        return float(text) if "." in text else int(text)
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    if node.tag != yaml.SafeLoader.DEFAULT_SCALAR_TAG or _YAML_12_NUMBER.fullmatch(text):
        raise ValueError(f"{text} can be read in several ways: put text in quotes, and write numbers as 42 or 0.5")
    return text


# How fields of a pydantic model say what they are. A text with nothing in it (`user:` and no more) is refused.


def _text(value: object) -> object:
    if value is None or value == "":
        raise ValueError("nothing stands behind it: write a value, or leave it out")
    return value


def _whole(value: object) -> object:
    if isinstance(value, str) and not _WHOLE.fullmatch(value):
        raise ValueError(f"{value!r} is not a whole number such as 42")
    return value


def _decimal(value: object) -> object:
    if isinstance(value, str) and not _DECIMAL.fullmatch(value):
        raise ValueError(f"{value!r} is not a number such as 0.5")
    return value


def _flag(value: object) -> object:
    if isinstance(value, str) and value not in _FLAGS:
        raise ValueError(f"{value!r} is neither true nor false")
    return _FLAGS.get(value, value) if isinstance(value, str) else value


def _day(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        if not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", value):
            raise ValueError
        return date.fromisoformat(value)
    except ValueError:
        raise ValueError(f"{value!r} is not a date such as 2026-05-01") from None


Text = Annotated[str, BeforeValidator(_text)]
OptionalText = Annotated[str | None, BeforeValidator(_text)]  # None only where it is left out
WholeNumber = Annotated[int, BeforeValidator(_whole)]
Decimal = Annotated[float, BeforeValidator(_decimal)]
Flag = Annotated[bool, BeforeValidator(_flag)]
Day = Annotated[date, BeforeValidator(_day)]
