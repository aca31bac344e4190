"""Refusal of a name in place of a user id, where an operator or a client enters a leave or a manual punch."""

from __future__ import annotations

from zk_pipeline.errors import UsageError
from zk_pipeline.store.store import Store


def refuse_name(store: Store, user_id: str) -> None:
    """Raise UsageError for an unknown user id that is part of the name of users, with their ids."""
    for message in store.enrolled_users.names_as_ids([user_id]).values():
        raise UsageError(message)
