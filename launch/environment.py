"""What must be right before TensorFlow is imported. Import this first."""

import os
import sys

from installed import what_is_missing

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# TensorFlow leaves oneDNN's kernels off on CPUs without AVX512; without them a ResNet34
# step takes up to twice as long. Measured in BUILD.md.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

_errors = []
try:
    import sop_keras  # noqa: F401
except ImportError as error:  # TensorFlow is missing, which is found without its import
    _errors.append(str(error))
if _of_flags := what_is_missing(["absl"]):  # without which no flag can be read
    _errors.append(_of_flags)
if _errors:
    sys.exit(f"error: {' '.join(_errors)}")
