"""Commands that concern terminals and their punches."""
