"""Pages of terminals: list, registration, status, quarantine."""
