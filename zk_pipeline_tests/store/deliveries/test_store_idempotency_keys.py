"""Keys made in the database are those of the payload's own function, for whatever people and sites are called."""

from __future__ import annotations

import pytest

from zk_pipeline.crm.payload import idempotency_key
from zk_pipeline.store.store import Store
from zk_pipeline_tests.store.store_fixtures import MONDAY, TUESDAY, device, ingest, on, process, rows

NASTY = [
    "1001", "", " ", "null", "0", '"', "\\", '\\"', "'; --", "a, b", '", "', "[]", "%s", "{0}", "\x01\x1f\x7f",
    "\t\n\r", "Zoë", "\u2028", "\ufeff", "\U0001f642", "e\u0301", "\uffff",
]  # fmt: skip


@pytest.mark.parametrize("per_site", [True, False])
def test_keys_are_those_of_the_payload(per_site: bool, store: Store) -> None:
    for site in ('Werk "Süd" \\ 1', "plain"):
        store.devices.add(device(f"Gate {site}", site=site))
        ingest(store, f"Gate {site}", *(punch for name in NASTY for punch in on(MONDAY, "08:00", user_id=name)))
    process(store, MONDAY, per_site=per_site)
    ingest(store, "Gate plain", *on(MONDAY, "17:00"), *on(TUESDAY, "08:00"))
    process(store, MONDAY, TUESDAY, per_site=per_site)
    made = rows(
        store,
        """
        SELECT site, user_id, work_date, revision, coalesce(sha256(merged), payload_hash), idempotency_key
        FROM crm_deliveries JOIN daily_attendance_revisions USING (site, user_id, work_date, revision)
        """,
    )
    assert len(made) == (2 if per_site else 1) * len(NASTY) + 2
    assert [key for *_, key in made] == [idempotency_key(*parts) for *parts, _ in made]
