"""How a run ends in which some partitions failed and the others did not."""

from __future__ import annotations

import dagster as dg

MISCONFIGURED_CRM = "misconfigured"  # metadata of a sync run that a person must make possible first


def partial_failure(what: str, failures: dict[str, str], asked: int) -> dg.Failure:
    """The run's own failure, after every partition that succeeded has had its event."""
    lines = [f"- **{name}**: {why}" for name, why in sorted(failures.items())]
    return dg.Failure(
        description=f"{len(failures)} of {asked} {what}s failed: " + "; ".join(sorted(failures.values())[:3]),
        metadata={"failed": dg.MetadataValue.md("\n".join(lines)), "failed_count": len(failures)},
        allow_retries=False,
    )
