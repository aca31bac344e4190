"""Commands that concern the REST API and the web admin."""
