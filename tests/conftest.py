"""How many processes share a run, and how long a test may take."""

import signal
import threading

import hypothesis
import pytest

# The first example may have to wait for the compiler, and any of them for the machine.
hypothesis.settings.register_profile("patient", deadline=None)
if hypothesis.settings.get_current_profile_name() == "default":
    hypothesis.settings.load_profile("patient")

SECONDS = 900  # for one test: a search that does not end fails


def pytest_xdist_auto_num_workers(config):
    """No others for one file or test, which they could not share; else one for each CPU."""
    return 0 if len(config.args) == 1 and ".py" in config.args[0] else None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    """Raise in the middle of a test that takes too long, where there are such signals."""
    in_main = threading.current_thread() is threading.main_thread()
    if not hasattr(signal, "SIGALRM") or not in_main or item.get_closest_marker("slow"):
        return (yield)

    def late(*_):
        raise TimeoutError(f"{item.nodeid} takes more than {SECONDS} seconds")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(SECONDS)
    try:
        return (yield)
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
