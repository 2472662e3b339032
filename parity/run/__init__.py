"""Runs the checks: takes a subject, plans every check of it, and gives a `Report`, as data."""
