"""Alerts: quality checks and their results, problems, messages, notification channels."""
