"""Field mapping and response rules of a CRM: the file crm_mapping.yaml, validated completely at the start.

The record before the mapping is in `payload`; the rules are applied in `responses`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType

import yaml

from zk_pipeline.crm.errors import CrmSettingWrong
from zk_pipeline.crm.responses import DEFAULT_RULES, NEVER_ALREADY_APPLIED, ResponseRule, ResponseRules
from zk_pipeline.errors import UsageError
from zk_pipeline.yaml_file import compose_yaml, is_null, json_value, problem_at

FIELDS = (
    "user_id", "date", "clock_in", "clock_out", "is_outlier", "outlier_reason", "device_name", "device_ip", "revision",
)  # fmt: skip
ADDABLE = ("site", "is_retracted")
REQUIRED = ("user_id", "date")  # a record without them belongs to no day
_SECTIONS = ("rename", "constant", "instants", "drop", "add", "success", "already")
_CONDITIONS = ("status", "path", "value", "text")
_STATUSES = {
    "success": (range(200, 300), "from 200 to 299"),
    "already": (
        {*range(200, 300), *range(400, 500)} - NEVER_ALREADY_APPLIED,
        "a 2xx or 4xx about the record, such as 409",
    ),
}
_EXAMPLES = {"path": "data.state", "text": "'stored'"}
_NO_BODY = {204, 205}
_RESERVED = "idempotency_key"  # added to each record of a batch


class Instants(StrEnum):
    """Format of clock-in and clock-out; the value is its name in the file."""

    ISO = "iso"  # 2026-11-11T08:15:30+03:00, the default
    UTC = "utc"  # 2026-11-11T05:15:30Z
    LOCAL = "local"  # 2026-11-11T08:15:30, the terminal's wall clock
    EPOCH = "epoch"  # 1794374130, whole seconds
    EPOCH_MS = "epoch_ms"

    def write(self, value: datetime) -> str | int:
        """Format `value` (aware, in the device's zone) to the second."""
        if self is Instants.UTC:
            return value.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="seconds") + "Z"
        if self is Instants.LOCAL:
            return value.replace(tzinfo=None).isoformat(timespec="seconds")
        if self is Instants.EPOCH:
            return int(value.timestamp())
        if self is Instants.EPOCH_MS:
            return int(value.timestamp()) * 1000
        return value.isoformat(timespec="seconds")


@dataclass(frozen=True, kw_only=True)
class FieldMapping:
    """Fields of a record and their names. The default is the contract's record, unchanged.

    The idempotency key does not depend on the mapping: delivered revisions are not sent again when the file changes,
    and a delivery with an unknown outcome is retried under its key with the body that was sent (`Delivery.sent_body`).
    """

    rename: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    constant: Mapping[str, object] = field(default_factory=lambda: MappingProxyType({}))
    instants: Instants = Instants.ISO
    drop: frozenset[str] = frozenset()
    add: Mapping[str, str] = field(
        default_factory=lambda: MappingProxyType({})
    )  # field of ADDABLE: its name in the record
    rules: ResponseRules = DEFAULT_RULES

    @property
    def site_field(self) -> str:
        """Name of the site field in a record per site."""
        return self.add.get("site", "site")

    def apply(self, record: Mapping[str, object], extra: Mapping[str, object]) -> dict[str, object]:
        """Map `record` (the contract's fields, instants as datetimes) and add the configured fields of `extra`."""
        mapped = {
            self.rename.get(name, name): self.instants.write(value) if isinstance(value, datetime) else value
            for name, value in record.items()
            if name not in self.drop
        }
        return mapped | {name: extra[source] for source, name in self.add.items()} | dict(self.constant)


IDENTITY_MAPPING = FieldMapping()


def read_mapping(path: Path) -> FieldMapping:
    """Read a mapping file. Raises CrmSettingWrong naming the file, the line and the problem."""
    try:
        root = compose_yaml(path)
    except UsageError as error:
        raise CrmSettingWrong(str(error)) from None
    return _Reader(path).mapping(root) if root is not None else IDENTITY_MAPPING


