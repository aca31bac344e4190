"""Command line: arguments, tables, exit codes. A command's module is under its name; the work is in `operations`."""
