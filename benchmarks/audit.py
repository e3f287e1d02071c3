"""Wrong labels from pretrained features: our audit, cleanlab, and what else people do.

    pip install -e ".[cpu,launch,cleanlab]"
    python benchmarks/audit.py --features=FILE.npy --data_dir=DATA --file=OUT.csv
    python benchmarks/audit.py ... --settings=symmetric --seeds=1,2 --methods=audit
    python benchmarks/audit.py --file=OUT.csv --report

FILE.npy has the features of CIFAR-10's 50,000 training images in their original
order, float32 `(50000, D)`: those that `launch/audit.py` stores, or any other
network's. Labels are those of CIFAR-10N (`worst`, `random1`, `aggregate`), and with
symmetric and asymmetric noise of 40%, drawn with the seed. `--settings=random2,random3`
are two more of CIFAR-10N's, on which nothing was chosen. All methods have the same
features and labels:

- `audit`: our head, trained with SOP, and its judgement.
- `cleanlab_...`: cleanlab's own functions on 5-fold probabilities of scikit-learn's
  logistic regression on standardised features, with the best C of four. Confident
  learning (`find_label_issues`) puts what it finds first, both parts by confidence.
- `loss`, `aum`, `mean_probability`, `signed_entropy`: a linear head trained with cross
  entropy for 20 epochs without L2, looked at after each epoch.
- `aum_l2`, `mean_probability_l2`: the same with the L2 term and the epochs of ours.
- `knn`: how many of the 50 nearest examples by cosine have the same label.

Seconds are of processors, of all threads (`time.process_time`); nothing forks, for
cleanlab is told to stay in this process. They are without those that made the features,
but with those that choose C, and for `knn` with the search, which is done once for all.

OUT.csv has a row for each setting, seed and method, written when it is done: what is in
it is not made again. --report prints it as Markdown.
"""

from __future__ import annotations

import argparse
import csv
import os
import sys
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
from audit_labels import SETTINGS, UNSEEN, labels_of
from audit_report import COLUMNS, markdown, read_rows, reliability_text


def todo(args: argparse.Namespace) -> Iterator[tuple[str, int, list[str]]]:
    """Settings and seeds, with their methods that are not in the file yet."""
    done = {
        (row["setting"], row["seed"], row["method"]) for row in read_rows(args.file)
    }
    for seed in args.seeds:
        for setting in args.settings:
            left = [one for one in args.methods if (setting, seed, one) not in done]
            if left:
                yield setting, seed, left


def run(args: argparse.Namespace) -> None:
    """Make what is left, and write each row when it is done."""
    import tensorflow as tf
    from audit_rankings import FAMILIES, Features, Ranking

    from sop_keras.label_issues.detection import detection_figures

    def row(ranking: Ranking, is_wrong: np.ndarray) -> dict[str, object]:
        figures = detection_figures(
            ranking.quality, np.zeros(len(is_wrong), bool), is_wrong
        )
        judged = ranking.judgement
        least, most = judged.num_wrong_interval if judged else ("", "")
        return {
            "num_wrong": int(is_wrong.sum()),
            "auroc": figures["auroc"],
            "average_precision": figures["average_precision"],
            "precision_at_k": figures["precision_at_k"],
            "seconds": ranking.seconds,
            "note": ranking.note,
            "estimated": judged.num_wrong if judged else "",
            "least": least,
            "most": most,
            "reliability": reliability_text(judged.quality, ~is_wrong)
            if judged
            else "",
        }

    tf.config.experimental.enable_op_determinism()
    features = Features(np.load(args.features))
    for setting, seed, left in todo(args):
        given, clean = labels_of(setting, seed, args.data_dir)
        if len(given) != len(features):
            sys.exit(
                f"error: {args.features} has {len(features)} rows; CIFAR-10 has "
                f"{len(given)} training images"
            )
        for family, names in FAMILIES.items():
            wanted = [name for name in names if name in left]
            rankings = family(features, given, seed) if wanted else {}
            for name in wanted:
                found = row(rankings[name], given != clean)
                found |= {"setting": setting, "seed": seed, "method": name}
                append(args.file, found)
                print(setting, seed, name, f"{found['auroc']:.4f}", flush=True)


def append(path: Path, row: dict[str, object]) -> None:
    """Write a row, and the columns' names before the first one."""
    known = path.read_text() if path.exists() else ""
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        if not known:
            writer.writeheader()
        elif not known.endswith("\n"):  # a row that a killed process left
            file.write("\n")
        writer.writerow(
            {
                name: f"{value:.6g}" if isinstance(value, float) else value
                for name, value in row.items()
            }
        )


def main() -> None:
    """Make what is not there yet, or report."""
    from audit_rankings import METHODS

    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--features", help=".npy of all training images")
    parser.add_argument("--data_dir", help="of TFDS' cifar10, with CIFAR-10N beside it")
    parser.add_argument("--settings", default=",".join(SETTINGS))
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--file", type=Path, required=True, help="the CSV of all rows")
    parser.add_argument("--report", action="store_true", help="print it as Markdown")
    args = parser.parse_args()
    args.settings, args.methods = args.settings.split(","), args.methods.split(",")
    args.seeds = [int(seed) for seed in args.seeds.split(",")]
    known = {*SETTINGS, *UNSEEN, *METHODS}
    if unknown := {*args.settings, *args.methods} - known:
        sys.exit(f"error: no such settings or methods: {', '.join(sorted(unknown))}")
    if args.features:
        run(args)
    elif not args.report:
        sys.exit("error: --features=FILE.npy is needed, or --report")
    if args.report:
        print(markdown(read_rows(args.file)))


if __name__ == "__main__":
    main()
