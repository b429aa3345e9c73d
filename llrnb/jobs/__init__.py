"""Notebooks that compute the cells of a sweep, run by papermill."""
