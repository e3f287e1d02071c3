"""The names of the strategies of tf.distribute that models train under."""

STRATEGIES = ("none", "mirrored", "multi_worker")
