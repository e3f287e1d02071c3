"""The variables of a method that all examples share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from keras import ops


class SharedState:
    """Mixin for a `keras.Model`: its method's own variables, saved with its weights.

    Attributes:
        shared: the variables, float32, by name.
    """

    shared: dict[str, keras.Variable]

    def shared_values(self) -> dict[str, np.ndarray]:
        """What they are now, by name."""
        return {n: ops.convert_to_numpy(one) for n, one in self.shared.items()}

    def load_own_variables(self: Any, store: Any) -> None:
        """Load them; those that came later than the file start as they do."""
        saved = {name: store[name] for name in store.keys()}  # noqa: SIM118
        variables = self._trainable_variables + self._non_trainable_variables
        own = {id(one) for one in self.shared.values()}
        for place, variable in enumerate(variables):
            if str(place) not in saved and id(variable) in own:
                saved[str(place)] = ops.convert_to_numpy(variable)
        super().load_own_variables(saved)  # type: ignore[misc]

    def _add_shared(self: Any, first: Mapping[str, np.ndarray]) -> None:
        self.shared = {name: self._shared(name, one) for name, one in first.items()}

    def assign_shared(self, values: Mapping[str, Any]) -> None:
        """Give some of them new values, by name."""
        for name, value in values.items():
            self.shared[name].assign(value)

    def _shared(self: Any, name: str, value: Any) -> keras.Variable:
        value = np.asarray(value, np.float32)
        return self.add_weight(
            name=name,
            shape=value.shape,
            dtype="float32",
            initializer=lambda shape, dtype=None: ops.convert_to_tensor(value),
            trainable=False,
            autocast=False,
            # All replicas assign the same in a step.
            aggregation="only_first_replica",
        )
