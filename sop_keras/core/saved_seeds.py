"""Random seeds are state of a training, too."""

from __future__ import annotations

from typing import Any


class SavedSeeds:
    """Mixin for a `keras.Model`: the seeds of its layers are saved with its weights.

    Keras (3.15) saves no `SeedGenerator`. Dropout would start over after loading, and a
    training that was resumed would not be the one that was never stopped.
    """

    def save_own_variables(self, store: Any) -> None:
        """Save the seeds of all layers beside the model's own variables."""
        super().save_own_variables(store)  # type: ignore[misc]
        for name, seed in self._seeds().items():
            store[name] = seed.numpy()

    def load_own_variables(self, store: Any) -> None:
        """Restore what `save_own_variables` saved.

        Seeds that a file does not have stay as they are: as with weights, layers
        without any may be added and removed.
        """
        seeds = self._seeds()
        saved = {name: store[name] for name in store.keys()}  # noqa: SIM118
        own = {name: saved[name] for name in saved if not name.startswith("seed_")}
        super().load_own_variables(own)  # type: ignore[misc]
        for name in seeds.keys() & saved.keys():
            seeds[name].assign(saved[name])

    def _seeds(self) -> dict[str, Any]:
        # Keras counts them among the variables, but not among the weights.
        weights = {id(weight) for weight in self.weights}  # type: ignore[attr-defined]
        variables = self.variables  # type: ignore[attr-defined]
        seeds = [variable for variable in variables if id(variable) not in weights]
        return {f"seed_{number}": seed for number, seed in enumerate(seeds)}
