"""Emulated ZKTeco terminals and an emulated CRM, for the demo, the tests and users' own CI."""
