"""One thread a process: the tests share the cores, and small operators wait for slow threads."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
