"""What the tests share."""

import hypothesis

hypothesis.settings.register_profile("pepr", deadline=None, derandomize=True)
hypothesis.settings.load_profile("pepr")
