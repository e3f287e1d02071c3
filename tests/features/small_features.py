"""Small networks and images, of which features are known beforehand."""

import os

import keras
import numpy as np
from PIL import Image

from sop_keras.data.datasets.dataset import Examples
from sop_keras.data.images.encoded_images import ImageFiles

MEAN, STD = (0.5, 0.25, 0.125), (0.25, 0.5, 0.125)

# In the past, so that times of change prove that files are as they were.
LONG_AGO = 1_500_000_000


class MeanNetwork:
    """The mean of each channel, 0 to 255: what embed asks of a network, in NumPy.

    Attributes:
        seen: the features of each image that was no padding, batch by batch.
    """

    num_features, image_size, resize = 3, 4, 5

    def __init__(self, **record):
        self.seen = []
        self._record = {"backbone": "mean", "weights": "none", **record}

    def record(self):
        return dict(self._record)

    def check_channels(self, channels):
        assert channels == 3

    def features(self, images):
        means = images.mean((1, 2), dtype=np.float64).astype(np.float32)
        self.seen.append([tuple(row) for row in means[means.any(1)].tolist()])
        return means


def saved_classifier(path, *layers, shape=(8, 8, 3), seed=0):
    """A file of a classifier whose weights hang on the seed alone."""
    layers = layers or (
        keras.layers.Conv2D(4, 3, activation="relu", name="conv"),
        keras.layers.GlobalAveragePooling2D(name="pool"),
        keras.layers.Dense(5, name="head"),
    )
    model = keras.Sequential([keras.Input(shape), *layers], name="classifier")
    draw = np.random.default_rng(seed)
    for weight in model.weights:
        weight.assign(draw.normal(0, 0.5, weight.shape).astype("float32"))
    model.save(path)
    return model


def write_image(path, colour, changed=LONG_AGO):
    """A PNG of one colour, three numbers; lossless, whatever is cut out of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (7, 6), colour).save(path)
    os.utime(path, (changed, changed))


def files(folder, names):
    images = ImageFiles(folder, np.array(names, np.bytes_), resize=9, image_size=8)
    return Examples(np.arange(len(names)), images, np.zeros(len(names), int))


def arrays(images):
    return Examples(np.arange(len(images)), images, np.zeros(len(images), int))
