"""Findings about the installed packages."""

from collections.abc import Iterator

from autobatch.doctor.finding import Finding, ok, warning
from autobatch.doctor.surroundings import Package, Surroundings


def findings(seen: Surroundings) -> Iterator[Finding]:
    """Yields what is installed, and what does not fit."""
    needed = [package for package in seen.packages if not package.extra]
    optional = [package for package in seen.packages if package.extra]
    yield from (_unfit(package) for package in seen.packages if package.fits is False)
    missing = [package for package in needed if package.version is None]
    yield from (_missing(package) for package in missing)
    if needed and not missing and all(package.fits for package in needed):
        yield ok("packages", "versions", "Everything that autobatch needs is there, in versions that it is made for.")
    elif any(package.fits is None and package.version is not None for package in needed):
        yield ok("packages", "versions", "autobatch is not installed as a package here: versions are not compared.")
    yield from (_optional(package) for package in optional)


def _unfit(package: Package) -> Finding:
    said = f"{package.name} {package.version} is installed; autobatch is made for {package.wanted}."
    remedy = f"Use {package.name} {package.wanted}." if package.name == "Python" else _install(package)
    return warning("packages", package.name, said, remedy)


def _missing(package: Package) -> Finding:
    return warning("packages", package.name, f"{package.name} is not installed.", _install(package))


def _optional(package: Package) -> Finding:
    if package.version is None:
        said = f"Not installed, and needed for {package.extra} only: pip install {package.name}."
        return ok("packages", package.name, said)
    return ok("packages", package.name, f"{package.name} {package.version}, for {package.extra}.")


def _install(package: Package) -> str:
    return f"pip install '{package.name}{package.wanted or ''}'"
