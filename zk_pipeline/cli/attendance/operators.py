"""Name of the operator who runs a command, and the warning about unknown users."""

from __future__ import annotations

import getpass
import os
from collections.abc import Iterable

from zk_pipeline.cli.output import warn
from zk_pipeline.store.enrolled_users import unknown_user_warning
from zk_pipeline.store.store import Store


def operator_name() -> str:
    try:
        return f"cli:{getpass.getuser()}"
    except (OSError, KeyError):  # a container without an entry for the user
        return f"cli:{os.getuid()}"


def note_unknown_users(store: Store, user_ids: Iterable[str]) -> None:
    """Warn about users whom no terminal and no punch knows: probably mistyped."""
    if warning := unknown_user_warning(store.enrolled_users.unknown(user_ids)):
        warn(f"warning: {warning}")
