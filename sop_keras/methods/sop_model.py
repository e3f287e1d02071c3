"""SOPModel: any classifier, trained by SOP or SOP+."""

from __future__ import annotations

import operator
from typing import Any

import keras
import numpy as np

from sop_keras.core import label_checks
from sop_keras.core.data_errors import DataError
from sop_keras.core.example_tables import ExampleTables
from sop_keras.core.model import NoisyLabelModel
from sop_keras.core.table_kinds import DENSE, SLOTS
from sop_keras.methods.sop import SOP
from sop_keras.methods.sop_regularizers import check_class_prior


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

    return property(operator.attrgetter(f"method.{name}"), refuse)


@keras.saving.register_keras_serializable(package="sop_keras")
class SOPModel(NoisyLabelModel):
    """Trains a classifier on wrongly labelled data (SOP, SOP+), as a Keras model.

    `NoisyLabelModel` with `method=SOP(...)`, and the rates of u and v as arguments of
    `compile`. Beside the backbone f, every training example i owns small variables u_i,
    v_i; s_i = u_i*u_i*y_i - v_i*v_i*(1-y_i) absorbs the error of its label, and
    implicit regularisation keeps it sparse. Only `fit` sees them: `evaluate`, `predict`
    and `model(x)` are the backbone alone.

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
        variant: as of `SOP`. Defaults to `"paper"`.
        consistency_weight: lambda_C of SOP+ (0.9 in the paper). If positive, training
            takes pairs of views. Defaults to `0.0`.
        balance_weight: lambda_B of SOP+ (0.1 in the paper). Defaults to `0.0`.
        class_prior: the prior of L_B, as of `SOP`. Defaults to `None`: uniform.
        init_std: u and v start as draws from N(0, init_std^2), as of `SOP`. Defaults to
            `"auto"`: the paper's 1e-8. Where the rates of u and v are numbers, a short
            training needs more: see `suggest_uv_rates`.
        seed: seeds u and v. Defaults to `None`: Keras' global seed.
        table_device: as of `NoisyLabelModel`. Defaults to `None`.
        table: as of `NoisyLabelModel`, for v. Defaults to `"dense"`.
        table_slots: as of `NoisyLabelModel`. Defaults to `8`.
        gradient_norms: as of `NoisyLabelModel`. Defaults to `False`.
        **kwargs: `weight_average` and `table_folder`, as of `NoisyLabelModel`; `name`
            and `dtype`, as in Keras.

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
    pairs = data.map(TwoViews(UDA()), num_parallel_calls=tf.data.AUTOTUNE)
    model.fit(pairs.prefetch(2), validation_data=(x_test, y_test))
    ```

    Metrics of `fit`: `loss` is the network's objective (L_CE + lambda_C L_C +
    lambda_B L_B, plus the backbone's own regularisation losses); its parts are
    `ce_loss`, `mse_loss` (which trains v) and, where used, `consistency_loss` and
    `balance_loss`.

    Reference: Liu, Zhu, Qu, You, "Robust Training under Label Noise by
    Over-parameterization", ICML 2022, Algorithm 1 and Appendix A.3.
    """

    method: SOP

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
        init_std: float | str = "auto",
        seed: int | None = None,
        table_device: str | None = None,
        table: str = DENSE,
        table_slots: int = SLOTS,
        gradient_norms: bool = False,
        **kwargs: Any,
    ):
        super().__init__(
            backbone,
            num_examples,
            num_classes,
            method=SOP(
                init_std=init_std,
                variant=variant,
                consistency_weight=consistency_weight,
                balance_weight=balance_weight,
                class_prior=class_prior,
            ),
            from_logits=from_logits,
            seed=seed,
            table_device=table_device,
            table=table,
            table_slots=table_slots,
            gradient_norms=gradient_norms,
            **kwargs,
        )

    @property
    def init_std(self) -> float:
        """Where u and v started."""
        return self.method.first_std

    @property
    def class_prior(self) -> Any:
        """The prior of L_B: float32 `(num_classes,)`, or the variable of its count."""
        if "class_prior" in self.shared:
            return self.shared["class_prior"]
        return check_class_prior(self.method.class_prior, self.num_classes)

    @property
    def noise_table(self) -> ExampleTables:
        """The tables u and v."""
        return self.tables

    def compile(
        self,
        optimizer: Any = "rmsprop",
        loss: None = None,
        *,
        u_optimizer: Any = None,
        v_optimizer: Any = None,
        **kwargs: Any,
    ) -> None:
        """Configure training, as `NoisyLabelModel.compile`.

        Args:
            optimizer: of the backbone, any Keras optimizer.
            loss: must be left out; the objective is SOP's own.
            u_optimizer: of u: plain `keras.optimizers.SGD`, a float (alpha_u) or a
                LearningRateSchedule (which mean SGD), as in the paper; or `"auto"`: u
                grows by what the network knows. Defaults to `None`: that of the last
                `compile`, and `"auto"` in the first.
            v_optimizer: of v, likewise.
            **kwargs: as of `keras.Model.compile`.

        Raises:
            ValueError: for a loss, a row optimizer that would sweep the table, a
                strategy that is not the model's, or XLA where it cannot be had.
        """
        given = {"u": u_optimizer, "v": v_optimizer}
        rates = {name: one for name, one in given.items() if one is not None}
        super().compile(optimizer, loss, row_rates=rates, **kwargs)

    def estimate_noise(self, indices: Any, labels: Any) -> np.ndarray:
        """The estimated label noise s of some training examples.

        Args:
            indices: their ids, shape `(n,)`.
            labels: their given labels, integers `(n,)` or one-hot.

        Returns:
            float32 array `(n, num_classes)`, values in [-1, 1]: positive at the label,
            negative elsewhere. The larger, the likelier the label is wrong.

        Raises:
            ValueError: for ids or labels out of range, or not as many of each.
        """
        indices = label_checks.check_indices(indices, self.num_examples)
        labels = label_checks.check_labels(labels, self.num_classes)
        if len(indices) != len(labels):
            raise DataError(
                f"There are {len(labels)} labels for {len(indices)} indices."
            )
        if labels.ndim == 2:
            labels = labels.argmax(axis=-1)
        return self.method.estimated_noise(self.tables.rows(indices), labels)

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor."""
        config = super().get_config()
        del config["method"], config["peer"]
        method, prior = self.method, self.class_prior
        return {
            **config,
            "variant": method.variant,
            "consistency_weight": method.consistency_weight,
            "balance_weight": method.balance_weight,
            "class_prior": prior.tolist()
            if isinstance(prior, np.ndarray)
            else "empirical",
            "init_std": method.init_std,
        }

    def get_compile_config(self) -> dict[str, Any]:
        """What compile() was given."""
        config = super().get_compile_config()
        for name, rate in config.pop("row_rates", {}).items():
            config[f"{name}_optimizer"] = rate
        return config
