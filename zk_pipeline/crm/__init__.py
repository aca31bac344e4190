"""CRM delivery: payload, HTTP client, response classification, retries. No dagster, no SQL."""
