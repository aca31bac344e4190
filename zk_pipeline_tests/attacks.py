"""The attack list: tests of attacks say so, and what came of each is printed at the end of a run."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable

ATTACK = "attack list"  # the property of a test that is an attack
FAILED, WORKED = "did not work", "WORKED, or its test is broken"


def attack_lines(reports: Iterable[tuple[str, bool]]) -> list[str]:
    """A line for each attack, of its tests' names and whether they passed, and their sum."""
    rows: dict[str, Counter[str]] = defaultdict(Counter)
    for test, passed in reports:
        rows[test][FAILED if passed else WORKED] += 1
    if not rows:
        return []
    lines = [
        f"{test}: " + ", ".join(f"{count} {outcome}" for outcome, count in counts.items())
        for test, counts in sorted(rows.items())
    ]
    total = sum(rows.values(), Counter[str]())
    return [*lines, f"{total.total()} attacks in {len(rows)} kinds, {total[WORKED]} worked"]
