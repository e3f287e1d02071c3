"""The optimizer and the learning-rate schedules of the paper's experiments."""
