"""Errors of a whole delivery run. The failure of a single record is an `Outcome`, not an exception."""

from __future__ import annotations

from zk_pipeline.crm.models import DeliverySummary
from zk_pipeline.errors import UsageError, ZkPipelineError


class CrmError(ZkPipelineError):
    """Delivery to the CRM cannot continue."""


class CrmMisconfigured(CrmError):
    """Delivery requires an operator to change a setting, which the message names. No attempt was spent.

    `summary` has the run's results until then; None if it had not begun.
    """

    def __init__(self, message: str, *, summary: DeliverySummary | None = None) -> None:
        super().__init__(message)
        self.summary = summary


class CrmSettingWrong(CrmMisconfigured, UsageError):
    """An invalid setting or crm_mapping.yaml, detected without a request to the CRM. Exit code 2."""
