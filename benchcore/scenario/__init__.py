"""Scenarios and matrices: files, stages, runs, results."""
