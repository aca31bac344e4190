"""Commands that run, show and check an installation."""
