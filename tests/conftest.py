"""What all tests share: no test asserts a time, so hypothesis gets no deadline either.

Tensors in tests are tiny: handing them to a second thread costs more than computing them (four times the
processor time for the tests of model and federated). So libraries get one thread, here and in the programs
that tests start; the simulator's own threads are not affected. It must happen before PyTorch is imported.
"""

import os

from hypothesis import HealthCheck, settings

os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")

settings.register_profile("pfsr", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("pfsr")
