"""Presets: one file per figure, values only."""
