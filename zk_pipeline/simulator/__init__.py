"""Emulated ZKTeco terminals and a CRM receiver, for the demo, the tests and users' own CI."""
