"""A gate of adaptive rates that is open from the first step on."""

import numpy as np


def open_gate(model):
    """The model, as if its network had long learnt what it can; rows may grow.

    Labels that contradict it are enough after 3 visits, whatever else it knows, and 20
    steps are the least. With an agreement of 1 before, that of now is no progress.
    """
    totals = model.shared["gate_totals"]
    slow, visits, steps, opened = 8, 9, 10, 11
    values = np.zeros(totals.shape, np.float32)
    values[[slow, visits, steps, opened]] = [1.0, 4.0, 30.0, 1.0]
    totals.assign(values)
    return model
