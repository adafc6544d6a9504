"""What goes into the wheel; everything else about the package stands in pyproject.toml.

Only the package graysam and the default weights: train/, evaluation/, data_prep/ and benchmarks/ are used from a
checkout. The weights have one home in the repository, weights/graysam, and are put into the package as graysam/weights
when it is built (`graysam.api.default_weights` looks in both places).
"""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["graysam", "graysam.*"]), "graysam.weights"],
    package_dir={"graysam.weights": "weights/graysam"},
    package_data={
        "graysam": ["py.typed", "view/page/*"],
        "graysam.weights": ["*.json", "*.sha256", "*.pt", "openvino/*", "openvino-int8/*"],
    },
)
