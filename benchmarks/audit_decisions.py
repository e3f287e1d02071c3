"""How people's decisions help an audit with what they have not looked at.

    python benchmarks/audit_decisions.py --features=FILE.npy --data_dir=DATA
    python benchmarks/audit_decisions.py ... --settings=worst --count=500

FILE.npy is that of benchmarks/audit.py. The labels of the lowest quality are decided
as CIFAR-10's own labels say, and the data are audited again. Printed: how many of the
decided ones were wrong, and the AUROC of all others in the first audit and the second.
"""

from __future__ import annotations

import argparse
import os

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
from audit_labels import SETTINGS, labels_of

from sop_keras.auditing.findings import find_wrong_labels
from sop_keras.label_issues.decisions import Decisions
from sop_keras.label_issues.detection import auroc

NUM_CLASSES = 10


def decided(
    features: np.ndarray, given: np.ndarray, clean: np.ndarray, count: int
) -> tuple[int, float, float]:
    """The number of wrong ones among the decided, and the AUROC of the others.

    Args:
        features: of all examples, `(n, D)`.
        given: their labels, integers `(n,)`.
        clean: the right ones.
        count: how many are decided.
    """
    first = find_wrong_labels(features, given, NUM_CLASSES).table
    quality = first["label_quality"].to_numpy()
    ids = np.sort(np.argsort(quality, kind="stable")[:count])
    is_wrong = given != clean
    kinds = np.where(is_wrong[ids], "other", "given").astype(object)
    decisions = Decisions(ids, kinds, clean[ids], np.zeros(count, "datetime64[ms]"))
    second = find_wrong_labels(features, given, NUM_CLASSES, decisions=decisions).table
    others = np.setdiff1d(np.arange(len(given)), ids)
    before, after = (
        auroc(-table["label_quality"].to_numpy()[others], is_wrong[others])
        for table in (first, second)
    )
    return int(is_wrong[ids].sum()), before, after


def main() -> None:
    """Print a line a setting."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--features", required=True, help=".npy of all training images")
    parser.add_argument("--data_dir", required=True, help="as of benchmarks/audit.py")
    parser.add_argument("--settings", default=",".join(SETTINGS))
    parser.add_argument("--count", type=int, default=500)
    args = parser.parse_args()
    features = np.load(args.features)
    for setting in args.settings.split(","):
        given, clean = labels_of(setting, 0, args.data_dir)
        wrong, before, after = decided(features, given, clean, args.count)
        print(
            f"{setting}: {wrong} of {args.count} decided were wrong; AUROC of the "
            f"others {before:.4f} before, {after:.4f} after",
            flush=True,
        )


if __name__ == "__main__":
    main()
