"""A number with its noun in singular or plural, for messages and pages."""

from __future__ import annotations


def counted(count: int, singular: str, plural: str | None = None) -> str:
    """`1 punch`, `2,345 punches`; the plural is the singular with an s unless given."""
    return f"{count:,} {singular if count == 1 else plural or f'{singular}s'}"
