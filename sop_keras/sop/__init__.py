"""SOP: sparse over-parameterisation (paper, Sections 2 and A.3)."""

from sop_keras.sop.model import SOPModel
from sop_keras.sop.noise_rates import NoiseRates, suggest_noise_rates
from sop_keras.sop.noise_table import NoiseTable

__all__ = ["NoiseRates", "NoiseTable", "SOPModel", "suggest_noise_rates"]
