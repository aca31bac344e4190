"""The REST API: an HTTP face on the store, the terminals and Dagster's runs. Rules live elsewhere."""
