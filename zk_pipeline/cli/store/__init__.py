"""Commands that concern the store as a whole."""
