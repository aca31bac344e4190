"""Base exceptions for user-facing errors. Domain packages define subclasses."""

from __future__ import annotations


class ZkPipelineError(Exception):
    """The work failed. The message is one line: what was attempted, on which object, what to do. Exit code 1."""


class UsageError(ZkPipelineError):
    """The request is invalid (a name, an address, a date, a setting). Exit code 2, HTTP 400 or 404."""
