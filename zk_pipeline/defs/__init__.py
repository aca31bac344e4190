"""Dagster: partitions, resources, assets, jobs, schedules, sensors. Thin: the rules are in the domain packages, the work
in operations. The only package that imports dagster.
"""
