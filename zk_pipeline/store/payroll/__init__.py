"""Payroll periods: what they have paid, and what is not paid yet."""
