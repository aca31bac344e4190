"""Benchmark of claims and settlements as settled deliveries accumulate: `python -m benchmarks.crm_growth`.

The 2,000 due deliveries of `crm`, in stores with up to a million settled ones. Figures: crm.md.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from benchmarks.crm_clients import InstantCrm
from zk_pipeline.crm.delivery import deliver
from zk_pipeline.crm.models import Delivery, Outcome
from zk_pipeline.store.deliveries.due_deliveries import SyncScope
from zk_pipeline.store.deliveries.outbox import SyncOutbox
from zk_pipeline.store.store import Store
from zk_pipeline_tests.crm.due_days import dates_from, make_due

USERS, DATES = 200, 10
SETTLED = (0, 10_000, 100_000, 1_000_000)

# Copies of the due deliveries on earlier dates, stored before them, as in a store that grows by days.
_AGE = """
CREATE TEMP TABLE due AS FROM {table};
DELETE FROM {table};
INSERT INTO {table} BY NAME
SELECT due.* REPLACE ((work_date - (copies.n * $dates)::INTEGER)::DATE AS work_date {more})
FROM due, range(1, $copies + 1) AS copies(n) ORDER BY work_date;
INSERT INTO {table} FROM due;
DROP TABLE due;
"""
_ARRIVED = ", idempotency_key || copies.n AS idempotency_key, 'delivered' AS state, now() AS delivered_at"


@dataclass
class Timed:
    """An outbox with timed transactions: (outcomes settled, deliveries claimed, seconds of CPU)."""

    outbox: SyncOutbox
    timings: list[tuple[int, int, float]]

    def ensure_sync_lock(self) -> None:
        self.outbox.ensure_sync_lock()

    def mark_sending(self, deliveries: Sequence[Delivery]) -> None:
        self.outbox.mark_sending(deliveries)

    def settle_and_claim(self, outcomes: list[Outcome], wanted: int) -> list[Delivery]:
        began = time.process_time()
        claimed = self.outbox.settle_and_claim(outcomes, wanted)
        self.timings.append((len(outcomes), len(claimed), time.process_time() - began))
        return claimed


def age(store: Store, settled: int) -> None:
    """Insert settled deliveries with their days, older than the due ones."""
    values = {"dates": DATES, "copies": settled // (USERS * DATES)}
    for table, more in (("crm_deliveries", _ARRIVED), ("daily_attendance_revisions", "")):
        with store.database.write("benchmark") as connection:
            for statement in _AGE.format(table=table, more=more).split(";"):
                if statement.strip():
                    connection.execute(statement, values if "$" in statement else None)


@click.command()
def main() -> None:
    """Deliver 2,000 days to a CRM without latency, with increasing numbers of settled deliveries in the store."""
    click.echo("| settled before | CPU of the transactions | first claim | a settlement |")
    click.echo("|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        template = Path(folder) / "due.duckdb"
        due = make_due(Store.at(template), people=USERS, dates=dates_from(DATES))
        for settled in SETTLED:
            store = Store.at(shutil.copyfile(template, Path(folder) / f"{settled}.duckdb"))
            age(store, settled)
            store.deliveries.states()  # imports everything first
            outbox = Timed(store.deliveries.outbox(SyncScope(), "benchmark", lambda: True), [])
            summary = deliver(outbox, InstantCrm(), concurrency=8, max_attempts=3, batch_size=1, clock=store.clock)
            assert summary.delivered == due
            total = sum(cpu for _, _, cpu in outbox.timings)
            ends = [cpu for ended, _, cpu in outbox.timings if ended]
            first = outbox.timings[0][2]
            click.echo(
                f"| {settled:,} | {total * 1e3:.0f} ms | {first * 1e3:.0f} ms | {sum(ends) / len(ends) * 1e3:.0f} ms |"
            )
            store.database.path.unlink()


if __name__ == "__main__":
    main()
