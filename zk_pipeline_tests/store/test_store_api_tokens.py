"""API tokens: shown once, stored as a hash, found by their public id, revoked permanently."""

from __future__ import annotations

from pathlib import Path

import pytest

from zk_pipeline.errors import UsageError
from zk_pipeline.store.api_tokens import split_token
from zk_pipeline.store.store import Store
from zk_pipeline_tests.store.store_fixtures import StoppedClock, rows


def test_a_token_proves_itself_and_nothing_else_does(store: Store) -> None:
    text = store.api_tokens.create("payroll", "read")
    parts = split_token(text)
    assert parts is not None
    token = store.api_tokens.good()[parts[0]]
    assert (token.name, token.scope, token.last_used_at) == ("payroll", "read", None)
    assert token.is_proven_by(parts[1])
    for wrong in ("", parts[1][:-1], parts[1].swapcase(), token.secret_sha256):
        assert not token.is_proven_by(wrong)
    for no_token in ("", "payroll", text[:-1], f"{text}x", f" {text}", text.upper(), "zkp_" * 1000):
        assert split_token(no_token) is None


def test_the_secret_is_nowhere_in_the_store(store: Store) -> None:
    parts = split_token(store.api_tokens.create("payroll", "read"))
    assert parts is not None
    assert parts[1] not in str(rows(store, "FROM api_tokens"))
    if isinstance(store.database.where, Path):
        assert parts[1].encode() not in store.database.path.read_bytes()
    assert store.api_tokens.all()[0].secret_sha256 not in repr(store.api_tokens.all())


def test_a_revoked_token_keeps_its_row_and_its_name_is_free_again(store: Store, clock: StoppedClock) -> None:
    store.api_tokens.create("payroll", "read")
    with pytest.raises(UsageError, match="a token named 'payroll' already"):
        store.api_tokens.create("payroll", "admin")
    store.api_tokens.revoke("payroll")
    with pytest.raises(UsageError, match="no active token is named 'payroll'"):
        store.api_tokens.revoke("payroll")
    clock.go(minutes=1)
    store.api_tokens.create("payroll", "admin")
    assert [(one.scope, one.revoked_at is None) for one in store.api_tokens.all()] == [("read", False), ("admin", True)]


@pytest.mark.parametrize("name", ["", " x", "x" * 101, "a\nb", "a;b", "<b>"])
def test_a_name_that_is_none_is_refused(store: Store, name: str) -> None:
    with pytest.raises(UsageError, match="is not valid"):
        store.api_tokens.create(name, "read")


def test_uses_are_noted_together(store: Store, clock: StoppedClock) -> None:
    for name in ("a", "b", "c"):
        store.api_tokens.create(name, "read")
    used = [one.id for one in store.api_tokens.all()][:2]
    store.api_tokens.note_used(used)
    assert [one.last_used_at for one in store.api_tokens.all()] == [clock.now, clock.now, None]
