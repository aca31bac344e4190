"""Alerts: quality checks and their verdicts, problems, messages, notification channels."""
