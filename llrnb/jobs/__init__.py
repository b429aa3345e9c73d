"""The notebook that computes the cells of a sweep, run by papermill."""
