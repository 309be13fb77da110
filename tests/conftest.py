"""How many processes share a run."""


def pytest_xdist_auto_num_workers(config):
    """No others for one file or test, which they could not share; else one for each CPU."""
    return 0 if len(config.args) == 1 and ".py" in config.args[0] else None
