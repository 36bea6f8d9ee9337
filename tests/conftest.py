"""What all tests share: no test asserts a time, so hypothesis gets no deadline either."""

from hypothesis import HealthCheck, settings

settings.register_profile("pfsr", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("pfsr")
