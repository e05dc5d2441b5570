"""For all tests: how long an example of Hypothesis takes is no failure on a busy machine."""

from hypothesis import settings

settings.register_profile("patient", deadline=None)
settings.load_profile("patient")
