"""Software-defined assets: devices, raw punches, daily attendance, CRM sync, and what the UI shows of them."""
