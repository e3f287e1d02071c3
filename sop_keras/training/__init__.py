"""Whole experiments: settings, runs in a folder, checkpoints, figures."""
