"""Assignment of punches to work dates, and which work dates are stale."""
