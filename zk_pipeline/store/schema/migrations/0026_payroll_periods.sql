-- Payroll periods, and the minutes that each closed one has paid per attendance day. Rows on work dates before the period
-- are adjustments: differences to what earlier periods paid.

CREATE TABLE payroll_periods (
    period VARCHAR NOT NULL,
    first_date DATE NOT NULL,
    last_date DATE NOT NULL,
    state VARCHAR NOT NULL,
    opened_at TIMESTAMPTZ NOT NULL,
    opened_by VARCHAR NOT NULL,
    closed_at TIMESTAMPTZ,
    closed_by VARCHAR,
    overridden VARCHAR,
    reopened_at TIMESTAMPTZ,
    reopened_by VARCHAR
);

CREATE TABLE payroll_days (
    period VARCHAR NOT NULL,
    site VARCHAR NOT NULL,
    user_id VARCHAR NOT NULL,
    work_date DATE NOT NULL,
    former_revision INTEGER,
    revision INTEGER,
    attendance_status VARCHAR,
    leave VARCHAR,
    regular_minutes INTEGER NOT NULL,
    overtime_weekday_minutes INTEGER NOT NULL,
    overtime_rest_day_minutes INTEGER NOT NULL,
    overtime_holiday_minutes INTEGER NOT NULL,
    weekly_overtime_minutes INTEGER NOT NULL,
    night_minutes INTEGER NOT NULL,
    late_minutes INTEGER NOT NULL,
    early_leave_minutes INTEGER NOT NULL,
    weekly_overtime_after_minutes INTEGER
);
