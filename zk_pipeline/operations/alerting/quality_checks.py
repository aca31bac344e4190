"""Asset checks: expectation, severity and remedy of each. Their results are decided in `quality_results`.

`quality_check_sensor` evaluates all of them without a run; a run also evaluates `RUN_CHECKS` of its asset.
"""

from __future__ import annotations

from dataclasses import dataclass

ERROR, WARN = "ERROR", "WARN"


@dataclass(frozen=True, kw_only=True)
class Check:
    """A check of an asset: expectation, severity, and remedy on failure."""

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
    expectation="Every enabled terminal was polled successfully, and every one that pushes was in contact with the "
    "receiver, within 45 minutes (or three polling intervals, if longer).",
    remedy="Find the cause with `zk-pipeline test-device NAME`. Of a terminal that pushes, check its power, network "
    "and server address, and the receiver. `zk-pipeline device disable NAME` excludes a terminal.",
)
PROCESSED_IN_TIME = Check(
    name="dates_processed_in_time",
    asset="daily_attendance",
    severity=ERROR,
    expectation="No work date has waited for processing for more than 2 hours after new punches.",
    remedy="If its run failed, the page of the partition has the error. If there was no run, start new_punches_sensor, "
    "or see its ticks. `zk-pipeline process` processes all stale work dates.",
)
DELIVERED_IN_TIME = Check(
    name="days_delivered_in_time",
    asset="crm_sync",
    severity=ERROR,
    expectation="No delivery has been due for more than 2 hours.",
    remedy="Find the cause with `zk-pipeline test-crm`. `zk-pipeline sync` sends the due deliveries.",
)
SCHEMA_MATCHES_MIGRATIONS = Check(
    name="schema_matches_migrations",
    asset="devices",
    severity=ERROR,
    expectation="Tables and columns match the migrations; devices, users and work dates are unique.",
    remedy="No delivery is sent until this is repaired: undo the manual change, or restore a backup.",
    blocking=True,
)
PUNCHES_UNIQUE = Check(
    name="punches_unique",
    asset="raw_punches",
    severity=ERROR,
    expectation="Each punch (device, user_id, punched_at_local) of the last day is stored once.",
    remedy="Another program wrote to the store: stop it. Attendance days stay correct: a duplicate punch counts once.",
    blocking=True,
)
ATTENDANCE_ROWS_CONSISTENT = Check(
    name="attendance_rows_consistent",
    asset="daily_attendance",
    severity=ERROR,
    expectation="A user has one attendance day per work date and site, consistent with its revisions and delivery.",
    remedy="The named work dates are blocked from delivery until `zk-pipeline process --date D` has processed them "
    "again.",
    blocking=True,
)
QUARANTINE_NOT_GROWING = Check(
    name="quarantine_is_not_growing",
    asset="raw_punches",
    severity=WARN,
    expectation="No record was quarantined in the last day.",
    remedy="See quarantined_records: impossible dates are caused by a wrong clock; report other records with `raw`.",
)
USER_ID_UNIQUE_PER_SITE = Check(
    name="user_id_unique_per_site",
    asset="raw_punches",
    severity=WARN,
    expectation="A user id has one name on all terminals of a site.",
    remedy="Two employees with one id share one attendance day. Enrol one under another id, or separate the sites.",
)
USER_ID_UNIQUE_ACROSS_SITES = Check(
    name="user_id_unique_across_sites",
    asset="crm_sync",
    severity=WARN,
    expectation="No user id has clearly different names at two sites.",
    remedy="Their records are delivered per site, with the field `site`. Give one employee another id, or correct "
    "the name on the terminal.",
)
ONE_SITE_PER_USER_AND_DATE = Check(
    name="one_site_per_user_and_date",
    asset="crm_sync",
    severity=WARN,
    expectation="In the last week, no user had attendance days at several sites on one work date.",
    remedy="The CRM gets one record, from the first to the last punch, unless CRM_RECORD_PER is `site`. Terminals "
    "within walking distance can share a site.",
)
PUNCHES_FROM_ENROLLED_USERS = Check(
    name="punches_from_enrolled_users",
    asset="raw_punches",
    severity=WARN,
    expectation="Every user with punches in the last week is enrolled on a terminal of the site.",
    remedy="A user was deleted on the terminal, or a terminal was moved: compare with `zk-pipeline device users NAME`.",
)
WORK_DAYS_HAVE_PUNCHES = Check(
    name="work_days_have_punches",
    asset="daily_attendance",
    severity=WARN,
    expectation="Every site had punches on each weekday of the last week on which it usually has some.",
    remedy="A holiday, or a terminal that lost its log or its network: `zk-pipeline status`, `zk-pipeline poll NAME "
    "--full`.",
)
OUTLIERS_AS_USUAL = Check(
    name="outliers_are_as_usual",
    asset="daily_attendance",
    severity=WARN,
    expectation="The share of outliers and incomplete days is within that of the 30 days before.",
    remedy="A wrong clock, a terminal out of service, or other working hours: see outlier_codes of the work date.",
)
FEW_REVISIONS = Check(
    name="no_revision_churn",
    asset="daily_attendance",
    severity=WARN,
    expectation="No attendance day had more than 12 revisions within a day.",
    remedy="See daily_attendance_revisions of that day: which values flip back and forth, and which runs changed them.",
)

