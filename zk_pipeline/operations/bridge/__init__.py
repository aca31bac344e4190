"""History of the Django bridge that this pipeline replaces."""
