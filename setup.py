"""Keeps the package list right when a sub-package is added.

The folders at the top of the repository are `greenroom`'s own packages.
"""

from setuptools import find_packages, setup

FOLDERS = ("actors", "protocol", "storage", "benchmarks")

setup(
    packages=[
        "greenroom",
        *(
            f"greenroom.{package}"
            for folder in FOLDERS
            for package in (folder, *(f"{folder}.{sub}" for sub in find_packages(folder)))
        ),
    ]
)
