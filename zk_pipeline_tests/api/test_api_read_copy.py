"""Requests while the API reads from a copy of the store: age of responses, and own changes."""

from __future__ import annotations

import pytest

from zk_pipeline_tests.api.api_fixtures import Served
from zk_pipeline_tests.waiting import until


@pytest.mark.closed_stores
def test_a_response_from_a_copy_has_its_age_and_a_token_sees_its_own_changes(
    own: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = own.services.read_copy
    assert copy is not None
    monkeypatch.setattr(copy, "smallest_bytes", 0)
    monkeypatch.setattr(copy, "busy_reads", 1)
    with own.client("read") as reading, own.client("admin") as admin:
        assert "age" not in reading.get("/api/devices/").headers
        until(lambda: reading.get("/api/devices/").headers.get("age") == "0")
        monkeypatch.setattr(copy, "busy_reads", 1000)  # no newer copy
        added = admin.post("/api/devices/", json={"name": "North", "ip_address": "192.0.2.10"})
        assert (added.status_code, "age" in added.headers) == (201, False)
        own_view = admin.get("/api/devices/")
        assert ([one["name"] for one in own_view.json()], "age" in own_view.headers) == (["North"], False)
        other_view = reading.get("/api/devices/")
        assert (other_view.json(), int(other_view.headers["age"]) >= 0) == ([], True)
