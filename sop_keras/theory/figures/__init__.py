"""Figures 2, 3 and 4 of the paper, and a check of its condition (27)."""

from sop_keras.theory.figures.findings import Finding, write_rows
from sop_keras.theory.figures.make import FIGURES, make_figure

__all__ = ["FIGURES", "Finding", "make_figure", "write_rows"]
