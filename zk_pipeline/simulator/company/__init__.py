"""A simulated company: employees, their schedules and punches, reproducible from a seed."""
