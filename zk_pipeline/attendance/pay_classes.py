"""Pay classes: the minutes of an attendance day by kind of pay."""

from __future__ import annotations

from zk_pipeline.attendance.rules import ExplainedCode


class PayClass(ExplainedCode):
    """Pay classes. All but `night` add up to the minutes worked."""

    REGULAR = "regular", "Worked minutes without overtime"
    OVERTIME_WEEKDAY = "overtime_weekday", "Daily overtime on a working day"
    OVERTIME_REST_DAY = "overtime_rest_day", "Daily overtime on a rest day"
    OVERTIME_HOLIDAY = "overtime_holiday", "Daily overtime on a holiday"
    WEEKLY_OVERTIME = "weekly_overtime", "Regular minutes beyond the week's threshold"
    NIGHT = "night", "Minutes at night, a premium on top of the other classes"

    @property
    def is_premium(self) -> bool:
        return self is PayClass.NIGHT


INFORMATION = ("late", "early_leave")  # minutes that are stored with the classes and paid by none
