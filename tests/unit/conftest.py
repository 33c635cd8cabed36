"""Properties are judged by what they find, and no test sees the credentials of another."""

from hypothesis import settings

from pullsecrets import redaction

# An example may take long on a machine that others use too.
settings.register_profile("shared-machine", parent=settings(), deadline=None)
settings.load_profile("shared-machine")


def pytest_runtest_teardown() -> None:
    """Forget what was registered: a made-up password such as `other` would be redacted in every later text."""
    redaction._process._values.clear()
