"""How a method's sparse tables may be stored; read before TensorFlow is imported."""

STORED = ("dense", "compact")
"""An entry a class; or some slots."""

AUTO = "auto"
"""Slots where entries would take more than 1 GB."""

SLOTS = 8
"""How many a row has unless more are asked for."""
