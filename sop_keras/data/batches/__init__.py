"""From examples to the batches that are trained and evaluated on."""
