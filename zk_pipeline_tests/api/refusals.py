"""Refusals of the API that its OpenAPI document cannot foresee."""

from __future__ import annotations

# What a document cannot say: these refusals are of the meaning of what was sent, or of what is stored at the time.
_BEGINNINGS = (
    "after: not valid for this list",
    "device: there is none with the id",
    "ordering: ",
    "name: ",
    "timezone: ",
    "time zone ",
    "encoding ",
    "comm_key_env: ",
    "variable ",
    "site: ",
    "site '",
    "give either date or",
    "device name ",
    "device '",
    "the command ",
    "start_date and end_date must be given together",
    "end_date: ",
    "end_date ",
    "host ",
    "shift ",
    "no shift ",
    "rotation ",
    "assignment ",
    "no site ",
    "no user has the id ",
    "the user_id is empty",
    "holiday ",
    "period ",
    "no payroll profile ",
    "valid_",
    "a shift is assigned to ",
    "the span ends at ",
    "as_of: ",
    "at: ",
    "from_local: ",
    "to_local: ",
    "is_outlier: contradicts",
    "synced_to_crm: contradicts",
    "invalid user id ",
    "the kind must be at most ",
    "it lasts longer than ",
    "limit: give either limit or ",
)
_PARTS = (
    ": given both as a parameter and in the body",
    ": valid_to ",
    " is before first_date ",
    " is before ZK_PIPELINE_HISTORY_START",
    " is in the future",
)


def is_of_meaning(detail: str) -> bool:
    return detail.startswith(_BEGINNINGS) or any(part in detail for part in _PARTS)
