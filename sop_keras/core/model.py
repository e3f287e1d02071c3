"""SOPModel: any classifier, trained by Algorithm 1 of the paper."""

from __future__ import annotations

import copy
import operator
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from sop_keras.core import arguments
from sop_keras.core.after_data import after_data
from sop_keras.core.data_errors import DataError
from sop_keras.core.global_batch import GlobalBatch
from sop_keras.core.gradient_norms import global_norm, unscaled
from sop_keras.core.indexed_model import IndexedModel
from sop_keras.core.noise_table import NoiseTable
from sop_keras.core.row_optimizer import row_optimizer
from sop_keras.core.saved_seeds import SavedSeeds
from sop_keras.core.training_data import unpack
from sop_keras.core.training_record import TrainingRecord, record_rows
from sop_keras.core.views import (
    VIEWS_ARE_FOR,
    check_view,
    check_views,
    count_inputs,
    explain_views,
    join_views,
)
from sop_keras.core.wrong_labels import FindsWrongLabels
from sop_keras.methods import objective


def _fixed(name: str) -> property:
    """An attribute that the constructor alone sets.

    The compiled step holds its value: a later one would count for nothing.
    """

    def refuse(model: Any, value: Any) -> None:
        raise ValueError(
            f"`{name}` of a model is fixed. Make a new one: SOPModel(..., "
            f"{name}={value!r}); new.set_weights(old.get_weights()) hands on what was "
            f"learnt. Received: {name}={value!r} for a model with "
            f"{name}={getattr(model, name)!r}."
        )

    return property(operator.attrgetter(f"_{name}"), refuse)


