"""A generated company: terminals, employees, their schedules and punches, reproducible from a seed."""
