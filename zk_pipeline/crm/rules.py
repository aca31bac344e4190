"""Rules for a CRM that reports success in its own way: the sections `success` and `already` of crm_mapping.yaml.

They are read in `mapping` and asked in `responses`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from zk_pipeline.crm.documents import parse_json, value_at


class _Http(Protocol):
    @property
    def status(self) -> int: ...
    @property
    def body(self) -> bytes: ...
    @property
    def content_type(self) -> str: ...
    @property
    def is_cut(self) -> bool: ...


@dataclass(frozen=True, kw_only=True)
class AnswerRule:
    """Conditions that an answer meets together; those that are None or empty are not asked for."""

    statuses: frozenset[int] = frozenset()
    path: str | None = None  # dotted, into the JSON document
    value: object = None  # what stands there
    text: str | None = None  # what the body contains, to the letter

    def is_met(self, http: _Http) -> bool:
        if self.statuses and http.status not in self.statuses:
            return False
        if self.text is not None and self.text not in http.body.decode("utf-8", errors="replace"):
            return False
        return self.path is None or (not http.is_cut and self._stands_there(http))

    def _stands_there(self, http: _Http) -> bool:
        try:
            found = value_at(parse_json(http.body, http.content_type), str(self.path))
        except ValueError:
            return False
        return found == self.value and isinstance(found, bool) == isinstance(self.value, bool)


@dataclass(frozen=True, kw_only=True)
class AnswerRules:
    """The rules of one CRM. `success`: without any, the default of `responses` holds."""

    success: tuple[AnswerRule, ...] = ()  # a 2xx is a success where it meets one of these, and only there
    already: tuple[AnswerRule, ...] = ()  # an answer that meets one says that the CRM has this revision

    def is_success(self, http: _Http) -> bool:
        return any(rule.is_met(http) for rule in self.success)

    def is_already(self, http: _Http) -> bool:
        return any(rule.is_met(http) for rule in self.already)


DEFAULT_RULES = AnswerRules()
