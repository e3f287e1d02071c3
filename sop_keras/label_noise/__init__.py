"""Synthetic label noise, drawn for each example from a seed and its id alone."""
