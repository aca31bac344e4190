"""Size of the generated company of a demo."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Company:
    """Size of the generated company."""

    employees: int = 120
    devices: int = 3
    days: int = 60
    pushing: int = 1  # terminals that push, in addition to `devices`
