"""Writes the report of a run: which labels look wrong, on one page for a browser.

    python launch/report.py runs/digits-seed0/sop
    python launch/report.py RUN --output=wrong_labels.html --num_examples=500

RUN is the folder of a complete run of SOP or SOP+. It gets report.html, a page that has
all in itself and loads nothing, and the plots in report/. They are curves of the
training, the label noise between classes, and the scores of the labels; a gallery has
the labels that look worst: sorted, filtered by class, id or file, with ids to copy.

The data are looked for where they were in training. If they have moved, these flags of
launch/train.py say where: --data_dir, --human_labels, --imagenet_dir, --manifest,
--test_manifest; --expect_full_size and --max_bad_fraction count as well. All others are
about training, and change nothing.
"""

from __future__ import annotations

import environment  # isort: skip  # noqa: F401

import train
from absl import flags
from flag_settings import files_of_run

from sop_keras.report.write import write_report

FLAGS = flags.FLAGS

flags.DEFINE_string("output", None, "The page; report.html in the run if unset.")
flags.DEFINE_integer(
    "num_examples", 200, "How many labels the gallery shows.", lower_bound=1
)


def report(name: str, run: str) -> None:
    """Write the report of the run in a folder, and say where it is."""
    path = write_report(
        run,
        files_of_run(FLAGS, run),
        output=FLAGS.output,
        num_examples=FLAGS.num_examples,
    )
    print(f"report: {path}\nplots:  {path.with_suffix('')}")


def main() -> None:
    """Write the report of the run that the command names."""
    train.main(report, default_flagfile=None, argument="RUN")


if __name__ == "__main__":
    main()
