"""Rows of some sites: the part of a store that `migrate-store --site` copies.

Rows of a site or of a device at it are in one part only. Rows that no site owns (settings, shifts, holidays and leaves
of all sites, payroll periods, API tokens, states of work dates) are in each part. Alerts and terminals that are
not adopted are in none: each store finds its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from zk_pipeline.counted import counted
from zk_pipeline.errors import UsageError
from zk_pipeline.store.engine.database import Connection
from zk_pipeline.store.schema.migrations_runner import literal
from zk_pipeline.store.terminals.namesakes import candidates, namesakes

_LISTED = 20  # users in a message

# Conditions by table; `{sites}` is a list of literals. A punch of an unregistered device belongs to a site of its name.
_BY_SITE = "site IN ({sites})"
_BY_DEVICE = """(device IN (SELECT one.name FROM devices AS one WHERE one.site IN ({sites}))
    OR (device IN ({sites}) AND device NOT IN (SELECT one.name FROM devices AS one)))"""
_BY_SERIAL = f"serial_number IN (SELECT serial_number FROM push_terminals WHERE {_BY_DEVICE})"  # noqa: S608 (constant)
_OF_ALL_SITES_TOO = "(site IS NULL OR site IN ({sites}))"
_ALL, _NONE = "true", "false"

PART: Mapping[str, str] = {
    "store_settings": _ALL,
    "day_reviews": _BY_SITE,
    "devices": _BY_SITE,
    "device_polls": _BY_DEVICE,
    "device_poll_totals": _BY_DEVICE,
    "raw_punches": _BY_DEVICE,
    "manual_punches": _BY_SITE,
    "quarantined_records": _BY_DEVICE,
    "push_terminals": _BY_DEVICE,
    "push_batches": _BY_DEVICE,
    "push_totals": _BY_DEVICE,
    "push_stamps": _BY_SERIAL,
    "push_commands": _BY_SERIAL,
    "push_checks": _BY_SERIAL,
    "device_events": _BY_DEVICE,
    "device_log_positions": _BY_DEVICE,
    "device_slots": _BY_DEVICE,
    "device_users": _BY_DEVICE,
    "shifts": _ALL,
    "payroll_periods": _ALL,
    "payroll_days": _BY_SITE,
    "configured_hours": _ALL,
    "shift_assignments": f"CASE WHEN device IS NULL THEN {_OF_ALL_SITES_TOO} ELSE {_BY_DEVICE} END",
    "shift_seasons": _ALL,
    "frozen_work_date_starts": _BY_DEVICE,
    "holiday_sources": _OF_ALL_SITES_TOO,
    "holidays": _OF_ALL_SITES_TOO,
    "leaves": _OF_ALL_SITES_TOO,
    "clock_corrections": _BY_DEVICE,
    "corrected_punches": _BY_DEVICE,
    "work_dates": _ALL,
    "daily_attendance": _BY_SITE,
    "daily_attendance_revisions": _BY_SITE,
    "crm_deliveries": _BY_SITE,
    "earlier_deliveries": _BY_DEVICE,
    "crm_attempts": _BY_SITE,
    "api_tokens": _ALL,
    "alerts": _NONE,
    "alert_messages": _NONE,
    "blocked_dates": _ALL,
}


@dataclass(frozen=True)
class Part:
    """The rows of `sites`; without sites, all rows of a store. `is_record_per_site`: CRM_RECORD_PER=site."""

    sites: tuple[str, ...] = ()
    is_record_per_site: bool = False

    def condition(self, table: str) -> str:
        """SQL condition for the rows of `table` in this part."""
        return PART[table].format(sites=", ".join(map(literal, self.sites))) if self.sites else _ALL


WHOLE = Part()


@dataclass(frozen=True)
class SplitFacts:
    """Sites of a store; user ids with punches or days on both sides of a split; of them, those with a CRM record that
    covers both sides; ids with several names, as `namesakes.candidates`.
    """

    sites: set[str]
    crossing: set[str]
    joint: set[str]
    named: list[tuple[str, list[str], list[str]]]


def split_facts(connection: Connection, part: Part) -> SplitFacts:
    """Facts for `check_split`, which takes longer and runs outside the store lock."""

    def users(sql: str) -> set[str]:
        here = {"by_site": part.condition("daily_attendance"), "by_device": part.condition("raw_punches")}
        return {user_id for (user_id,) in connection.execute(sql.format(**here)).fetchall()}

    sites = {site for (site,) in connection.execute(_SITES).fetchall()}
    return SplitFacts(sites, users(_CROSSING), users(_JOINT), candidates(connection))


def check_split(part: Part, facts: SplitFacts) -> None:
    """Raises UsageError for an unknown site, and for users whose days, records or pay depend on both sides."""
    unknown = sorted(set(part.sites) - facts.sites)
    if unknown:
        raise UsageError(f"no site {unknown[0]!r} in the store; its sites: {', '.join(sorted(facts.sites))}")
    here = set(part.sites)
    apart = {
        user_id for user_id, _ in namesakes(one for one in facts.named if here & set(one[1]) and set(one[1]) - here)
    }
    split = (facts.crossing - apart) | facts.joint if part.is_record_per_site else facts.crossing | apart
    if split:
        users = sorted(split)
        more = f" and {len(users) - _LISTED:,} more" if len(users) > _LISTED else ""
        raise UsageError(
            f"{counted(len(users), 'user id')} with punches, days or different names at these sites and at others: "
            f"{', '.join(users[:_LISTED])}{more}; name all sites of these users with --site"
        )


_SITES = """
SELECT site FROM devices UNION SELECT site FROM daily_attendance_revisions UNION SELECT site FROM manual_punches
UNION SELECT device FROM raw_punches WHERE device NOT IN (SELECT name FROM devices)
"""

# Revisions, too: numbers of a user's date are one sequence over all sites.
_CROSSING = """
SELECT user_id FROM (
    SELECT user_id, {by_device} AS is_here FROM raw_punches WHERE voided_at IS NULL
    UNION SELECT user_id, {by_site} FROM daily_attendance_revisions
    UNION SELECT user_id, {by_site} FROM manual_punches
)
GROUP BY user_id HAVING count(DISTINCT is_here) > 1
"""

# Users and dates with rows on both sides, and a record that covered them together.
_JOINT = """
SELECT DISTINCT user_id FROM (
    SELECT user_id, work_date FROM daily_attendance_revisions GROUP BY ALL HAVING count(DISTINCT {by_site}) > 1
) SEMI JOIN (FROM crm_deliveries WHERE record_per = 'person') USING (user_id, work_date)
"""
