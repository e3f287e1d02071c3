"""What pyproject.toml cannot say: that launch/ is installed under another name."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["sop_keras*"]), "sop_keras_launch"],
    # Not as `launch`, a name that others have as well.
    package_dir={"sop_keras_launch": "launch"},
)
