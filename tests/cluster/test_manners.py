"""What a person sees of the workers of a local cluster when they end."""

from __future__ import annotations

import logging
from types import SimpleNamespace

import pytest
from distributed.core import Status

from daskhpo.cluster.local import local_client
from daskhpo.cluster.manners import dask_setup


@pytest.fixture
def handler():
    """The handler that Dask's records go through, without the filters that a test adds."""
    (handler,) = logging.getLogger("distributed").handlers[:1] or [None]
    if handler is None:
        handler = logging.NullHandler()
        logging.getLogger("distributed").addHandler(handler)
    before = list(handler.filters)
    yield handler
    handler.filters[:] = before


def test_a_worker_that_runs_is_heard_and_one_that_closes_is_not(handler, monkeypatch):
    monkeypatch.setattr("signal.signal", lambda *_: None)
    worker = SimpleNamespace(status=Status.running)
    dask_setup(worker)
    record = logging.LogRecord("distributed.worker", logging.ERROR, "", 0, "heartbeat", (), None)
    assert handler.filter(record)
    worker.status = Status.closing
    assert not handler.filter(record)


def test_workers_ignore_ctrl_c_and_have_the_filter():
    def manners():
        import logging
        import signal

        ignored = signal.getsignal(signal.SIGINT) is signal.SIG_IGN
        return ignored, sum(len(h.filters) for h in logging.getLogger("distributed").handlers)

    with local_client(count=1) as client:
        ((ignored, filters),) = client.run(manners).values()
    assert ignored
    assert filters == 1
