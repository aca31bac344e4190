"""Assets: devices, raw punches, daily attendance, CRM sync, with their metadata for the UI."""
