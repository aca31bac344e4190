"""Read models for the API, the admin pages, the CLI and exports."""
