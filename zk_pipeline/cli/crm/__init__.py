"""Commands that concern delivery to the CRM."""
