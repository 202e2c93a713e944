"""Which packages are installed, beside what autobatch is made for."""

import platform
from collections.abc import Iterable
from contextlib import suppress
from importlib import metadata

from autobatch.doctor.surroundings import Package

_OPTIONAL = {"matplotlib": "plot()", "pandas": "data from dataframes"}
_NEEDED = ("keras", "numpy", "tensorflow")


def read_packages() -> tuple[Package, ...]:
    """Returns Python, what autobatch needs, and what it can use."""
    try:
        wanted = metadata.metadata("keras-autobatch")
        lines = metadata.requires("keras-autobatch") or []
    except metadata.PackageNotFoundError:  # it runs from a source tree
        needed = [Package(name, _version(name)) for name in _NEEDED]
    else:
        needed = [_package("Python", platform.python_version(), wanted["Requires-Python"] or "")]
        needed += required(lines)
    return (*needed, *(Package(name, _version(name), extra=extra) for name, extra in _OPTIONAL.items()))


def required(lines: Iterable[str]) -> list[Package]:
    """Returns what requirements ask for beside what is installed; those of extras and of other systems are left out.

    Args:
        lines: As in a package's metadata, "keras<4,>=3.12; python_version >= '3.11'".
    """
    from packaging.requirements import Requirement

    wanted = [Requirement(line) for line in lines]
    here = [one for one in wanted if one.marker is None or one.marker.evaluate({"extra": ""})]
    return [_package(one.name, _version(one.name), str(one.specifier)) for one in here]


def _package(name: str, version: str | None, wanted: str) -> Package:
    return Package(name, version, wanted, None if version is None else fits(version, wanted))


def fits(version: str, wanted: str) -> bool | None:
    """Returns whether a version is among the wanted ones, `None` where that cannot be told.

    Example:
        >>> fits("1.17.0", "<2,>=1.11"), fits("2.0", "<2,>=1.11"), fits("odd", ">=1")
        (True, False, None)
    """
    from packaging.specifiers import InvalidSpecifier, SpecifierSet
    from packaging.version import InvalidVersion, Version

    try:
        # A build of one's own (2.21.0+local) or a release candidate is judged like its release.
        return bool(SpecifierSet(wanted).contains(Version(version), prereleases=True))
    except (InvalidSpecifier, InvalidVersion):
        return None


def _version(name: str) -> str | None:
    """Returns the version of a package, or of the one that brings its module (tensorflow-cpu brings tensorflow)."""
    others = metadata.packages_distributions().get(name, [])
    for package in (name, *others):
        with suppress(metadata.PackageNotFoundError):
            return metadata.version(package)
    return None
