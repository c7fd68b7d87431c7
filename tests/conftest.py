"""What all tests share: every run draws the same examples."""

from hypothesis import settings

settings.register_profile("offpath", derandomize=True)
settings.load_profile("offpath")
