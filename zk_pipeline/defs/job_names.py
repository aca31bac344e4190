"""Job names."""

POLL = "poll_devices"
PROCESS = "process_attendance"
SYNC = "sync_to_crm"
RETRY = "retry_failed_syncs"
CLEANUP = "daily_cleanup"
