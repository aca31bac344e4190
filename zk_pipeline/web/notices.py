"""Result messages of forms, shown by the page that follows the redirect, with the form that undoes the change."""

from __future__ import annotations

from zk_pipeline.http.auth import Identity
from zk_pipeline.http.sessions import Notice, Session, Undo


def leave_notice(identity: Identity, text: str, undo: Undo | None = None) -> None:
    """Let the next page of the session show `text`. A client without a session, which shows no page, gets none."""
    if identity.session is not None:
        identity.session.notice = Notice(text, undo)


def take_notice(session: Session | None) -> Notice | None:
    """The notice that the session has not shown yet."""
    if session is None:
        return None
    notice, session.notice = session.notice, None
    return notice
