"""From any punches to days through the real store: equal to the plainest loop over the same punches."""

from __future__ import annotations

import shutil
import tempfile
from datetime import timedelta
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from zk_pipeline.attendance.rules import WorkRules
from zk_pipeline.operations.process import process_dates
from zk_pipeline_tests.attendance.plain_attendance import Day, Punch, instant, plain_days, punches, work_rules
from zk_pipeline_tests.store.store_bench import StoppedClock, device, ingest, rows, stale, store_at

DAYS = """
SELECT site, user_id, work_date, device, timezone, clock_in, clock_out, clock_in_local, clock_out_local, punch_count,
       worked_minutes, outlier_codes, outlier_reason
FROM daily_attendance ORDER BY site, user_id, work_date
"""


@settings(deadline=None, max_examples=8)
@given(held=punches(most=25), rules=work_rules(), hours=st.integers(-48, 96), split=st.integers(1, 5))
def test_any_punches_in_any_split_over_polls_make_the_days_of_the_plainest_loop(
    held: list[Punch], rules: WorkRules, hours: int, split: int, empty_store_file: Path
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "store.duckdb"
        shutil.copyfile(empty_store_file, path)
        clock = StoppedClock(max(instant(punch.local, punch.zone) for punch in held))
        store = store_at(path, clock)
        gates = {(punch.device, punch.zone, punch.site) for punch in held}
        store.devices.apply(device(name, timezone=zone, site=site) for name, zone, site in gates)
        for part in (held[:split], held[split:], held[:1]):
            for name, _, _ in sorted(gates):
                log = [(punch.user_id, str(punch.local)) for punch in part if punch.device == name]
                if log:
                    ingest(store, name, *log)
        clock.now = instant(held[0].local, held[0].zone) + timedelta(hours=hours)
        store.punches.adopt_workday_start(rules.workday_starts_at)
        assert process_dates(store, stale(store), rules, run_id=None).failed == {}
        assert stale(store) == []
        made = [Day(*row) for row in rows(store, DAYS)]
        assert made == plain_days(held, rules, store.clock())
