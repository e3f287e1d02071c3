"""Weights that others trained, from files."""

from __future__ import annotations

import io
import os
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

import h5py
import keras
import numpy as np

from sop_keras.files.archives import check_unpacked
from sop_keras.files.untrusted import NO_LIMIT, open_untrusted

FROM_SCRATCH = "none"
IMAGENET = "imagenet"

# The deviations of ImageNet's channels, as EfficientNet takes them.
_EFFICIENTNET_STD = (0.229, 0.224, 0.225)


def check_pretrained(pretrained: str | os.PathLike[str]) -> None:
    """Refuse what is neither a known word nor a file of weights.

    Args:
        pretrained: `"none"`, `"imagenet"` or the path of a file.

    Raises:
        FileNotFoundError: if it is the path of no file.
        ValueError: if it is a file of another kind.
    """
    if pretrained in (FROM_SCRATCH, IMAGENET):
        return
    path = Path(pretrained)
    if not path.is_file():
        raise FileNotFoundError(
            '`pretrained` must be "none", "imagenet" or the path of a file of weights. '
            f"Received: pretrained={str(pretrained)!r}, and there is no such file."
        )
    if path.suffix not in (".h5", ".keras"):
        raise ValueError(
            "A file of weights must be one that Keras wrote, and be named as Keras "
            "names it: .weights.h5, .h5 or .keras. Received: "
            f"pretrained={str(pretrained)!r}."
        )


def load_weights_file(
    network: keras.Model,
    with_top: Callable[[], keras.Model],
    path: str | os.PathLike[str],
) -> None:
    """Give a network of keras.applications the weights of a file.

    Keras itself looks at the shapes of the layers that it finds and never at what is
    left over: a ResNet50 takes the file of a ResNet101 in silence. So the file must
    have all arrays of the network, or all of the network with its top, and no others.

    Args:
        network: the network without its top.
        with_top: builds the network with its top; called for a file that has one.
        path: the file: weights (`.weights.h5`, `.h5`) or a whole model (`.h5`,
            `.keras`).

    Raises:
        ValueError: if the file is no file of weights, or is of another network.
    """
    found, layer_names = _read_contents(path)
    if "images" in layer_names:
        raise ValueError(
            f"{str(path)!r} is a network that this package built: its input layer is "
            "named 'images'. `pretrained` takes weights of keras.applications, which "
            "scale the input in their own way. Load such a file with "
            "keras.saving.load_model."
        )
    if found == _shapes(network.weights):
        network.load_weights(path)
    else:
        complete = with_top()
        if found != _shapes(complete.weights):
            raise ValueError(
                f"{str(path)!r} has the weights of another network. Expected for "
                f"{network.name}: {_count(_shapes(network.weights))}, or "
                f"{_count(_shapes(complete.weights))} with the top of 1000 classes. "
                f"Received: {_count(found)}."
            )
        complete.load_weights(path)
        # The top's layers are the last ones, in all networks of keras.applications.
        network.set_weights(complete.get_weights()[: len(network.weights)])
    _settle_normalization(network)


def _read_contents(path: str | os.PathLike[str]) -> tuple[Counter, set[str]]:
    """How often each shape is among the arrays, and the names of the layers."""
    shapes: Counter[tuple[int, ...]] = Counter()
    names: set[str] = set()

    def visit(name: str, item: h5py.Group | h5py.Dataset) -> None:
        if isinstance(item, h5py.Group):
            names.update([str(item.attrs.get("name", ""))])
        elif "optimizer" not in name:  # a compiled model's, beside the weights
            shapes.update([item.shape])

    try:
        source: str | os.PathLike[str] | io.BytesIO = path
        if str(path).endswith(".keras"):
            with open_untrusted(path, NO_LIMIT) as packed:
                check_unpacked(packed, path, {})
                with zipfile.ZipFile(packed) as archive:
                    source = io.BytesIO(archive.read("model.weights.h5"))
        else:
            open_untrusted(path, NO_LIMIT).close()  # h5py and Keras take paths alone
        with h5py.File(source, "r") as file:
            file.visititems(visit)
            # Where Keras' older format keeps the names; whole models, one level down.
            for group in (file, file.get("model_weights", file)):
                names.update(map(str, group.attrs.get("layer_names", ())))
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"{str(path)!r} is no file of weights that Keras wrote, or is damaged "
            f"({error}). Download or save it again."
        ) from error
    return shapes, names


def _shapes(weights: Iterable[keras.Variable]) -> Counter[tuple[int, ...]]:
    return Counter(tuple(weight.shape) for weight in weights)


def _count(shapes: Counter[tuple[int, ...]]) -> str:
    numbers = sum(int(np.prod(shape)) * times for shape, times in shapes.items())
    return f"{shapes.total()} arrays of {numbers:,} numbers"


def _settle_normalization(network: keras.Model) -> None:
    """Make a network normalise its input as the published weights were trained.

    The files of EfficientNet keep standard deviations where the layer looks for
    variances (tensorflow/tensorflow#49930). Keras mends it with one more layer, but
    only where it downloads the file itself.
    """
    for layer in network.layers:
        if isinstance(layer, keras.layers.Normalization) and layer.weights:
            variance = keras.ops.convert_to_numpy(layer.adapt_variance)
            if np.allclose(variance, _EFFICIENTNET_STD, atol=1e-3):
                layer.adapt_variance.assign(np.square(variance))
            # What it computes with is derived from its weights, when asked to.
            layer.finalize_state()