@keras.saving.register_keras_serializable(package="sop_keras")
class SOPModel(FindsWrongLabels, SavedSeeds, IndexedModel):
    """Trains a classifier on wrongly labelled data (SOP, SOP+), as a Keras model.

    Beside the backbone f, every training example i owns small variables u_i, v_i;
    s_i = u_i*u_i*y_i - v_i*v_i*(1-y_i) absorbs the error of its label, and implicit
    regularisation keeps it sparse. Only `fit` sees them: `evaluate`, `predict` and
    `model(x)` are the backbone alone.

    SOP+ adds lambda_C L_C, the divergence KL(p(x) || p(x')) of the prediction for a
    strongly augmented view x' from that for x, and lambda_B L_B, which keeps the mean
    prediction close to a prior of the classes. Its data are pairs `(weak, strong)` of
    views: one batch to the network, but L_C alone is computed on the strong one.

    Args:
        backbone: any `keras.Model` (or layer) with outputs `(batch_size, num_classes)`.
        num_examples: the number of training examples, the rows of the noise table.
        num_classes: the number of classes, at least 2.
        from_logits: whether the backbone gives logits (True) or probabilities.
            Defaults to `True`.
        variant: `"paper"` follows the published text, `"reference"` the authors' code
            where the two differ. Defaults to `"paper"`.
        consistency_weight: lambda_C of SOP+ (0.9 in the paper). If positive, training
            takes pairs of views. Defaults to `0.0`.
        balance_weight: lambda_B of SOP+ (0.1 in the paper), the weight of the
            class-balance loss. Defaults to `0.0`.
        class_prior: the prior of the class-balance loss: `num_classes` numbers that sum
            to 1, `"uniform"`, or `"empirical"`, the frequencies of the observed labels.
            Every `fit` on arrays counts its labels anew. Other training goes on with
            the last count, which is saved with the weights, and needs one; for streams,
            see `sop_keras.methods.objective.empirical_class_prior`. Defaults to `None`:
            uniform.
        init_std: u and v start as draws from N(0, init_std^2). Defaults to `1e-8`. A
            short training needs more: see `sop_keras.suggest_noise_rates`.
        seed: seeds u and v. Defaults to `None`: Keras' global seed.
        table_device: `"cpu"` keeps u and v in the host's memory, for tables larger than
            the GPU's. Defaults to `None`: beside the network.
        gradient_norms: whether the norms of gradients are metrics of `fit`. Defaults to
            `False`.

    Example:
    ```python
    model = SOPModel(backbone, num_examples=50_000, num_classes=10)
    model.compile(
        optimizer=keras.optimizers.SGD(0.02, momentum=0.9),
        u_optimizer=10.0,
        v_optimizer=10.0,
        metrics=["accuracy"],
    )
    model.fit(x_train, y_noisy, validation_data=(x_test, y_test))
    model.backbone.save("clean.keras")
    ```

    Example of SOP+, on uint8 images:
    ```python
    model = SOPModel(
        backbone, 50_000, 10, consistency_weight=0.9, balance_weight=0.1
    )
    model.compile(keras.optimizers.SGD(0.02, momentum=0.9), metrics=["accuracy"])
    data = with_epoch(with_index(dataset).shuffle(50_000).batch(128))
    pairs = data.map(TwoViews(UDA(), Weak()), num_parallel_calls=tf.data.AUTOTUNE)
    model.fit(pairs.prefetch(2), validation_data=(x_test, y_test))
    ```

    Metrics of `fit`: `loss` is the network's objective (L_CE + lambda_C L_C +
    lambda_B L_B, plus the backbone's own regularisation losses); its parts are
    `ce_loss`, `mse_loss` (which trains v) and, where used, `consistency_loss` and
    `balance_loss`. Of two views, the metrics of `compile` are those of the weak one.
    With `gradient_norms`, `u_gradient_norm`, `v_gradient_norm` and, on one device,
    `gradient_norm` (the network's) are means over batches of a norm of each; steps that
    float16 overflows in are left out.
    `evaluate` takes one view and reports the network's plain cross entropy as `loss`.

    Under a strategy of `tf.distribute` (`MirroredStrategy`,
    `MultiWorkerMirroredStrategy`), make and compile the model in its scope; k replicas
    then train like one device on the same batches. BatchNormalization does so where it
    has `synchronized=True`.

    Reference: Liu, Zhu, Qu, You, "Robust Training under Label Noise by
    Over-parameterization", ICML 2022, Algorithm 1 and Appendix A.3.
    """

    variant = _fixed("variant")
    consistency_weight = _fixed("consistency_weight")
    balance_weight = _fixed("balance_weight")

    def __init__(
        self,
        backbone: keras.layers.Layer,
        num_examples: int,
        num_classes: int,
        from_logits: bool = True,
        variant: str = "paper",
        consistency_weight: float = 0.0,
        balance_weight: float = 0.0,
        class_prior: Any = None,
        init_std: float = 1e-8,
        seed: int | None = None,
        table_device: str | None = None,
        gradient_norms: bool = False,
        **kwargs: Any,
    ):
        num_examples = arguments.check_integer("num_examples", num_examples, least=1)
        num_classes = arguments.check_integer("num_classes", num_classes, least=2)
        arguments.check_backbone(backbone, num_classes, from_logits)
        self.table_device = arguments.check_table_device(table_device)
        # The loss is scaled where the backbone, not this model, computes in float16.
        kwargs.setdefault("dtype", backbone.dtype_policy)
        super().__init__(num_examples, num_classes, **kwargs)
        self.backbone = backbone
        self.from_logits = bool(from_logits)
        self._variant = objective.check_variant(variant)
        self._consistency_weight = arguments.check_non_negative(
            "consistency_weight", consistency_weight
        )
        self._balance_weight = arguments.check_non_negative(
            "balance_weight", balance_weight
        )
        self.class_prior: Any = objective.check_class_prior(class_prior, num_classes)
        if self.class_prior is None:  # all 0 until labels are counted
            self.class_prior = self.add_weight(
                name="class_prior",
                shape=(num_classes,),
                dtype="float32",
                initializer="zeros",
                trainable=False,
                autocast=False,
            )
        self.init_std = arguments.check_non_negative("init_std", init_std)
        self.seed = seed
        self.noise_table = NoiseTable(
            num_examples,
            num_classes,
            init_std=self.init_std,
            project=variant == "paper",
            seed=seed,
            device=table_device,
            name="noise_table",
        )
        self.training_record = TrainingRecord(
            num_examples, table_device, name="training_record"
        )
        parts = ["ce_loss", "mse_loss"]
        parts += ["consistency_loss"] * (self.consistency_weight > 0)
        parts += ["balance_loss"] * (self.balance_weight > 0)
        self.gradient_norms = bool(gradient_norms)
        norms = ["gradient_norm", "u_gradient_norm", "v_gradient_norm"]
        parts += norms * self.gradient_norms
        self._trained_inputs: int | None = None
        self._parts = {name: keras.metrics.Mean(name=name) for name in parts}
        self.built = backbone.built

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """The network alone: `(batch_size, num_classes)`."""
        # Nothing else sees what is predicted on, and a Sequential takes the weak view
        # of two without a word.
        self._check_view(inputs)
        # Keras hands `training` on to the backbone by itself, if that takes it.
        with explain_views(inputs, VIEWS_ARE_FOR):
            outputs = self.backbone(inputs)
        arguments.check_outputs(outputs, self.num_classes)
        return outputs

    def compile(
        self,
        optimizer: Any = "rmsprop",
        loss: None = None,
        *,
        u_optimizer: Any = 10.0,
        v_optimizer: Any = 10.0,
        **kwargs: Any,
    ) -> None:
        """Configure training.

        Args:
            optimizer: of the backbone, any Keras optimizer. With its
                `gradient_accumulation_steps`, k batches are one to the network, and u
                and v move with every batch by its part of that; L_B looks at one batch
                at a time. What an epoch leaves over counts in the next one.
            loss: must be left out; the objective is SOP's own.
            u_optimizer: of u: plain `keras.optimizers.SGD`, a float or a
                LearningRateSchedule (which mean SGD). Defaults to `10.0` (alpha_u).
            v_optimizer: of v, likewise. Defaults to `10.0` (alpha_v).
            **kwargs: `metrics`, `steps_per_execution`, `jit_compile` and whatever else
                `keras.Model.compile` takes.

        Raises:
            ValueError: for a loss, a row optimizer that would sweep the table, a
                strategy that is not the model's, or XLA where it cannot be had.
        """
        if loss is not None or "loss_weights" in kwargs:
            raise ValueError(
                "SOPModel brings its own objective: leave `loss` and `loss_weights` "
                f"out of compile(). Received: loss={loss!r}"
            )
        u_optimizer = row_optimizer(u_optimizer, "u_optimizer")
        v_optimizer = row_optimizer(v_optimizer, "v_optimizer")
        if u_optimizer is v_optimizer or optimizer in (u_optimizer, v_optimizer):
            raise ValueError(
                "`optimizer`, `u_optimizer` and `v_optimizer` must be three objects: a "
                "shared one would count its steps more than once."
            )
        super().compile(optimizer=optimizer, **kwargs)
        self.u_optimizer = u_optimizer
        self.v_optimizer = v_optimizer
        self._build_optimizer()

    @after_data
    def train_step(self, data: Any) -> dict[str, Any]:
        """One step of Algorithm 1 on the batch's rows and on the network."""
        x, observed_labels, indices, sample_weight = unpack(data)
        labels, weights = self._one_hot(observed_labels), _column(sample_weight)
        views = x if self.consistency_weight else (x,)  # L_C alone sees the second
        batch = GlobalBatch(ops.shape(labels)[0])
        u, v = self.noise_table.rows(indices)
        noise = objective.estimated_noise(u, v, labels, self.variant)

        # The network. v enters as a constant, u is stepped by its closed form below.
        with tf.GradientTape() as tape:
            outputs = self._outputs(views)
            probs = ops.softmax(outputs[0], axis=-1) if self.from_logits else outputs[0]
            loss, parts = self._network_loss(
                outputs, probs, noise, labels, weights, batch
            )
            scaled_loss = self.optimizer.scale_loss(batch.share(loss))
        if self.trainable_weights:
            gradients = tape.gradient(scaled_loss, self.trainable_weights)
            if batch.num_replicas == 1:  # else, each knows its own part alone
                self._track_norm("gradient_norm", gradients, is_scaled=True)
            self._apply_gradients(gradients, batch)

        # The rows of u and v: a step each, then the projection.
        predictions = self._one_hot(ops.argmax(outputs[0], axis=-1))
        gradients = self._row_gradients(
            (u, v), probs, noise, labels, predictions, weights, batch
        )
        said = record_rows(predictions, probs, labels)
        indices = batch.gather(indices)
        by_u, by_v, said = batch.gather_together(*gradients, said)
        self._track_norm("u_gradient_norm", [by_u])
        self._track_norm("v_gradient_norm", [by_v])
        rates = (self.u_optimizer.learning_rate, self.v_optimizer.learning_rate)
        self.noise_table.step(indices, (by_u, by_v), rates)
        self.training_record.write(indices, said)
        self.u_optimizer.iterations.assign_add(1)
        self.v_optimizer.iterations.assign_add(1)

        mse = objective.squared_error_loss(predictions, noise, labels)
        parts["mse_loss"] = objective.batch_mean(mse, weights)
        self._track(loss, labels, parts)
        logs = self.compute_metrics(
            views[0], observed_labels, outputs[0], sample_weight
        )
        if batch.num_replicas > 1:
            logs.pop("gradient_norm", None)
        return logs

    def test_step(self, data: Any) -> dict[str, Any]:
        """The network's plain cross entropy and metrics; u and v play no part."""
        x, observed_labels, _, sample_weight = unpack(data)
        outputs = self(x, training=False)
        labels = self._one_hot(observed_labels)
        cross_entropy = keras.losses.categorical_crossentropy(
            labels, ops.cast(outputs, "float32"), from_logits=self.from_logits
        )
        self._track(
            objective.batch_mean(cross_entropy, _column(sample_weight)), labels, {}
        )
        results = self.compute_metrics(x, observed_labels, outputs, sample_weight)
        return {k: value for k, value in results.items() if k not in self._parts}

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor."""
        given = isinstance(self.class_prior, np.ndarray)
        return {
            **super().get_config(),
            "backbone": keras.saving.serialize_keras_object(self.backbone),
            "num_examples": self.num_examples,
            "num_classes": self.num_classes,
            "from_logits": self.from_logits,
            "variant": self.variant,
            "consistency_weight": self.consistency_weight,
            "balance_weight": self.balance_weight,
            "class_prior": self.class_prior.tolist() if given else "empirical",
            "init_std": self.init_std,
            "seed": self.seed,
            "table_device": self.table_device,
            "gradient_norms": self.gradient_norms,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Any:
        """A model of these arguments."""
        config = copy.deepcopy(config)  # Keras empties what it deserializes
        config["backbone"] = keras.saving.deserialize_keras_object(
            config["backbone"], custom_objects=custom_objects
        )
        return cls(**config)

    def get_compile_config(self) -> dict[str, Any]:
        """What compile() was given."""
        config = super().get_compile_config()
        if config:
            for name in ("u_optimizer", "v_optimizer"):
                optimizer = getattr(self, name)
                config[name] = keras.saving.serialize_keras_object(optimizer)
            del config["loss"], config["loss_weights"]
        return config

    def _check_inputs(self, x: Any, training: bool) -> Any:
        if not training:
            return self._check_view(x)
        if self.consistency_weight:
            x = check_views(x, self.backbone)
            self._trained_inputs = count_inputs(x[0])
        else:
            check_view(x, self.backbone, VIEWS_ARE_FOR)
            self._trained_inputs = count_inputs(x)
        return x

    def _check_view(self, x: Any) -> Any:
        return check_view(x, self.backbone, VIEWS_ARE_FOR, self._trained_inputs)

    def _before_training(self, labels: Any, validation_split: float = 0.0) -> None:
        if validation_split and self.consistency_weight:
            raise DataError(
                "`validation_split` would set pairs of views aside, but evaluation "
                "takes one. Pass validation_data=(x, y) of images as they are."
            )
        if not self.balance_weight or isinstance(self.class_prior, np.ndarray):
            return
        if labels is not None:
            count = int(len(labels) * (1.0 - validation_split))  # as Keras splits
            prior = objective.empirical_class_prior(labels[:count], self.num_classes)
            self.class_prior.assign(prior)
        elif not np.any(self.class_prior.numpy()):
            raise DataError(
                'class_prior="empirical" counts the labels of arrays, but those of a '
                "stream or a single batch are not known in advance. Pass the vector: "
                "class_prior=empirical_class_prior(labels, num_classes), of "
                "sop_keras.methods.objective."
            )

    def _one_view(self, inputs: Any) -> Any:
        # The views differ in nothing that a weight depends on.
        return inputs[0] if self.consistency_weight else inputs

    def _one_hot(self, labels: Any) -> Any:
        if len(labels.shape) == 2 and labels.shape[1] == self.num_classes:
            return ops.cast(labels, "float32")
        labels = ops.cast(ops.reshape(labels, (-1,)), "int32")
        return ops.one_hot(labels, self.num_classes, dtype="float32")

    def _outputs(self, views: tuple[Any, ...]) -> list[Any]:
        """The network's outputs for every view, float32; the network sees one batch."""
        outputs = self(join_views(views), training=True)
        if self.from_logits:
            arguments.warn_of_probabilities(self.backbone, outputs)
        outputs = ops.cast(outputs, "float32")
        return [outputs] if len(views) == 1 else ops.split(outputs, len(views))

    def _network_loss(
        self,
        outputs: list[Any],
        probs: Any,
        noise: Any,
        labels: Any,
        weights: Any,
        batch: GlobalBatch,
    ) -> tuple[Any, dict[str, Any]]:
        """L_CE + lambda_C L_C + lambda_B L_B + the backbone's losses; parts by name."""
        observed = objective.observed_probabilities(probs, noise, self.variant)
        ce = objective.cross_entropy_loss(observed, labels)
        parts = {"ce_loss": objective.batch_mean(ce, weights)}
        loss = parts["ce_loss"]
        if self.consistency_weight:
            weak, strong = outputs
            consistency = objective.consistency_loss(weak, strong, self.from_logits)
            parts["consistency_loss"] = objective.batch_mean(consistency, weights)
            loss = loss + self.consistency_weight * parts["consistency_loss"]
        if self.balance_weight:
            parts["balance_loss"] = objective.balance_loss(
                probs, observed, self.class_prior, self.variant, batch.mean
            )
            loss = loss + self.balance_weight * parts["balance_loss"]
        for extra_loss in self.losses:
            loss = loss + ops.cast(extra_loss, "float32")
        return loss, parts

    def _row_gradients(
        self,
        rows: Any,
        probs: Any,
        noise: Any,
        labels: Any,
        predictions: Any,
        weights: Any,
        batch: GlobalBatch,
    ) -> tuple[Any, Any]:
        """The gradients for the rows of u and v of what each step of the network takes.

        That is the mean over the whole batch, or over several whose gradients are
        accumulated.
        """
        u, v = rows
        weights = 1.0 if weights is None else weights
        batch_size = batch.size * self._accumulated_batches
        by_u = objective.u_gradient(
            u,
            probs,
            noise,
            labels,
            predictions,
            self.variant,
            balance_weight=self.balance_weight,
            class_prior=self.class_prior,
            sample_weight=weights,
            mean=batch.mean,
        )
        by_v = objective.v_gradient(v, labels, predictions, self.variant, weights)
        return by_u / batch_size, by_v / batch_size

    @property
    def _accumulated_batches(self) -> int:
        optimizer: Any = getattr(self.optimizer, "inner_optimizer", self.optimizer)
        return optimizer.gradient_accumulation_steps or 1

    def _track(self, loss: Any, labels: Any, parts: dict[str, Any]) -> None:
        batch_size = ops.shape(labels)[0]
        self._track_loss(loss, batch_size)
        for name, value in parts.items():
            self._parts[name].update_state(value, sample_weight=batch_size)

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


def _column(sample_weight: Any) -> Any:
    if sample_weight is None:
        return None
    return ops.reshape(ops.cast(sample_weight, "float32"), (-1, 1))
