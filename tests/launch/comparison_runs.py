"""Folders of complete runs of a comparison, written by hand."""

import json

import command
import compare
import flagfiles


def parsed(*arguments):
    """What the command line of launch/compare.py says."""
    return command.parse(compare.define_flags(), arguments, flagfiles.DEFAULT)


def planned(*arguments):
    """The cells that a command line asks for."""
    return compare.plan(parsed(*arguments))[0]


def complete(cell, test, seconds, labels="same", folder=None, **result):
    """Write a complete run: test accuracies and seconds of its epochs, in order."""
    folder = folder or cell.run.folder
    folder.mkdir(parents=True)
    lines = ["epoch,seconds,accuracy,val_accuracy,test_accuracy"]
    for epoch, (one, of) in enumerate(zip(test, seconds, strict=True), start=1):
        lines.append(f"{epoch},{of},0.5,{one / 2},{one}")
    files = {
        "config.json": json.dumps(cell.run.experiment.settings()),
        "data.json": json.dumps({"labels": labels, "files": {"data_dir": str(folder)}}),
        "result.json": json.dumps({"seconds": float(sum(seconds)), **result}),
        "history.csv": "\n".join(lines) + "\n",
    }
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
