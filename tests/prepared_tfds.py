"""Small data sets that TensorFlow Datasets prepares, without a network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds


def prepare(
    data_dir: Path,
    name: str,
    features: Mapping[str, Any],
    splits: Mapping[str, Sequence[Mapping[str, Any]]],
    *,
    supervised_keys: tuple[str, ...] | None = None,
    num_shards: int = 1,
    config: str | None = None,
) -> Path:
    """Prepares `name`, version 1.0.0, and returns its folder.

    Nothing else in this process knows it afterwards: it can be read from its files
    alone, as a data set that was prepared elsewhere.

    Args:
        data_dir: the folder of prepared data sets.
        name: such as `"tiny"`.
        features: TFDS' features, by name.
        splits: the examples of each split, which TFDS puts into an order of its own.
        supervised_keys: as TFDS has them. Defaults to `None`.
        num_shards: the number of files of each split. Defaults to `1`.
        config: the name of a configuration. Defaults to `None`.
    """

    class Prepared(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            return tfds.core.DatasetInfo(
                builder=self,
                features=tfds.features.FeaturesDict(dict(features)),
                supervised_keys=supervised_keys,
            )

        def _split_generators(self, dl_manager):
            return {split: enumerate(splits[split]) for split in splits}

        def _generate_examples(self):
            raise NotImplementedError("the splits above are all there is")

    Prepared.name = name
    if config is not None:
        config = tfds.core.BuilderConfig(name=config)
    builder = Prepared(data_dir=str(data_dir), config=config)
    builder.download_and_prepare(
        download_config=tfds.download.DownloadConfig(num_shards=num_shards)
    )
    return Path(builder.data_dir)
