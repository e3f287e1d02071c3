"""What a training finds out about its labels, shown while it goes on."""

from sop_keras.monitoring.noise_monitor import NoiseMonitor

__all__ = ["NoiseMonitor"]
