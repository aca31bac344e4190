"""Files that people exchange: exports, month sheets, holiday calendars, device and shift files."""
