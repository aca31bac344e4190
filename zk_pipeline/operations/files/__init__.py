"""Files: exports, month sheets, holiday calendars, device and shift files."""
