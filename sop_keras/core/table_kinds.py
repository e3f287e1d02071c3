"""How a method's sparse tables may be stored; read before TensorFlow is imported."""

DENSE, COMPACT = "dense", "compact"
STORED = (DENSE, COMPACT)
"""An entry a column; or some slots."""

CHOSEN = "auto"
KINDS = (*STORED, CHOSEN)
"""What may be asked for: one of them, or that `table_choice` takes one."""

SLOTS = 8
"""How many a row has unless more are asked for."""
