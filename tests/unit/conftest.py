"""Properties are judged by what they find, not by how long an example takes on a machine that others use too."""

from hypothesis import settings

settings.register_profile("shared-machine", parent=settings(), deadline=None)
settings.load_profile("shared-machine")
