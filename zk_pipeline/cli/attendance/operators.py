"""Name of the operator who runs a command."""

from __future__ import annotations

import getpass
import os


def operator_name() -> str:
    try:
        return f"cli:{getpass.getuser()}"
    except (OSError, KeyError):  # a container without an entry for the user
        return f"cli:{os.getuid()}"
