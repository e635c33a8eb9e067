"""The way to D-Wave's services: within a time, and without secrets in what is said of failures.

Tokens are read by D-Wave's own client, from its configuration file or the environment, in the
process that asks. They are no argument of anything here, so that they cannot get into settings,
task graphs, pickles or stores.
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from daskhpo.exceptions import AnnealerError

__all__ = ["CONNECTION", "answer_to", "ask", "without_secrets"]

T = TypeVar("T")

CONNECTION: Mapping[str, Any] = {
    # Its files are a SQLite data base, which shared file systems of clusters do not bear.
    "cache_enabled": False,
    # Where there is no network, ten tries of a minute each say no more than two of ten seconds.
    "http_retry_connect": 2,
    "request_timeout": (10.0, 120.0),  # seconds to connect and, longer than a long poll, to read
}

_OFFLINE = (
    "it cannot be reached from this machine. Nodes of clusters often have no way out: ask from a "
    "login or service node (a worker with resources qpu=1), or set DWAVE_API_PROXY"
)
_DENIED = "the token was refused: it may have expired or not cover this service and region"
_CURES = {  # {class of an exception of D-Wave's client or of requests: what it means}
    "ResourceAuthenticationError": _DENIED,
    "ResourceAccessForbiddenError": _DENIED,
    "SolverNotFoundError": "no solver that is online has what is asked for: see `dwave solvers`",
    "SolverOfflineError": "the solver is offline: see `dwave solvers`",
    "ResourceLimitsExceededError": "the project's limit is reached: see its quota in Leap",
    "RequestTimeout": _OFFLINE,
    "ConnectionError": _OFFLINE,
    "Timeout": _OFFLINE,
    "ImportError": "a package is missing: pip install 'daskhpo[dwave]'",
}
_NO_TOKEN = (
    "there is no API token: run `dwave config create`, or set DWAVE_API_TOKEN, on the machine that "
    "asks"
)
_SECRETS = re.compile(
    r"\b[0-9A-Za-z]{2,8}-[0-9A-Fa-f]{24,}\b"  # a token: its region or kind, and hexadecimal digits
    r"|\b[0-9A-Fa-f]{32,}\b"
    r"|(?<=://)[^/\s@]+(?=@)"  # user and password of a proxy
)
_LONGEST = 300  # characters of what a service says


def ask(service: str, timeout: float, work: Callable[[threading.Event], T]) -> T:
    """Ask a service, and wait for ``timeout`` seconds at most.

    Parameters
    ----------
    service : str
        As it is called in messages: "the QPU".
    timeout : float
        In seconds, for everything: names, connections, the queue, the answer.
    work : callable
        Asks and answers, in a thread of its own. It is given an event that is set once nobody
        waits any longer: then it should cancel what it has asked for.

    Raises
    ------
    AnnealerError
        Whatever goes wrong, with no trace of the original: that may hold a token.
    """
    answers: list[T] = []
    failures: list[str] = []
    given_up = threading.Event()

    def run() -> None:
        try:
            _keep_secrets_out_of_logs()
            answers.append(work(given_up))
        except AnnealerError as error:
            failures.append(str(error))
        except Exception as error:  # noqa: BLE001  its kind is for D-Wave's client to choose
            failures.append(_meaning(error))

    # A daemon: a process can end though a name server or a proxy never answers.
    thread = threading.Thread(target=run, name="daskhpo-annealer", daemon=True)
    thread.start()
    try:
        thread.join(timeout)
        late = thread.is_alive()  # asked before it hears that it was given up
    finally:
        given_up.set()
    if late:
        failures.insert(0, f"nothing came within timeout={timeout:g} s, and it is cancelled")
    if failures:
        raise AnnealerError(f"{service} did not answer: {failures[0]}")
    return answers[0]


def answer_to(question: Callable[[], Any], given_up: threading.Event) -> Any:
    """Submit a problem and wait for its sample set, as long as somebody waits for it.

    Otherwise it is not submitted, or cancelled: it would be paid for nothing.
    """
    if given_up.is_set():
        raise AnnealerError("given up before it was submitted")
    answer = question()
    while not answer.done():
        if given_up.wait(0.02):
            cancel = getattr(getattr(answer, "_future", None), "cancel", None)
            if cancel is not None:  # dimod offers no other way
                cancel()
            raise AnnealerError("cancelled")
    answer.resolve()
    return answer


def without_secrets(text: str) -> str:
    """Replace tokens and passwords, those in use and whatever looks like one, by stars."""
    try:
        from dwave.cloud.config import load_config

        token = load_config().get("token")
    except Exception:  # noqa: BLE001  no client or a broken file: the patterns have to do
        token = None
    if token:
        text = text.replace(str(token), "***")
    return _SECRETS.sub("***", text)


def _keep_secrets_out_of_logs() -> None:
    import dwave.cloud  # noqa: F401  sets the level that the environment asks for

    # Below this level the client writes its configuration, the token with it, into the log.
    logger = logging.getLogger("dwave.cloud")
    if logger.getEffectiveLevel() < logging.INFO:
        logger.setLevel(logging.INFO)


def _meaning(error: Exception) -> str:
    said = without_secrets(" ".join(str(error).split()))
    said = said if len(said) <= _LONGEST else said[:_LONGEST] + "..."
    if "API token not defined" in said:
        return _NO_TOKEN
    for kind in type(error).__mro__:
        if kind.__name__ in _CURES:
            return f"{_CURES[kind.__name__]} ({said})"
    return f"{type(error).__name__}: {said}"
