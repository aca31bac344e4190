"""A home whose runs are done by workers of other hosts: the `dagster.yaml` of deploy/celery on real servers."""

from __future__ import annotations

from pathlib import Path

import yaml

from zk_pipeline_tests.postgres import USER, Postgres

CELERY_YAML = Path(__file__).parents[1] / "deploy" / "celery" / "dagster.yaml"


def storage_variables(postgres: Postgres) -> dict[str, str]:
    """Environment variables that `dagster.yaml` of deploy/ reads, for a new database."""
    return {
        "DAGSTER_POSTGRES_HOST": "127.0.0.1",
        "DAGSTER_POSTGRES_PORT": str(postgres.port),
        "DAGSTER_POSTGRES_DB": postgres.fresh_database().rpartition("/")[2],
        "DAGSTER_POSTGRES_USER": USER,
        "DAGSTER_POSTGRES_PASSWORD": postgres.password,
    }


def broker_variables(redis: str) -> dict[str, str]:
    return {"DAGSTER_CELERY_BROKER_URL": f"{redis}/0", "DAGSTER_CELERY_RESULT_URL": f"{redis}/1"}


def replaced(text: str, changes: dict[str, str]) -> str:
    """With other values in lines that must be there."""
    for ours, theirs in changes.items():
        assert ours in text, ours
        text = text.replace(ours, theirs)
    return text


def routed_yaml() -> str:
    """The shipped file with neither its storage nor its workers: queue and limits as they are, all on this host."""
    config = yaml.safe_load(CELERY_YAML.read_text())
    del config["storage"], config["run_launcher"]
    return yaml.safe_dump(config)
