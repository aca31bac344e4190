"""Data quality checks: expectation, severity and remedy of each.

`quality_check_sensor` evaluates them without a run; their results are decided in `quality_verdicts`. Checks that an
asset evaluates itself are in `defs/checks`.
"""

from __future__ import annotations

from dataclasses import dataclass

ERROR, WARN = "ERROR", "WARN"


@dataclass(frozen=True, kw_only=True)
class Check:
    """A check of an asset: what must hold, how bad it is when it does not, and what to do then."""

    name: str
    asset: str
    severity: str
    expectation: str
    remedy: str
    blocking: bool = False


TERMINALS_READ_RECENTLY = Check(
    name="terminals_read_in_time",
    asset="raw_punches",
    severity=ERROR,
    expectation="Every enabled terminal was read within 45 minutes (three polls, where they are rarer).",
    remedy="`zk-pipeline test-device NAME` says what is in the way; `device disable` takes one out for a while.",
)
PROCESSED_IN_TIME = Check(
    name="dates_processed_in_time",
    asset="daily_attendance",
    severity=ERROR,
    expectation="No work date has waited for 2 hours after new punches.",
    remedy="Look at the newest run of process_attendance; `zk-pipeline process` makes all that wait.",
)
DELIVERED_IN_TIME = Check(
    name="days_delivered_in_time",
    asset="crm_sync",
    severity=ERROR,
    expectation="No delivery has been due for more than 2 hours.",
    remedy="`zk-pipeline test-crm` says what is in the way; `zk-pipeline sync` delivers what is due.",
)
TABLES_SOUND = Check(
    name="schema_matches_migrations",
    asset="devices",
    severity=ERROR,
    expectation="Tables and columns are those of the migrations; names of devices, people and dates are there once.",
    remedy="Nothing reaches the CRM while columns are wrong: restore a backup, or put right what was changed by hand.",
    blocking=True,
)
PUNCHES_UNIQUE = Check(
    name="punches_unique",
    asset="raw_punches",
    severity=ERROR,
    expectation="Each punch (device, user_id, punched_at_local) stored in the last day is there once.",
    remedy="Somebody wrote to the store by other means. Days are still right: a double punch counts once.",
    blocking=True,
)
DAYS_SOUND = Check(
    name="attendance_rows_consistent",
    asset="daily_attendance",
    severity=ERROR,
    expectation="A person has one day per date and site, as its history and its delivery say.",
    remedy="The dates named are kept from the CRM. `zk-pipeline process --date D` makes them anew and lets them go.",
    blocking=True,
)
QUARANTINE_STILL = Check(
    name="quarantine_is_not_growing",
    asset="raw_punches",
    severity=WARN,
    expectation="No record was put into quarantine in the last day.",
    remedy="Look at quarantined_records: impossible dates mean that a clock was wrong; report others with `raw`.",
)
IDS_SHARED = Check(
    name="user_id_unique_per_site",
    asset="raw_punches",
    severity=WARN,
    expectation="A user id has one name on all terminals of a site.",
    remedy="Two people under one id share one day. Enrol one under another id, or put the terminals in two sites.",
)
IDS_SHARED_BY_SITES = Check(
    name="user_id_unique_across_sites",
    asset="crm_sync",
    severity=WARN,
    expectation="No user id has clearly different names at two sites.",
    remedy="The CRM gets their records per site, with the field `site`. Give one of the people another id, or correct "
    "the name on the terminal.",
)
ONE_SITE_A_DAY = Check(
    name="one_site_per_user_and_date",
    asset="crm_sync",
    severity=WARN,
    expectation="In the last week nobody had rows at several sites on one work date.",
    remedy="The CRM is told one record of them, from the first punch to the last, unless CRM_RECORD_PER is `site`. "
    "Terminals between which people go on foot can share a site.",
)
PEOPLE_KNOWN = Check(
    name="punches_from_enrolled_users",
    asset="raw_punches",
    severity=WARN,
    expectation="Whoever punched in the last week is enrolled on a terminal of the site.",
    remedy="A user was deleted on the terminal, or a terminal was moved: compare with `zk-pipeline device users NAME`.",
)
NO_EMPTY_DAYS = Check(
    name="work_days_have_punches",
    asset="daily_attendance",
    severity=WARN,
    expectation="No site was empty on a weekday of the last week on which it usually is not.",
    remedy="A holiday, or a terminal that lost its log or its network: `zk-pipeline status`, `poll NAME --full`.",
)
USUAL_SHARES = Check(
    name="outliers_are_as_usual",
    asset="daily_attendance",
    severity=WARN,
    expectation="The share of outliers and incomplete days is within that of the 30 days before.",
    remedy="A clock that is off, a terminal out of service, or other working hours: look at outlier_codes of the date.",
)
FEW_REVISIONS = Check(
    name="no_revision_churn",
    asset="daily_attendance",
    severity=WARN,
    expectation="No person's day got more than 12 revisions within a day.",
    remedy="Look at daily_attendance_revisions of that day: what changes to and fro, and which runs did it.",
)

CHECKS = (TERMINALS_READ_RECENTLY, PROCESSED_IN_TIME, DELIVERED_IN_TIME, TABLES_SOUND, PUNCHES_UNIQUE, DAYS_SOUND,
          QUARANTINE_STILL, IDS_SHARED, PEOPLE_KNOWN, NO_EMPTY_DAYS, USUAL_SHARES, FEW_REVISIONS, IDS_SHARED_BY_SITES,
          ONE_SITE_A_DAY)  # fmt: skip
LATENESS = (TERMINALS_READ_RECENTLY, PROCESSED_IN_TIME, DELIVERED_IN_TIME)  # of the clock as much as of the data
