"""Distribution of the tests over xdist workers: files that take long first, each file whole or by the case."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from xdist.scheduler import LoadScopeScheduling

if TYPE_CHECKING:
    from xdist.remote import Producer

# Files that take long, which are not in `-m fast`: about the longest first, what waits for a daemon between what
# computes. WHOLE: its tests share what is slow to start.
WHOLE, BY_CASE = True, False
SLOW = {
    "demo/test_control_room.py": WHOLE,
    "crm/matrix/test_crm_matrix_outages.py": BY_CASE,
    "cli/test_cli_signals.py": BY_CASE,
    "crm/test_crm_stress.py": BY_CASE,
    "demo/test_demo_ui.py": WHOLE,
    "upgrades/test_upgrades.py": BY_CASE,
    "upgrades/test_upgrade_in_use.py": BY_CASE,
    "cli/test_cli_secrets.py": BY_CASE,
    "store/engine/test_store_ducklake.py": WHOLE,
    "cli/test_cli_pipeline.py": BY_CASE,
    "cli/test_cli_private_files.py": BY_CASE,
    "demo/test_demo.py": WHOLE,
    "crm/matrix/test_crm_matrix_answers.py": BY_CASE,
    "web/attendance/test_web_attendance_browser.py": WHOLE,
    "web/test_web_pages.py": WHOLE,
    "web/test_web_forms.py": WHOLE,
    "web/test_web_tasks.py": WHOLE,
    "defs/assets/test_selections.py": WHOLE,
    "web/test_web_push.py": WHOLE,
    "web/test_web_home.py": WHOLE,
    "web/attendance/test_web_punch_files.py": WHOLE,
    "web/attendance/test_web_search.py": WHOLE,
    "store/deliveries/test_store_records.py": BY_CASE,
    "store/deliveries/test_store_unknown_outcomes.py": WHOLE,
    "store/engine/test_store_together.py": WHOLE,
    "defs/automation/test_alerts_of_runs.py": WHOLE,
    "store/maintenance/test_store_migration.py": WHOLE,
    "store/days/test_store_days.py": BY_CASE,
    "store/deliveries/test_store_deliveries.py": WHOLE,
    "cli/test_cli_cancelled_sync.py": BY_CASE,
    "crm/matrix/test_crm_matrix_crashes.py": BY_CASE,
    "operations/test_unstorable_readings.py": WHOLE,
    "store/deliveries/test_store_idempotency_keys.py": BY_CASE,
    "crm/test_crm_records.py": WHOLE,
    "operations/test_restored_pipeline.py": BY_CASE,
    "cli/test_cli_help.py": WHOLE,
    "store/engine/test_store_database.py": WHOLE,
    "operations/test_sync_operation.py": WHOLE,
    "operations/alerting/test_quality_results.py": WHOLE,
    "cli/test_cli_migrate_store.py": BY_CASE,
    "cli/test_cli_left_locked.py": BY_CASE,
    "devices/protocol/test_terminal_fuzz.py": BY_CASE,
    "operations/test_log_histories.py": BY_CASE,
    "devices/matrix/test_matrix_connections.py": BY_CASE,
    "devices/matrix/test_matrix_lines.py": BY_CASE,
    "operations/test_any_order.py": BY_CASE,
    "store/quality/test_store_doctor.py": BY_CASE,
    "store/shifts/test_store_shifts.py": BY_CASE,
    "attendance/test_golden_days.py": WHOLE,
    "store/work_dates/test_store_work_dates.py": WHOLE,
    "store/terminals/test_store_slots.py": WHOLE,
    "store/terminals/test_store_clock_errors.py": WHOLE,
    "store/queries/test_store_lists.py": WHOLE,
    "store/queries/test_delivery_counts.py": WHOLE,
    "store/queries/test_store_explanations.py": WHOLE,
    "store/terminals/test_keypad_locks.py": BY_CASE,
    # More than a seventh of a second per case, mostly waits for timeouts and copies of stores.
    "attendance/test_any_rules.py": WHOLE,
    "attendance/test_attendance_zones.py": WHOLE,
    "crm/test_crm_lookup.py": WHOLE,
    "crm/test_crm_signal_safe.py": WHOLE,
    "devices/test_incomplete_readings.py": WHOLE,
    "devices/test_live_punches.py": WHOLE,
    "devices/test_locked_reading.py": WHOLE,
    "devices/test_reading_again.py": WHOLE,
    "devices/test_terminal_failures.py": WHOLE,
    "receiver/test_receiver_clocks.py": WHOLE,
    "receiver/test_receiver_commands.py": WHOLE,
    "receiver/test_receiver_faults.py": WHOLE,
    "receiver/test_receiver_mistakes.py": WHOLE,
    "receiver/test_receiver_process.py": WHOLE,
    "receiver/test_receiver_security.py": WHOLE,
    "receiver/test_reconciliation.py": WHOLE,
    "simulator/company/test_simulator_workforce.py": WHOLE,
    "store/days/test_store_muster.py": WHOLE,
    "store/maintenance/test_poll_totals.py": WHOLE,
    "store/maintenance/test_store_retention.py": WHOLE,
    "store/payroll/test_any_payroll.py": WHOLE,
    "store/payroll/test_payroll_periods.py": WHOLE,
    "store/push/test_push_checks.py": WHOLE,
    "store/push/test_push_retention.py": WHOLE,
    "store/push/test_push_terminals.py": WHOLE,
    "store/push/test_push_uploads.py": WHOLE,
    "store/quality/test_home_queries.py": WHOLE,
    "store/quality/test_store_repairs.py": WHOLE,
    "store/queries/test_punch_directions.py": WHOLE,
    "store/queries/test_store_metrics.py": WHOLE,
    "store/queries/test_store_reviews.py": WHOLE,
    "store/schema/test_names_migration.py": WHOLE,
    "store/shifts/test_leaves.py": WHOLE,
    "store/terminals/test_store_devices.py": WHOLE,
    "store/terminals/test_store_punches.py": WHOLE,
    "store/terminals/test_store_registrations.py": WHOLE,
    "store/work_dates/test_configured_hours.py": WHOLE,
    "store/work_dates/test_manual_punches.py": WHOLE,
}


class LongestFirst(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
    """Work units in the order of the collection, which `sort_items` has sorted by `SLOW`."""

    def __init__(self, config: pytest.Config, log: Producer | None) -> None:
        config.option.loadscopereorder = False  # by the number of tests
        super().__init__(config, log)

    def _split_scope(self, nodeid: str) -> str:
        return nodeid.partition("::")[0] if SLOW.get(file_of(nodeid), WHOLE) else nodeid


def sort_items(items: list[pytest.Item]) -> None:
    """Bring the tests of slow files to the front; others stay in the order of their collection."""
    rank = {file: number for number, file in enumerate(SLOW)}
    items.sort(key=lambda item: rank.get(file_of(item.nodeid), len(rank)))


def file_of(nodeid: str) -> str:
    """Path of a test's file below the folder of the tests, wherever pytest was started."""
    return nodeid.partition("::")[0].rpartition("zk_pipeline_tests/")[2]
