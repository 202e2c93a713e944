"""Properties are checked without a time limit: machines that run tests are slow at times."""

from hypothesis import settings

settings.register_profile("patient", deadline=None)
settings.load_profile("patient")
