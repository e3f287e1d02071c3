"""The names of the backbones, which can be checked before Keras is imported."""

from __future__ import annotations

import re

# The small ones, and the networks of the paper: where the function of each is.
BACKBONES = {
    "cnn": "sop_keras.backbones.cnn:cnn",
    "efficientnet_lite0": "sop_keras.backbones.efficientnet_lite:efficientnet_lite0",
    "fast_cnn": "sop_keras.backbones.fast_cnn:fast_cnn",
    "fast_cnn_wide": "sop_keras.backbones.fast_cnn:fast_cnn_wide",
    "inception_resnet_v2": "sop_keras.backbones.applications:inception_resnet_v2",
    "mlp": "sop_keras.backbones.mlp:mlp",
    "preact_resnet18": "sop_keras.backbones.preact_resnet:preact_resnet18",
    "resnet34": "sop_keras.backbones.resnet:resnet34",
    "resnet50": "sop_keras.backbones.applications:resnet50",
}

# Of these, those with weights of their own.
WITH_WEIGHTS = ("efficientnet_lite0", "inception_resnet_v2", "resnet50")

# And those that must see training images before they are made.
OF_IMAGES = ("fast_cnn", "fast_cnn_wide")

# The networks of keras.applications; a test compares them with Keras' own list.
KERAS_NAMES = (
    *("ConvNeXtBase", "ConvNeXtLarge", "ConvNeXtSmall", "ConvNeXtTiny"),
    *("ConvNeXtXLarge", "DenseNet121", "DenseNet169", "DenseNet201"),
    *("EfficientNetB0", "EfficientNetB1", "EfficientNetB2", "EfficientNetB3"),
    *("EfficientNetB4", "EfficientNetB5", "EfficientNetB6", "EfficientNetB7"),
    *("EfficientNetV2B0", "EfficientNetV2B1", "EfficientNetV2B2"),
    *("EfficientNetV2B3", "EfficientNetV2L", "EfficientNetV2M", "EfficientNetV2S"),
    *("InceptionResNetV2", "InceptionV3", "MobileNet", "MobileNetV2"),
    *("MobileNetV3Large", "MobileNetV3Small", "NASNetLarge", "NASNetMobile"),
    *("ResNet101", "ResNet101V2", "ResNet152", "ResNet152V2", "ResNet50"),
    *("ResNet50V2", "VGG16", "VGG19", "Xception"),
)

PREFIX = "keras_hub:"
"""What the names of KerasHub's presets begin with."""


def snake_case(name: str) -> str:
    """`"EfficientNetB0"` as `"efficientnet_b0"`; what is in snake case stays."""
    name = name.replace("Net", "net").replace("NeXt", "next")
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


# By the name in snake case, Keras' own.
APPLICATIONS = {snake_case(name): name for name in KERAS_NAMES}


def backbone_names() -> list[str]:
    """All names that `build_backbone` knows, sorted, but for KerasHub's presets."""
    return sorted({*BACKBONES, *APPLICATIONS})


def check_backbone_name(name: str) -> None:
    """Refuse a name that `build_backbone` does not know.

    Presets of KerasHub are only looked for when they are built.

    Args:
        name: as for `build_backbone`.

    Raises:
        ValueError: if the name is unknown; the message has the known ones.
    """
    if name in BACKBONES or snake_case(name) in APPLICATIONS:
        return
    if name.startswith(PREFIX) and name != PREFIX:
        return
    raise ValueError(
        f"Unknown backbone {name!r}. Known ones: {', '.join(backbone_names())}; and "
        f"{PREFIX}PRESET for a preset of KerasHub or a folder that holds one."
    )
