"""A sieve: two networks, each trained on what its peer finds easy, and what it keeps.

What a method may be at its most: two networks, a look at all examples before an epoch,
and a role for each example in it.
"""

from dataclasses import dataclass

import keras
import numpy as np
from keras import ops

from sop_keras.core.method import Method
from sop_keras.core.table import Table


@keras.saving.register_keras_serializable(package="sop_keras_tests")
@dataclass(frozen=True)
class Sieve(Method):
    """Cross entropy of each network on the share of examples its peer finds easiest."""

    share: float = 0.5

    num_networks = 2

    @property
    def loss_parts(self):
        return ("first_loss", "second_loss")

    def tables(self, num_classes):
        # Which network trains on an example; and how often it was trained on at all.
        return (Table("kept", 2, initial=1.0), Table("visits", 1))

    def schedule(self, epoch, epochs):
        return {"weight": 1.0 - epoch / (2 * epochs)}

    def looks_before(self, epoch):
        return epoch >= 1

    def before_epoch(self, look):
        easy = [losses <= np.quantile(losses, self.share) for losses in look.losses]
        return {"kept": np.stack(easy[::-1], axis=-1)}

    def loss(self, outputs, rows, batch):
        parts = {}
        for place, name in enumerate(self.loss_parts):
            losses = self.evaluation_loss(
                outputs[place].views[0], batch.given_labels, batch.labels, True
            )
            parts[name] = batch.mean_loss(losses * rows["kept"][:, place])
        weight = batch.scheduled["weight"]
        return weight * (parts["first_loss"] + parts["second_loss"]), parts

    def row_steps(self, outputs, rows, batch):
        return {"visits": ops.ones_like(rows["visits"])}

    def updated_rows(self, rows, steps, rates):
        return {"visits": rows["visits"] + steps["visits"]}
