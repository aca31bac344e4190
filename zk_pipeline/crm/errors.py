"""How delivery fails as a whole. What happens to a single record is an `Outcome`, not an exception."""

from __future__ import annotations

from zk_pipeline.crm.models import DeliverySummary
from zk_pipeline.errors import UsageError, ZkPipelineError


class CrmError(ZkPipelineError):
    """Delivery to the CRM could not go on."""


class CrmMisconfigured(CrmError):
    """Nothing can be delivered until a person changes a setting, which the text names. No attempt was spent.

    `summary` is what the run had done until then, None when it had not begun.
    """

    def __init__(self, message: str, *, summary: DeliverySummary | None = None) -> None:
        super().__init__(message)
        self.summary = summary


class CrmSettingWrong(CrmMisconfigured, UsageError):
    """A setting or crm_mapping.yaml is wrong in itself, which is seen without asking the CRM. Exit code 2."""
