"""Names in place of user ids: refused wherever an operator, a client or a file enters a leave or a manual punch.

A user id that is only unknown is accepted, with a warning: its user may be enrolled later.
"""

from __future__ import annotations

from collections.abc import Iterable

from zk_pipeline.errors import UsageError
from zk_pipeline.store.store import Store

_MAX_SHOWN = 3


def refuse_name(store: Store, user_id: str) -> None:
    """Raise UsageError for an unknown user id that is part of the name of users, with their ids."""
    for message in name_problems(store, [user_id]).values():
        raise UsageError(message)


def name_problems(store: Store, user_ids: Iterable[str]) -> dict[str, str]:
    """Messages about the names among `user_ids`, by user id as given."""
    unknown = [one for one in store.manual_punches.unknown_users(user_ids) if any(map(str.isalpha, one))]
    if not unknown:
        return {}
    return {
        user_id: f"no user has the id {user_id!r}: enter the id of {' or '.join(names[:_MAX_SHOWN])}"
        for user_id, names in store.enrolled_users.named(unknown).items()
    }
