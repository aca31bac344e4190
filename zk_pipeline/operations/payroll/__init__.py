"""Payroll export: profiles, rows by employee, files."""
