"""The two ways a piece of work can end badly for a person. Finer classes live in each domain package."""

from __future__ import annotations


class ZkPipelineError(Exception):
    """The work failed. Its text is one line for a person: what was attempted, on what, what to do. Exit code 1."""


class UsageError(ZkPipelineError):
    """The request itself was wrong (a name, an address, a date, a setting). Exit code 2, HTTP 400 or 404."""
