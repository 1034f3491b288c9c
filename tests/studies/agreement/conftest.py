"""The small study that is asked about."""

from tests.support.small_study import source, study  # noqa: F401
