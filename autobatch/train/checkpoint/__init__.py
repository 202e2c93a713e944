"""A training on disk: saved while it runs, and gone on with by another process."""
