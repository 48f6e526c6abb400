"""Executors by name: what is given, what is refused, and Dask."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from typing import Any

import pytest

from dagflow_nb import DagFlow
from dagflow_nb.errors import ValidationError
from dagflow_nb.runtime.executors import Executors
from tests.flows import rows, single


def test_what_is_no_executor_is_refused() -> None:
    """At the flow and at the run, naming what was given."""
    with pytest.raises(ValidationError, match="mine: an executor is"):
        Executors({"mine": 3})
    with DagFlow(":memory:", echo=False) as flow:
        with pytest.raises(ValidationError, match="an executor is"):
            flow.run(single(len, obj=[]), executor=3, view=False)
        with pytest.raises(ValidationError, match="wants executor 'proces'"):
            flow.run(single(len, obj=[], executor="proces"), view=False)


def test_sizes_are_those_of_the_pools() -> None:
    """A pool holds as many attempts as it has workers, what does not say so as many as the loop."""

    class Own:
        def submit(self, fn: Any, *args: Any) -> Any:
            raise NotImplementedError

    with ThreadPoolExecutor(3) as pool:
        sizes = Executors({"pool": pool, "own": Own()}).sizes()
        assert sizes["pool"] == 3 and sizes["own"] == sizes["async"] == 100


def test_a_pool_of_threads_shares_memory() -> None:
    """What cannot be packed gets there, and what is printed there is kept."""
    import threading

    def use(lock: Any) -> bool:
        print("in the pool")
        with lock:
            return True

    with ThreadPoolExecutor(1) as pool, DagFlow(":memory:", echo=False, executors={"mine": pool}) as flow:
        assert flow.run(single(use, executor="mine", lock=threading.Lock()), view=False).result is True
        assert rows(flow, "select message from logs") == [("in the pool",)]


def talk(ctx: Any) -> int:
    """An action for other processes."""
    print("far away")
    ctx.report_usage(tokens=2)
    return 5


def test_what_is_said_in_a_foreign_pool_comes_with_the_result() -> None:
    """A `ProcessPoolExecutor` of the user's own: prints and usage are kept."""
    pool = ProcessPoolExecutor(1, mp_context=get_context("spawn"))
    with pool, DagFlow(":memory:", echo=False, executors={"mine": pool}) as flow:
        assert flow.run(single(talk, executor="mine"), view=False).result == 5
        assert rows(flow, "select message from logs") == [("far away",)]
        assert rows(flow, "select tokens from node_runs") == [(2,)]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A Dask cluster in this process."""
    distributed = pytest.importorskip("distributed", reason="Dask is an extra")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what Dask warns of is its own
        with distributed.LocalCluster(
            n_workers=1, threads_per_worker=2, processes=False, dashboard_address=None
        ) as cluster:
            yield cluster


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("how", ["client", "address", "in use", "run"])
def test_actions_run_on_dask(cluster: Any, how: str) -> None:
    """By a client, an address, the client in use, or a run's own `executor=`: each attempt anew."""
    import distributed

    with distributed.Client(cluster, set_as_default=how == "in use") as client:
        given = {"client": {"dask": client}, "address": {"dask": cluster.scheduler_address}}.get(how)
        with DagFlow(":memory:", echo=False, executors=given) as flow:

            def where(n: int) -> list[Any]:
                import uuid

                from distributed import get_worker

                print("on", n)
                return [n, get_worker().address, uuid.uuid4().hex]

            @flow.workflow
            def many(wf: Any) -> Any:
                return wf.map(where, over={"n": [1, 2]}, executor=None if how == "run" else "dask")

            first = flow.run("many", view=False, executor=client if how == "run" else None).result
            second = flow.run("many", view=False, executor=client if how == "run" else None).result
            workers = set(client.scheduler_info()["workers"])
            assert [found[0] for found in first] == [1, 2]
            assert {found[1] for found in first} <= workers
            assert first[0][2] != second[0][2]
            assert sorted(rows(flow, "select distinct message from logs")) == [("on 1",), ("on 2",)]
