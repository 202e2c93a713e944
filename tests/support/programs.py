"""Programs as a user starts them."""

import os


def environment(**own: str) -> dict[str, str]:
    """This process's environment with some values of its own; a script finds the modules beside it."""
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"}
    return {**inherited, "TF_CPP_MIN_LOG_LEVEL": "2", **own}
