"""What a training step on several replicas sends, computed and not measured.

    python benchmarks/communication.py --backbone=resnet34 --batch_size=128 \
        --num_classes=10 --num_examples=50000 --replicas=1,2,8,16

Prints, as a Markdown table, the bytes that each replica sends in a step: gradients of
the network (all-reduced), ids and gradients of the rows (all-gathered), and the rest
(synchronized BatchNorm, L_B, the batch's size); how many exchanges those are; and the
milliseconds that they take at a given bandwidth and latency. Of the network, only its
parameters and normalised channels count; they are taken from the real one.
"""

from __future__ import annotations

import argparse
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from sop_keras.backbones.build import build_backbone

FLOAT, ID = 4, 8  # bytes
# Of BatchNorm, Keras reduces sum, sum of squares and count, each of a layer's channels,
# and in the backward pass the gradients of the first two.
REDUCED_BY_BATCH_NORM = 5
# The network's gradients, which TensorFlow packs into one; the batch's size; L_B's mean
# and its gradient; and ids, and rows of u and v with what is recorded of each example
# (prediction, probability of the label, label), both after the shapes of their parts.
EXCHANGES = 1 + 1 + 2 + 2 * 2
RECORDED = 3


@dataclass(frozen=True)
class Network:
    """What counts of a network.

    Args:
        parameters: trainable ones, P.
        channels: of each BatchNormalization.
    """

    parameters: int
    channels: tuple[int, ...] = ()


@dataclass(frozen=True)
class Communication:
    """What a replica sends in a step.

    Args:
        network: bytes, of the network's gradients.
        rows: bytes, of the batch's ids, gradients of u and v, and what is recorded.
        rest: bytes, of synchronized BatchNorm, L_B and the size of the batch.
        exchanges: how many there are, one after another at worst.
    """

    network: float
    rows: float
    rest: float
    exchanges: int

    @property
    def total(self) -> float:
        """All bytes."""
        return self.network + self.rows + self.rest


def communication(
    network: Network, batch_size: int, num_classes: int, replicas: int
) -> Communication:
    """What each replica sends in a step of SOP+, in rings.

    In a ring of R replicas, each sends 2 (R - 1) / R of n bytes that are all-reduced,
    and (R - 1) / R of n bytes that are gathered, n being those of all replicas.

    Args:
        network: the backbone.
        batch_size: B, of all replicas together.
        num_classes: K.
        replicas: R, at least 1.
    """
    if replicas == 1:
        return Communication(0, 0, 0, 0)
    gathered = (replicas - 1) / replicas
    reduced = 2 * gathered
    batch_norm = REDUCED_BY_BATCH_NORM * sum(network.channels)
    balance = 2 * num_classes
    return Communication(
        network=reduced * FLOAT * network.parameters,
        rows=gathered * batch_size * (ID + FLOAT * (num_classes + 1 + RECORDED)),
        rest=reduced * FLOAT * (batch_norm + balance + 1),
        exchanges=EXCHANGES + REDUCED_BY_BATCH_NORM * len(network.channels),
    )


def table_bytes(num_examples: int, num_classes: int) -> int:
    """The size of u, `(N, 1)`, and v, `(N, K)`."""
    return FLOAT * num_examples * (num_classes + 1)


def network_of(name: str, image_size: int, num_classes: int) -> Network:
    """What counts of one of the backbones.

    Args:
        name: as for `build_backbone`.
        image_size: height and width, in pixels.
        num_classes: K.
    """
    backbone = build_backbone(name, (image_size, image_size, 3), num_classes, seed=0)
    return Network(
        parameters=sum(
            math.prod(weight.shape) for weight in backbone.trainable_weights
        ),
        channels=tuple(
            weight.shape[0]
            for weight in backbone.non_trainable_weights
            if weight.name == "moving_mean"
        ),
    )


def markdown(
    network: Network,
    batch_size: int,
    num_classes: int,
    replicas: Sequence[int],
    gigabytes_per_second: float,
    latency_us: float,
) -> str:
    """The table, a row for each number of replicas."""
    columns: tuple[str, ...]
    columns = ("replicas", "network, MB", "rows, MB", "rest, MB", "exchanges")
    columns += ("bytes, ms", "latencies, ms")
    lines = [columns, ("---",) * len(columns)]
    for number in replicas:
        sent = communication(network, batch_size, num_classes, number)
        megabytes = (sent.network / 1e6, sent.rows / 1e6, sent.rest / 1e6)
        milliseconds = (
            sent.total / (gigabytes_per_second * 1e6),
            sent.exchanges * latency_us / 1e3,
        )
        lines.append(
            (
                str(number),
                *(f"{value:,.3f}" for value in megabytes),
                str(sent.exchanges),
                *(f"{value:,.2f}" for value in milliseconds),
            )
        )
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> None:
    """Print the sizes and the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backbone", default="resnet34")
    parser.add_argument("--image_size", type=int, default=32)
    parser.add_argument("--batch_size", type=int, default=128, help="of all replicas")
    parser.add_argument("--num_classes", type=int, default=10)
    parser.add_argument("--num_examples", type=int, default=50_000)
    parser.add_argument("--replicas", default="1,2,8,16")
    parser.add_argument(
        "--gigabytes_per_second",
        type=float,
        default=200.0,
        help="that each replica can send; 12.5 is an Ethernet of 100 Gbit/s",
    )
    parser.add_argument(
        "--latency_us", type=float, default=20.0, help="of an exchange, however small"
    )
    arguments = parser.parse_args()

    classes = arguments.num_classes
    network = network_of(arguments.backbone, arguments.image_size, classes)
    table = table_bytes(arguments.num_examples, classes) / 1e6
    print(
        f"{arguments.backbone}: {network.parameters:,} parameters, "
        f"{len(network.channels)} BatchNorm layers of {sum(network.channels):,} "
        f"channels together\n"
        f"N = {arguments.num_examples:,}, K = {classes}, B = {arguments.batch_size}: "
        f"u and v are {table:,.1f} MB on every replica, or, with table_device='cpu', "
        "once in the memory of every machine\n"
        f"assumed: {arguments.gigabytes_per_second:g} GB/s, "
        f"{arguments.latency_us:g} us an exchange\n"
    )
    print(
        markdown(
            network,
            arguments.batch_size,
            classes,
            [int(number) for number in arguments.replicas.split(",")],
            arguments.gigabytes_per_second,
            arguments.latency_us,
        )
    )


if __name__ == "__main__":
    main()