EVERY_RECORD_ACCOUNTED_FOR = Check(
    name="every_record_accounted_for",
    asset="raw_punches",
    severity=ERROR,
    expectation="All records of each enabled terminal are stored or in quarantine. Of a terminal that only pushes: "
    "those that it counted in a span and sent again on request.",
    remedy="Read the warnings of its last poll; `zk-pipeline poll NAME --full` reads its whole log. A terminal that "
    "only pushes is asked for missing punches each day.",
)
CLOCK_DRIFT_WITHIN_LIMIT = Check(
    name="clock_drift_within_limit",
    asset="raw_punches",
    severity=WARN,
    expectation="No clock drift of 60 s or more.",
    remedy="`zk-pipeline device set-clock NAME`. A terminal that pushes takes its time from the receiver: see that its "
    "time zone and the clock of the host are right. Punches recorded while it was wrong: "
    "`zk-pipeline device correct-clock NAME`.",
)
LOG_CAPACITY_AVAILABLE = Check(
    name="log_capacity_available",
    asset="raw_punches",
    severity=WARN,
    expectation="No log is filled to 80% or more.",
    remedy="`zk-pipeline device clear-log`, which requires that all records are stored. A terminal that only pushes "
    "overwrites its oldest records when it is full: clear its log in its menu, or leave it.",
)
WORK_DATES_HAVE_PARTITIONS = Check(
    name="every_work_date_has_a_partition",
    asset="daily_attendance",
    severity=WARN,
    expectation="No punches before the first partition or after the last one.",
    remedy="Set an earlier ZK_PIPELINE_HISTORY_START, or run `zk-pipeline device correct-clock`.",
)
NO_DEAD_LETTERS = Check(
    name="no_dead_letters",
    asset="crm_sync",
    severity=ERROR,
    expectation="No delivery is a dead letter.",
    remedy="Correct the cause in the CRM's error message, then `zk-pipeline sync --retry-failed`.",
)
NO_OVERDUE_DELIVERIES = Check(
    name="no_overdue_deliveries",
    asset="crm_sync",
    severity=WARN,
    expectation="No delivery has been due for 24 h or more.",
    remedy="`zk-pipeline test-crm` finds the cause; the table `crm_attempts` has all attempts.",
)

# Results that depend on the current time.
LATENESS = (TERMINALS_READ_RECENTLY, PROCESSED_IN_TIME, DELIVERED_IN_TIME)
# Results that the runs of an asset change.
RUN_CHECKS = (
    EVERY_RECORD_ACCOUNTED_FOR,
    CLOCK_DRIFT_WITHIN_LIMIT,
    LOG_CAPACITY_AVAILABLE,
    WORK_DATES_HAVE_PARTITIONS,
    NO_DEAD_LETTERS,
    NO_OVERDUE_DELIVERIES,
)
CHECKS = (
    *LATENESS,
    SCHEMA_MATCHES_MIGRATIONS,
    PUNCHES_UNIQUE,
    ATTENDANCE_ROWS_CONSISTENT,
    QUARANTINE_NOT_GROWING,
    USER_ID_UNIQUE_PER_SITE,
    PUNCHES_FROM_ENROLLED_USERS,
    WORK_DAYS_HAVE_PUNCHES,
    OUTLIERS_AS_USUAL,
    FEW_REVISIONS,
    USER_ID_UNIQUE_ACROSS_SITES,
    ONE_SITE_PER_USER_AND_DATE,
    *RUN_CHECKS,
)
