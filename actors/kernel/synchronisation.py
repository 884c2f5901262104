"""The few meeting points of threads outside the kernel's own parts."""

from contextlib import AbstractContextManager
from threading import Lock

from greenroom.actors.kernel.dispatcher import Dispatcher


def new_lock() -> AbstractContextManager[bool]:
    """A lock for a few plain assignments; never hold it across a call to someone else's code."""
    return Lock()


def wait_until_run(dispatcher: Dispatcher, timeout: float) -> bool:
    """Block until the dispatcher has run all that it was given before; False after `timeout` s.

    For threads of their own only: on the dispatcher's thread it would wait for itself.
    """
    done = Lock()  # an Event would be three times the work, and a group of commits needs one each
    done.acquire()
    dispatcher.call_soon(done.release)
    return done.acquire(timeout=timeout)
