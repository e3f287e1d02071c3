"""What must be right before TensorFlow is imported. Import this first."""

import os
import sys

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# TensorFlow leaves oneDNN's kernels off on CPUs without AVX512; without them a ResNet34
# step takes up to twice as long. Measured in BUILD.md.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

try:
    import sop_keras  # noqa: F401
except ImportError as error:  # TensorFlow is missing, which is found without its import
    sys.exit(f"error: {error}")
