"""Commands that concern attendance days, shifts and holidays."""
