"""The networks that a method trains, each with its optimizer."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
from keras import ops

from sop_keras.core import arguments
from sop_keras.core.averaged_networks import AveragedNetworks
from sop_keras.core.data_errors import DataError
from sop_keras.core.global_batch import GlobalBatch
from sop_keras.core.gradient_norms import global_norm, unscaled
from sop_keras.core.indexed_model import IndexedModel
from sop_keras.core.optimizer_like import optimizer_like
from sop_keras.core.predictor import predicting_network
from sop_keras.core.probabilities import check_probabilities
from sop_keras.core.skipped_steps import SkippableStep
from sop_keras.core.training_data import first_inputs
from sop_keras.core.views import join_views

logger = logging.getLogger(__name__)


class Networks(IndexedModel):
    """A model of one network, or of two that start apart and follow one schedule.

    Attributes:
        backbone: the network that predicts.
        peer: the second one; None where there is one alone.
        averaged: the averages that predict in their place; None where there are none.
    """

    from_logits: bool
    training_record: Any
    peer: keras.layers.Layer | None = None
    peer_optimizer: Any = None
    averaged: AveragedNetworks | None = None
    # Where networks learn in turn, the place of the one that does.
    _learner: int | None = None

    # Methods, not properties: Keras would save what a property lists under its name.

    def networks(self) -> tuple[keras.layers.Layer, ...]:
        """The backbone, and the peer where there is one."""
        return (self.backbone,) if self.peer is None else (self.backbone, self.peer)

    def network_optimizers(self) -> tuple[Any, ...]:
        """One for each network."""
        return (self.optimizer, self.peer_optimizer)[: len(self.networks())]

    def predictor(self) -> keras.layers.Layer:
        """What predicts, to be deployed: the backbone, or the mean of both networks.

        With `weight_average`, a copy with the averaged weights as they are now.
        """
        networks = self._predicting()
        if self.averaged is not None:
            networks = tuple(self.averaged.networks(networks))
        return predicting_network(networks)

    def _predicted(self, inputs: Any, training: bool | None) -> list[Any]:
        """What each network says that predicts; in training, none is averaged."""
        networks = self._predicting()
        if self.averaged is None or training:
            return [network(inputs) for network in networks]
        return [
            self.averaged.outputs(network, place, inputs)
            for place, network in enumerate(networks)
        ]

    def _predicting(self) -> tuple[keras.layers.Layer, ...]:
        """The networks whose outputs are averaged in predictions."""
        return self.networks()

    def _learning(self) -> tuple[int, ...]:
        """The places of the networks that a step trains."""
        if self._learner is not None:
            return (self._learner,)
        return tuple(range(len(self.networks())))

    def compile(self, optimizer: Any = "rmsprop", **kwargs: Any) -> None:
        """As `DistributedModel.compile`; a second network gets an optimizer like it."""
        compiled = _inner(getattr(self, "optimizer", None))
        super().compile(optimizer=optimizer, **kwargs)
        # The same object keeps its state, and so does the one that is like it.
        is_same = self.peer_optimizer is not None and _inner(self.optimizer) is compiled
        if self.peer is not None and not is_same:
            self.peer_optimizer = optimizer_like(self.optimizer)

    def fit(self, *args: Any, **kwargs: Any) -> keras.callbacks.History:
        """As `IndexedModel.fit`; a second network's optimizer ends like the first's."""
        history = super().fit(*args, **kwargs)
        if self.peer is not None:
            self.peer_optimizer.finalize_variable_values(self.peer.trainable_weights)
        return history

    def _set_networks(
        self, backbone: keras.layers.Layer, peer: keras.layers.Layer | None, count: int
    ) -> None:
        self.backbone = backbone
        if count == 1:
            if peer is not None:
                raise ValueError(
                    "`peer` is the second network of methods that train two; this one "
                    "trains one. Leave it out."
                )
            return
        if peer is None:
            peer = _clone(backbone)
        if peer is backbone:
            raise ValueError(
                "`peer` is the backbone itself. Two networks must be two objects: "
                "leave it out for a clone with first weights of its own."
            )
        arguments.check_backbone(peer, self.num_classes, self.from_logits)
        self.peer = peer

    def _build_on(self, inputs: Any) -> None:
        # First: Keras would warn of a part of the model that is not built.
        if self.peer is not None and not self.peer.built:
            self.peer(inputs)
        super()._build_on(inputs)

    def _build_optimizer(self) -> None:
        # Keras would find nothing to restore its state into, and drop it silently.
        if not (self.compiled and self.built):
            return
        for network, optimizer in zip(
            self.networks(), self.network_optimizers(), strict=True
        ):
            if optimizer is not None and not optimizer.built:
                if network is self.peer:
                    self._exclude_alike()
                optimizer.build(network.trainable_variables)

    def _exclude_alike(self) -> None:
        """Leave out of the peer's weight decay what the backbone's leaves out."""
        own, other = (_inner(one) for one in self.network_optimizers())
        first, second = (network.trainable_variables for network in self.networks())
        if all(own._use_weight_decay(one) for one in first):
            return
        if [one.shape for one in first] != [one.shape for one in second]:
            raise ValueError(
                "`peer` has other weights than the backbone, so that it is not known "
                "which of them the optimizer's decay leaves out. Pass a peer of the "
                "backbone's architecture, or exclude none from decay."
            )
        pairs = zip(first, second, strict=True)
        excluded = [theirs for ours, theirs in pairs if not own._use_weight_decay(ours)]
        other.exclude_from_weight_decay(var_list=excluded)

    def _views_through_networks(self, views: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        """Each network's outputs for every view, float32; it sees one batch."""
        joined = join_views(views)
        found = []
        for place in self._learning():
            network = self.networks()[place]
            # The model itself checks what it is given, and calls the backbone.
            called = self if self._predicting() == (network,) else network
            outputs = called(joined, training=True)
            if self.from_logits:
                arguments.warn_of_probabilities(network, outputs)
            outputs = ops.cast(
                self._checked_outputs(outputs, self._num_batches() == 0), "float32"
            )
            split = [outputs] if len(views) == 1 else ops.split(outputs, len(views))
            found.append(tuple(split))
        return found

    def _checked_outputs(self, outputs: Any, is_wanted: Any = True) -> Any:
        """A network's outputs, checked where they are taken for probabilities."""
        # XLA compiles no texts, and would drop the assertion: `_check_first_outputs`.
        if self.from_logits or self.jit_compile:
            return outputs
        return check_probabilities(outputs, is_wanted)

    def _check_first_outputs(self, x: Any, y: Any) -> Any:
        # Of data sets, the first step checks its batch: to read one here would count
        # as a pass over the data.
        if self.from_logits or int(self._num_batches()):
            return x
        inputs, x = first_inputs(x, y)
        if inputs is not None:
            for network in self.networks():
                check_probabilities(network(self._one_view(inputs), training=False))
        elif self.jit_compile:
            self._say_unchecked()
        return x

    def _say_unchecked(self) -> None:
        """Have a step that checks its batch; of one that XLA must compile, warn."""
        if self._must_compile:
            logger.warning(
                "With jit_compile=True and from_logits=False, nobody looks at what the "
                "network gives for a data set: logits would be trained on as if they "
                "were probabilities. Without jit_compile, the first step looks."
            )
            return
        self.jit_compile, self.train_function = False, None

    @contextlib.contextmanager
    def _refusable(self) -> Iterator[None]:
        """Have a first step that was refused leave the counters of steps at 0.

        They need no outputs, so that TensorFlow may have moved them by then.
        """
        is_first = not self.from_logits and int(self._num_batches()) == 0
        try:
            with super()._refusable():
                yield
        except DataError:
            if is_first and self.training_record.is_empty():
                for optimizer in self.optimizers():
                    # Where gradients accumulate, `iterations` is no variable.
                    _inner(optimizer)._iterations.assign(0)
            raise

    def _with_regularization(self, loss: Any) -> Any:
        """The loss and the networks' own: those of regularizers and activities."""
        extra_losses = self.losses
        if self._learner is not None:
            # The other one may hold those of another step.
            extra_losses = self.networks()[self._learner].losses
        for extra_loss in extra_losses:
            loss = loss + ops.cast(extra_loss, "float32")
        return loss

    def _scaled(self, loss: Any, whole: GlobalBatch) -> list[Any]:
        """A replica's share of the loss, as each network's optimizer scales it."""
        share, optimizers = whole.share(loss), self.network_optimizers()
        return [optimizers[place].scale_loss(share) for place in self._learning()]

    def _step_networks(
        self, tape: Any, losses: list[Any], whole: GlobalBatch, is_wanted: Any
    ) -> None:
        """Step each network by the gradient of the whole batch's loss.

        Where `is_wanted`, a boolean scalar, is false, trained weights and optimizers
        stay as they are; None is true. What the forward pass moves has moved before.
        """
        step = None if is_wanted is None else SkippableStep(self._stepped_variables())
        before = [self._num_steps(place) for place in self._learning()]
        for place, loss in zip(self._learning(), losses, strict=True):
            network = self.networks()[place]
            optimizer = self.network_optimizers()[place]
            weights = network.trainable_weights
            if not weights:
                continue
            gradients = tape.gradient(loss, weights)
            if place == 0 and whole.num_replicas == 1:
                # Else, each replica knows its own part alone.
                self._track_norm("gradient_norm", gradients, is_scaled=True)
            elif place:
                self._share_rate(optimizer)
            self._apply_gradients(optimizer, gradients, weights, whole)
        if step is not None:
            step.keep_if(is_wanted)
        if self.averaged is not None:
            for place, count in zip(self._learning(), before, strict=True):
                is_step = self._num_steps(place) > count
                self.averaged.update(self.networks()[place], place, is_step)

    def _num_steps(self, place: int) -> Any:
        """How many steps a network has made; batches that accumulate are one."""
        return ops.cast(_inner(self.network_optimizers()[place]).iterations, "int64")

    def _stepped_variables(self) -> list[keras.Variable]:
        """All that a step moves: trained weights, and what optimizers keep."""
        weights = [one for net in self.networks() for one in net.trainable_weights]
        kept = [one for each in self.network_optimizers() for one in each.variables]
        return weights + kept

    def _share_rate(self, optimizer: Any) -> None:
        """Have the peer's optimizer learn at the rate of the backbone's."""
        own = _inner(optimizer)
        if isinstance(own._learning_rate, keras.Variable):
            own._learning_rate.assign(self.optimizer.learning_rate)

    @property
    def _accumulated_batches(self) -> int:
        return _inner(self.optimizer).gradient_accumulation_steps or 1

    def _num_batches(self) -> Any:
        """How many there have been, also of those that accumulate: a copy."""
        optimizer = self.network_optimizers()[self._learner or 0]
        return ops.cast(_inner(optimizer)._iterations, "int64")

    def _track_norm(self, name: str, gradients: Any, is_scaled: bool = False) -> None:
        if name not in self._parts:
            return
        norm = global_norm(gradients)
        if is_scaled:
            norm = unscaled(norm, self.optimizer)
        is_finite = ops.cast(ops.isfinite(norm), "float32")
        self._parts[name].update_state(
            ops.where(ops.isfinite(norm), norm, 0.0), sample_weight=is_finite
        )


def _inner(optimizer: Any) -> Any:
    """The optimizer itself, where one scales the loss for it."""
    return getattr(optimizer, "inner_optimizer", optimizer)


def _clone(backbone: keras.layers.Layer) -> keras.layers.Layer:
    if not isinstance(backbone, keras.Model) or not backbone.built:
        raise ValueError(
            "This method trains two networks. A backbone that is not a built "
            "keras.Model cannot be cloned: pass the second network as `peer`."
        )
    peer = keras.models.clone_model(backbone)
    pairs = zip(backbone.trainable_weights, peer.trainable_weights, strict=True)
    # Biases and scales start alike in any two networks; seeded ones in all weights.
    if all(np.array_equal(one.numpy(), other.numpy()) for one, other in pairs):
        raise ValueError(
            "This method trains two networks, and a clone of the backbone starts with "
            "the same weights, because its initializers have seeds. Pass a network of "
            "other seeds as `peer`."
        )
    return peer
