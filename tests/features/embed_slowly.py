"""Embeds images one batch after another, saying how far it is; to be killed.

python embed_slowly.py IMAGES STORE NETWORK SECONDS_A_BATCH
"""

import sys
import time
from pathlib import Path

import numpy as np

from sop_keras.data.datasets.dataset import Examples
from sop_keras.data.images.encoded_images import ImageFiles
from sop_keras.features import store as store_module
from sop_keras.features.embed import embed
from sop_keras.features.network import feature_network

images, folder, network, pause = sys.argv[1:]
store_module.COMMIT_SECONDS = 0.1
names = np.array(sorted(path.name for path in Path(images).iterdir()), np.bytes_)


def progress(done, total, seconds):
    print(done, total, flush=True)
    time.sleep(float(pause))


embedded = embed(
    Examples(
        np.arange(len(names)), ImageFiles(images, names), np.zeros(len(names), int)
    ),
    feature_network(network),
    store_module.FeatureStore(folder),
    batch_size=8,
    max_bad_fraction=0.2,
    progress=progress,
)
print("made", embedded.counts.embedded, "reused", embedded.counts.reused, flush=True)