class _Reader:
    """Converts YAML nodes, which have line numbers, into values."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def mapping(self, root: yaml.Node) -> FieldMapping:
        sections = self._pairs(root, "the file")
        for name, (key, _) in sections.items():
            self._check(name in _SECTIONS, key, f"unknown section {name!r}; there are {', '.join(_SECTIONS)}")
        rename = self._texts(sections, "rename", FIELDS)
        add = self._texts(sections, "add", ADDABLE)
        drop = self._drop(sections)
        constant = self._constants(sections)
        instants = self._instants(sections)
        for name, (key, _) in self._section(sections, "rename").items():
            self._check(name not in drop, key, f"{name!r} is both renamed and dropped")
        for each in sections["drop"][1].value if "drop" in sections else ():
            problem = f"drop: {each.value!r} identifies the day of a record and cannot be dropped; use rename instead"
            self._check(each.value not in REQUIRED, each, problem)
        self._check_names(root, rename, drop, add, constant)
        rules = ResponseRules(success=self._rules(sections, "success"), already=self._rules(sections, "already"))
        return FieldMapping(rename=rename, constant=constant, instants=instants, drop=drop, add=add, rules=rules)

    def _section(
        self, sections: dict[str, tuple[yaml.Node, yaml.Node]], name: str
    ) -> dict[str, tuple[yaml.Node, yaml.Node]]:
        return self._pairs(sections[name][1], name) if name in sections else {}

    def _texts(
        self, sections: dict[str, tuple[yaml.Node, yaml.Node]], section: str, known: tuple[str, ...]
    ) -> dict[str, str]:
        found: dict[str, str] = {}
        for name, (key, value) in self._section(sections, section).items():
            self._check(name in known, key, f"{section}: unknown field {name!r}; there are {', '.join(known)}")
            text = self._json(value, f"{section}: {name}")
            is_name = isinstance(text, str) and bool(text.strip())
            self._check(is_name, value, f"{section}: {name} needs the name that the CRM has for it")
            found[name] = str(text)
        return found

    def _drop(self, sections: dict[str, tuple[yaml.Node, yaml.Node]]) -> frozenset[str]:
        if "drop" not in sections:
            return frozenset()
        node = sections["drop"][1]
        self._check(isinstance(node, yaml.SequenceNode), node, "drop must be a list of fields")
        names = [(self._text(each), each) for each in node.value]
        for name, each in names:
            self._check(name in FIELDS, each, f"drop: unknown field {name!r}; there are {', '.join(FIELDS)}")
        return frozenset(name for name, _ in names)

    def _constants(self, sections: dict[str, tuple[yaml.Node, yaml.Node]]) -> dict[str, object]:
        section = self._section(sections, "constant")
        return {name: self._json(value, f"constant: {name}") for name, (_, value) in section.items()}

    def _instants(self, sections: dict[str, tuple[yaml.Node, yaml.Node]]) -> Instants:
        if "instants" not in sections:
            return Instants.ISO
        node = sections["instants"][1]
        names = [each.value for each in Instants]
        text = self._text(node)
        self._check(text in names, node, f"instants must be one of {', '.join(names)}")
        return Instants(text)

    def _rules(self, sections: dict[str, tuple[yaml.Node, yaml.Node]], name: str) -> tuple[ResponseRule, ...]:
        if name not in sections:
            return ()
        key, node = sections[name]
        is_list = isinstance(node, yaml.SequenceNode) and bool(node.value)
        self._check(is_list, key, f"{name} must be a list of rules, each with {', '.join(_CONDITIONS)}")
        return tuple(self._rule(name, each) for each in node.value)

    def _rule(self, name: str, node: yaml.Node) -> ResponseRule:
        pairs = self._pairs(node, f"a rule of {name}")
        known = ", ".join(_CONDITIONS)
        for condition, (key, _) in pairs.items():
            self._check(condition in _CONDITIONS, key, f"{name}: unknown condition {condition!r}; there are {known}")
        self._check(bool(pairs), node, f"{name}: a rule needs a status, a path with its value, or a text")
        self._check(("path" in pairs) == ("value" in pairs), node, f"{name}: path and value need each other")
        statuses = self._statuses(name, pairs["status"][1]) if "status" in pairs else frozenset()
        if "path" in pairs or "text" in pairs:
            for status in sorted(statuses & _NO_BODY):
                problem = f"{name}: a {status} has no body, so this rule never applies: use a rule with status alone"
                self._check(False, pairs["status"][1], problem)
        return ResponseRule(
            statuses=statuses,
            path=self._required_text(name, "path", pairs["path"][1]) if "path" in pairs else None,
            value=self._json(pairs["value"][1], f"{name}: value") if "value" in pairs else None,
            text=self._required_text(name, "text", pairs["text"][1]) if "text" in pairs else None,
        )

    def _statuses(self, name: str, node: yaml.Node) -> frozenset[int]:
        allowed, description = _STATUSES[name]
        nodes = node.value if isinstance(node, yaml.SequenceNode) and node.value else [node]
        for each in nodes:
            value = self._json(each, f"{name}: status")
            self._check(isinstance(value, int) and value in allowed, each, f"{name}: status must be {description}")
        return frozenset(int(each.value) for each in nodes)

    def _required_text(self, name: str, condition: str, node: yaml.Node) -> str:
        text = self._text(node)
        is_path = condition == "text" or all(text.split("."))
        self._check(bool(text) and is_path, node, f"{name}: {condition} needs a text, such as {_EXAMPLES[condition]}")
        return text

    def _check_names(
        self,
        root: yaml.Node,
        rename: dict[str, str],
        drop: frozenset[str],
        add: dict[str, str],
        constant: dict[str, object],
    ) -> None:
        names = [rename.get(name, name) for name in FIELDS if name not in drop] + [*add.values(), *constant]
        for name in names:
            self._check(names.count(name) == 1, root, f"two fields would have the name {name!r}")
            self._check(name != _RESERVED, root, f"the name {_RESERVED!r} is taken: a batch adds it to each record")

    def _pairs(self, node: yaml.Node, what: str) -> dict[str, tuple[yaml.Node, yaml.Node]]:
        self._check(isinstance(node, yaml.MappingNode), node, f"{what} must be a mapping (name: value)")
        return {key.value: (key, value) for key, value in node.value}

    def _json(self, node: yaml.Node, what: str) -> object:
        try:
            return json_value(self._scalar(node))
        except ValueError as error:
            raise self._error(node, f"{what}: {error}") from None

    def _text(self, node: yaml.Node) -> str:
        """The text as written; empty for a null value."""
        scalar = self._scalar(node)
        return "" if is_null(scalar) else str(scalar.value)

    def _scalar(self, node: yaml.Node) -> yaml.ScalarNode:
        self._check(isinstance(node, yaml.ScalarNode), node, "a single value is needed here")
        assert isinstance(node, yaml.ScalarNode)
        return node

    def _check(self, is_right: bool, node: yaml.Node, problem: str) -> None:
        if not is_right:
            raise self._error(node, problem)

    def _error(self, node: yaml.Node, problem: str) -> CrmSettingWrong:
        return CrmSettingWrong(str(problem_at(self.path, node.start_mark.line + 1, problem)))
