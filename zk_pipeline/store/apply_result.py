"""What making a declaration true changed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class ApplyResult(Generic[T]):
    """By what was declared; `changed`: was there, and said something else."""

    added: list[T] = field(default_factory=list)
    changed: list[T] = field(default_factory=list)
    unchanged: list[T] = field(default_factory=list)
