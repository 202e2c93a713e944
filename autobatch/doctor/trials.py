"""Findings about where trials run and files are put."""

from collections.abc import Iterator

from autobatch._text import GIB, format_bytes
from autobatch.doctor.finding import Finding, ok, warning
from autobatch.doctor.surroundings import Surroundings


def findings(seen: Surroundings) -> Iterator[Finding]:
    """Yields whether a worker process starts, and whether the folders can be used."""
    places = seen.places
    if places.worker_error is None:
        yield ok("trials", "worker", "A worker process starts and ends: a trial that fails takes nothing with it.")
    else:
        remedy = "Trials run in the caller's process then, without a deadline. Run where Python may start processes."
        yield warning("trials", "worker", f"No worker process can be started: {places.worker_error}", remedy)
    if places.cache_error is None:
        yield ok("trials", "cache", f"Answers are kept in {places.cache}.")
    else:
        said = f"Answers cannot be kept in {places.cache} ({places.cache_error}): each probe measures anew."
        yield warning("trials", "cache", said, "Set AUTOBATCH_CACHE_DIR to a folder that can be written to.")
    yield _temporary(seen)


def _temporary(seen: Surroundings) -> Finding:
    places = seen.places
    if places.temporary_in_memory:
        said = f"Temporary files in {places.temporary} take memory, and a trial's model and checkpoints are among them."
        return warning("trials", "temporary", said, "Set TMPDIR to a folder on a disk, /var/tmp for example.")
    if places.temporary_free_bytes is not None and places.temporary_free_bytes < GIB:
        said = f"Only {format_bytes(places.temporary_free_bytes)} are free for temporary files in {places.temporary}."
        return warning("trials", "temporary", said, "Make room there, or set TMPDIR to a folder with more.")
    return ok("trials", "temporary", f"Temporary files are put on a disk, in {places.temporary}.")
