"""Tasks shared among threads: their results are in order, whichever thread did them."""

import threading
import time

import pytest

from blackbox_es._threads import ALONE, Threads


@pytest.mark.parametrize("n", [1, 2, 5])
@pytest.mark.parametrize("n_tasks", [0, 1, 2, 7])
def test_results_are_in_the_order_of_the_tasks(n, n_tasks):
    """Also if the first tasks are the longest."""
    tasks = list(range(n_tasks))
    with Threads(n) as threads:
        for _ in range(20):
            found = threads.map(lambda i: time.sleep(2e-4 * (n_tasks - i)) or i * i, tasks)
            assert found == [i * i for i in tasks]


def test_all_threads_work():
    """The caller and the others are at work at the same time, on the first tasks and the last."""
    meeting = threading.Barrier(3, timeout=10.0)

    def meet(task):
        meeting.wait()
        return threading.get_ident()

    with Threads(3) as threads:
        for _ in range(5):
            workers = threads.map(meet, range(3))
            assert workers[0] == threading.get_ident()
            assert len(set(workers)) == 3


def test_the_caller_does_what_no_other_thread_has_begun():
    """While another thread is busy with one task, the caller does all the others."""
    done = threading.Semaphore(0)

    def task(i):
        if i == 1:
            return [done.acquire(timeout=10.0) for _ in (0, 2, 3)]
        time.sleep(0.02)  # so that task 1 has begun when the caller is done with task 0
        done.release()
        return threading.get_ident()

    with Threads(2) as two:
        first, busy, *last = two.map(task, range(4))
    assert busy == [True, True, True]
    assert {first, *last} == {threading.get_ident()}


def test_alone_is_the_callers_thread():
    assert set(ALONE.map(lambda _: threading.get_ident(), range(4))) == {threading.get_ident()}


@pytest.mark.parametrize("bad", [0, 2, 4])
def test_what_a_task_raises_is_raised(bad):
    def task(i):
        if i == bad:
            raise ZeroDivisionError
        return i

    with Threads(2) as threads:
        with pytest.raises(ZeroDivisionError):
            threads.map(task, range(5))
        assert threads.map(abs, [-1, -2]) == [1, 2]


def test_threads_end():
    before = threading.active_count()
    with Threads(4) as threads:
        threads.map(abs, range(20))
    assert threading.active_count() == before
