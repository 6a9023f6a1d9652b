"""How long tests wait for what they know will come.

A machine may be busy with anything else, so no test passes because of how fast it is: a wait ends by what it waits for,
and its bound only turns a hang into a failure.
"""

import time

HUNG = 300.0  # [s]


def wait_until(happened, while_runs=None):
    """Until ``happened()``; fails at once if the process that should do it has ended before."""
    deadline = time.monotonic() + HUNG
    while not happened():
        assert while_runs is None or while_runs.poll() is None or happened(), "the process ended too early"
        assert time.monotonic() < deadline, "it does not happen"
        time.sleep(0.005)
