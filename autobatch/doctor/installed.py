"""Which packages are installed, beside what autobatch is made for."""

import platform
from importlib import metadata

from autobatch.doctor.surroundings import Package

_OPTIONAL = {"matplotlib": "plot()", "pandas": "data from dataframes"}
_NEEDED = ("keras", "numpy", "tensorflow")


def read_packages() -> tuple[Package, ...]:
    """Returns Python, what autobatch needs, and what it can use."""
    try:
        wanted = metadata.metadata("autobatch")
        lines = metadata.requires("autobatch") or []
    except metadata.PackageNotFoundError:  # it runs from a source tree
        needed = [Package(name, _version(name)) for name in _NEEDED]
    else:
        needed = [_package("Python", platform.python_version(), wanted["Requires-Python"] or "")]
        needed += [_required(line) for line in lines if "extra ==" not in line]
    return (*needed, *(Package(name, _version(name), extra=extra) for name, extra in _OPTIONAL.items()))


def _required(line: str) -> Package:
    from packaging.requirements import Requirement

    requirement = Requirement(line)
    return _package(requirement.name, _version(requirement.name), str(requirement.specifier))


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
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
