"""What the embedded broker's library logs, as an operator reads it."""

import logging

from simrack.cli.broker import _in_one_line


def record(error: Exception) -> logging.LogRecord:
    return logging.LogRecord("amqtt.broker", logging.ERROR, "", 0, "Task failed: %r", (error,), (type(error), error, None))


def test_client_that_stalls_is_one_line() -> None:
    """A frozen box filled the broker's log with tracebacks that look like a fault of the broker."""
    stalled = record(TimeoutError("no PUBACK for packet 4"))
    assert _in_one_line(stalled)
    assert (stalled.getMessage(), stalled.exc_info) == ("a client does not answer: no PUBACK for packet 4", None)


def test_other_faults_keep_their_traceback() -> None:
    broken = record(RuntimeError("dictionary changed size"))
    assert _in_one_line(broken)
    assert broken.exc_info is not None
