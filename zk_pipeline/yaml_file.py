"""Strict YAML reader for configuration files. Scalars stay text.

YAML 1.1 parses `00042` as 34, `12:30` as 750 and `no` as false, and thereby changes a user id, a time or a CRM code.
This reader converts no value; the pydantic types below convert the fields that are not text. Anchors, aliases, tags
and duplicate keys are rejected.
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
_BOOLEANS = {
    spelling: value
    for value, literals in ((True, ("true", "yes", "on")), (False, ("false", "no", "off")))
    for literal in literals
    for spelling in (literal, literal.title(), literal.upper())
}
_INTEGER = re.compile(r"-?(0|[1-9][0-9]*)")
_DECIMAL = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.inf|\.nan", re.IGNORECASE)
_MAX_DIGITS = 300  # more overflow an IEEE double, the number type of many JSON parsers
_YAML_12_NUMBER = re.compile(r"0o[0-7]+|[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")


def problem_at(path: Path, line: int, problem: str) -> UsageError:
    return UsageError(f"{path}, line {line}: {problem}")


@dataclass(frozen=True)
class YamlFile:
    """Parsed file. `content` consists of dicts, lists, texts as written, and None for an empty or null scalar.

    `lines`: line number of each entry by its key path, such as ("devices", 0, "name").
    """

    path: Path
    content: Any
    lines: Mapping[tuple[str | int, ...], int] = field(default_factory=dict)

    def where(self, *place: str | int) -> str:
        """File and line of a key path, or of its nearest ancestor."""
        for length in range(len(place), 0, -1):
            if place[:length] in self.lines:
                return f"{self.path}, line {self.lines[place[:length]]}"
        return str(self.path)


def read_yaml(path: Path) -> YamlFile:
    """Parse a file. Raises UsageError with the file and, if known, the line."""
    root = compose_yaml(path)
    lines: dict[tuple[str | int, ...], int] = {}
    return YamlFile(path, None if root is None else _content(root, (), lines), lines)


def compose_yaml(path: Path) -> yaml.Node | None:
    """Parse a file to YAML nodes, which know their lines; None if the file is empty. Raises UsageError."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise problem_at(path, line, "cannot be read as YAML: it is not UTF-8 text") from None
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
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise _Refused(key, "a key must be a single name")
            if key.value in seen:
                raise _Refused(key, f"duplicate key {key.value!r}")
            seen.add(key.value)
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
    """Whether the scalar is empty, or an unquoted `null` or `~`."""
    return isinstance(node, yaml.ScalarNode) and node.style is None and node.value in _NULLS


def json_value(node: yaml.ScalarNode) -> str | int | float | bool | None:
    """JSON value of a scalar. Raises ValueError for a scalar that YAML 1.1 and YAML 1.2 parse differently."""
    text: str = node.value
    if node.style is not None:
        return text
    if is_null(node):
        return None
    if _NOT_FINITE.fullmatch(text):
        raise ValueError(f"{text} cannot be written as a JSON number: leave it out, or write null or a number")
    if _DECIMAL.fullmatch(text):
        if len(text) > _MAX_DIGITS:
            raise ValueError(f"a number of {len(text)} digits is too long: put text in quotes")
        return float(text) if "." in text else int(text)
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    if node.tag != yaml.SafeLoader.DEFAULT_SCALAR_TAG or _YAML_12_NUMBER.fullmatch(text):
        raise ValueError(f"{text} is ambiguous: put text in quotes, and write numbers as 42 or 0.5")
    return text


# Types for the fields of pydantic models. An empty text (`user:` without a value) is rejected.


def _text(value: object) -> object:
    if value is None or value == "":
        raise ValueError("it has no value: write one, or leave it out")
    return value


def _whole(value: object) -> object:
    if isinstance(value, str) and not _INTEGER.fullmatch(value):
        raise ValueError(f"{value!r} is not a whole number such as 42")
    return value


def _decimal(value: object) -> object:
    if isinstance(value, str) and not _DECIMAL.fullmatch(value):
        raise ValueError(f"{value!r} is not a number such as 0.5")
    return value


def _flag(value: object) -> object:
    if isinstance(value, str) and value not in _BOOLEANS:
        raise ValueError(f"{value!r} is neither true nor false")
    return _BOOLEANS.get(value, value) if isinstance(value, str) else value


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
OptionalText = Annotated[str | None, BeforeValidator(_text)]  # None only if the key is missing
WholeNumber = Annotated[int, BeforeValidator(_whole)]
Decimal = Annotated[float, BeforeValidator(_decimal)]
Flag = Annotated[bool, BeforeValidator(_flag)]
Day = Annotated[date, BeforeValidator(_day)]
