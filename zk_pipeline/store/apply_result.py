"""Result of applying a declaration."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class ApplyResult(Generic[T]):
    """Declared entries by effect. `changed`: existed with other content."""

    added: list[T] = field(default_factory=list)
    changed: list[T] = field(default_factory=list)
    unchanged: list[T] = field(default_factory=list)
