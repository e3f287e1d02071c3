"""What a model was made and compiled with, for its file."""

from __future__ import annotations

import copy
from typing import Any, cast

import keras

from sop_keras.core.table_kinds import DENSE

_AS_THEY_ARE = (
    "num_examples",
    "num_classes",
    "from_logits",
    "seed",
    "table_device",
    "gradient_norms",
    "weight_average",
)
_OF_SLOTS = ("table", "table_slots")


class ModelConfig:
    """A model that is made anew from what it was made with."""

    def get_config(self: Any) -> dict[str, Any]:
        """The arguments of the constructor."""
        serialize = keras.saving.serialize_keras_object
        peer = self.networks()[1] if len(self.networks()) > 1 else None
        return {
            **super().get_config(),  # type: ignore[misc]
            **{name: getattr(self, name) for name in _AS_THEY_ARE},
            # A file is read into memory, not into a folder that it names.
            "table_device": None if self.table_device == "disk" else self.table_device,
            # Not all subclasses take what came later.
            **(
                {}
                if self.table == DENSE
                else {name: getattr(self, name) for name in _OF_SLOTS}
            ),
            # Keras' global seed will be another one. Of slots, it is among the rows.
            **(
                {"drawn_from": self.tables.drawn_from} if self._draws_unseeded() else {}
            ),
            "backbone": serialize(self.backbone),
            "method": serialize(self.method),
            "peer": serialize(peer),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Any:
        """A model of these arguments."""
        config = copy.deepcopy(config)  # Keras empties what it deserializes
        for name in ("backbone", "method", "peer"):
            if config.get(name) is not None:
                config[name] = keras.saving.deserialize_keras_object(
                    config[name], custom_objects=custom_objects
                )
        drawn_from = config.pop("drawn_from", None)
        model = cls(**config)
        if drawn_from is not None:
            cast(Any, model).tables.drawn_from = drawn_from
        return model

    def _draws_unseeded(self: Any) -> bool:
        is_drawn = any(one.std is not None for one in self.method.tables(2))
        return is_drawn and self.seed is None and self.table == DENSE

    def get_compile_config(self: Any) -> dict[str, Any]:
        """What compile() was given."""
        config = super().get_compile_config()  # type: ignore[misc]
        if config:
            config["row_rates"] = {
                name: keras.saving.serialize_keras_object(rate)
                for name, rate in self._compiled().items()
            }
            del config["loss"], config["loss_weights"]
        return config
