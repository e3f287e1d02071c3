"""A mixer: cross entropy on every example mixed with its mirror in the batch."""

from dataclasses import dataclass, replace

import keras
from keras import ops

from sop_keras.core.method import Method
from sop_keras.core.table import Table


@keras.saving.register_keras_serializable(package="sop_keras_tests")
@dataclass(frozen=True)
class Mixer(Method):
    """The batch, and behind it its examples mixed with those of the reversed batch."""

    appends: bool = True

    def tables(self, num_classes):
        # What each example brought last, of what was mixed for it.
        return (Table("brought", num_classes),)

    def mix(self, batch, rows):
        share = 0.6 + 0.1 * ops.cast(batch.step % 3, "float32")

        def mixed(values):
            whole = batch.gather(values)
            mirror = ops.shape(whole)[0] - 1 - batch.places()
            return share * values + (1 - share) * ops.take(whole, mirror, axis=0)

        (views,), labels, weights = batch.views, batch.labels, batch.weights
        if weights is None:
            weights = ops.ones((ops.shape(labels)[0], 1))
        found = [mixed(one) for one in (views, labels, weights)]
        if self.appends:
            pairs = zip((views, labels, weights), found, strict=True)
            found = [ops.concatenate(pair) for pair in pairs]
        views, labels, weights = found
        return replace(batch, views=(views,), labels=labels, weights=weights)

    def loss(self, outputs, rows, batch):
        log_probs = ops.log_softmax(outputs.views[0], axis=-1)
        return batch.mean_loss(-ops.sum(batch.labels * log_probs, axis=-1)), {}

    def row_steps(self, outputs, rows, batch):
        return {"brought": outputs.probs[: ops.shape(rows["brought"])[0]]}

    def updated_rows(self, rows, steps, rates):
        return {"brought": steps["brought"]}
