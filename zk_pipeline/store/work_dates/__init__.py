"""Assignment of punches to work dates, and stale work dates."""
