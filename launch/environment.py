"""What must be in the environment before TensorFlow is imported. Import this first."""

import os

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# TensorFlow leaves oneDNN's kernels off on some CPUs (those without AVX512), where a
# ResNet34 step took 15.9 s without and 12.5 s with them. See BUILD.md.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
