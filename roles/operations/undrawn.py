"""What a person should know after a service that draws was switched to."""

import logging

from pyinfra.context import host

from roles.drawing import service_state, state_file
from roles.facts.survey import Survey


def report_undrawn(unit: str, user: str) -> None:
    """Warn if a running service has not drawn a picture."""
    file = state_file(unit)
    state = service_state(host.get_fact(Survey, written_by={file: user}).text(file))
    if problem := state.get("problem"):
        host.log(f"{unit} runs, but has drawn nothing: {problem}", logging.getLogger("pyinfra").warning)
