"""The report of a run: one HTML page, and its plots."""

from sop_keras.report.write import write_report

__all__ = ["write_report"]
