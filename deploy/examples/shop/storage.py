"""How both services get at their database: by the mark of the request.

SHADOW says what becomes of replayed requests:

    refuse     they get 403 (the default: a service has to be made ready first)
    rollback   they work on production's database, and nothing of it is kept
    database   they work on TEST_DATABASE, and it is kept there
    commit     they work on production's database, and it is kept: what must never be,
               for `run --broken` to see that it would be noticed

SHADOW_ONLY=yes refuses all others, SHADOW_TOKEN is the secret the replayer has to know.
"""

import contextlib
import os
import sys
import threading

import psycopg

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../middleware/python"))
import umbra_shadow  # noqa: E402

SHADOW = os.environ.get("SHADOW", "refuse")
_of_thread = threading.local()


def with_marks(app):
    """The application behind the middleware, as SHADOW says."""
    return umbra_shadow.Shadow(
        app,
        token=os.environ.get("SHADOW_TOKEN"),
        accept=SHADOW != "refuse",
        only=os.environ.get("SHADOW_ONLY") == "yes",
    )


@contextlib.contextmanager
def transaction():
    """A cursor in a transaction on the database this request is for."""
    isolated = SHADOW == "database" and umbra_shadow.is_shadow()
    database = os.environ["TEST_DATABASE" if isolated else "DATABASE"]
    keep = isolated or SHADOW == "commit"
    # The shop locks rows in one order, so that nothing waits in a circle: a slow machine may
    # take its time.
    patience = {"lock_timeout": "10s", "statement_timeout": "20s"}
    with umbra_shadow.transaction(_connection(database), keep=keep, **patience) as cursor:
        yield cursor


def _connection(database):
    """One connection for each thread and database, made when it is needed."""
    connections = _of_thread.__dict__.setdefault("connections", {})
    connection = connections.get(database)
    if connection is None or connection.closed:
        connection = connections[database] = psycopg.connect(database)
    return connection
