"""Knows requests that Umbra replays, and keeps what they write out of the database.

Copy this file into your service; it needs nothing but Python. Three parts:

    app = Shadow(app, token="...")              # WSGI (Flask: app.wsgi_app = Shadow(app.wsgi_app))
    with transaction(connection) as cursor:     # commits; rolls back for a replayed request
    requests.post(url, headers=outgoing(url))   # the services that are called know it too

It leaves to you what no rollback reaches: mail, files, queues, caches, payments.
"""

import contextlib
import contextvars
import hmac
import re
import urllib.parse

SUFFIX = "-shadow"
TOKEN = "X-Shadow-Token"

_current = contextvars.ContextVar("umbra_shadow", default=None)


class Mark:
    """What is handed on of a replayed request: its Via, the suffix and the token."""

    def __init__(self, via, suffix, token):
        self.via, self.suffix, self.token = via, suffix, token


class Shadow:
    """WSGI middleware that marks the context of replayed requests.

    token: a secret that the replayer sends as `X-Shadow-Token`. Without one, any client
    that can choose its Host has its writes undone while it is told that all went well:
    do without only where nobody from outside gets.

    accept: False refuses replayed requests: for services that are not ready for them.

    only: True refuses all others: for instances that are there for the shadow alone. If a
    gateway on the way drops both marks, nothing is taken for production's request.
    """

    def __init__(self, app, token=None, suffix=SUFFIX, accept=True, only=False):
        self.app, self.token, self.suffix = app, token, suffix
        self.accept, self.only = accept, only

    def __call__(self, environ, start_response):
        host, via = environ.get("HTTP_HOST", ""), environ.get("HTTP_VIA", "")
        by_host = unmarked(host, self.suffix)
        # One of the two is enough: a gateway may rewrite Host, or drop Via.
        marked = by_host is not None or names_umbra(via)
        if marked:
            if not self.accept:
                return refuse(start_response, "replayed requests are not taken here")
            sent = environ.get("HTTP_X_SHADOW_TOKEN", "")
            if self.token and not hmac.compare_digest(sent.encode(), self.token.encode()):
                return refuse(start_response, "a replayed request without the right token")
            if by_host is not None:
                # The service sees the name it has in production.
                environ = {**environ, "HTTP_HOST": by_host}
            mark = Mark(via, self.suffix, self.token)
        else:
            if self.only:
                return refuse(start_response, "only replayed requests are taken here")
            mark = None
        return self._marked(mark, environ, start_response)

    def _marked(self, mark, environ, start_response):
        # The context holds while the body is produced, too.
        _current.set(mark)
        body = ()
        try:
            body = self.app(environ, start_response)
            yield from body
        finally:
            if hasattr(body, "close"):
                body.close()
            # Threads are used again.
            _current.set(None)


def is_shadow():
    """Whether the request being worked on is a replayed one."""
    return _current.get() is not None


@contextlib.contextmanager
def transaction(connection, keep=False, lock_timeout="500ms", statement_timeout="5s"):
    """A transaction on a DB-API connection to PostgreSQL, as a cursor.

    It is committed, or rolled back if the block raises. For a replayed request it is
    rolled back always, unless `keep` says that the connection is one to a database for
    tests. A replayed request does not wait long for what production has locked (less than
    PostgreSQL's deadlock_timeout, 1 s, so that of two that wait for each other it is nearly
    always the replayed one that gives up), and is ended when it holds something and does
    nothing.
    """
    if getattr(connection, "autocommit", False):
        raise ValueError("autocommit: nothing could be rolled back")
    undo = is_shadow() and not keep
    try:
        with contextlib.closing(connection.cursor()) as cursor:
            if undo:
                limits = {
                    "lock_timeout": lock_timeout,
                    "statement_timeout": statement_timeout,
                    "idle_in_transaction_session_timeout": statement_timeout,
                }
                for setting in limits.items():
                    cursor.execute("SELECT set_config(%s, %s, true)", setting)
            yield cursor
            if undo:
                # What a commit would have refused is refused here as well.
                cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
    except BaseException:
        connection.rollback()
        raise
    if undo:
        connection.rollback()
    else:
        connection.commit()


def outgoing(url, headers=None):
    """The fields of a request to another of our services: with the mark if we have it.

    Only for services that know the mark. One that does not would write.
    """
    headers = dict(headers or {})
    mark = _current.get()
    if mark is not None:
        host = headers.get("Host") or urllib.parse.urlsplit(url).netloc.rpartition("@")[2]
        headers["Host"] = marked(host, mark.suffix)
        headers["Via"] = mark.via if names_umbra(mark.via) else "1.1 umbra-shadow"
        if mark.token:
            headers[TOKEN] = mark.token
    return headers


def split_port(host):
    """`[::1]:80` is `[::1]` and `:80`: the last colon that is not within brackets."""
    at = host.rfind(":")
    return (host[:at], host[at:]) if at > host.rfind("]") else (host, "")


def marked(host, suffix=SUFFIX):
    """`shop:80` is `shop-shadow:80`."""
    name, port = split_port(host)
    return name + suffix + port


def unmarked(host, suffix=SUFFIX):
    """`shop-shadow:80` is `shop:80`; None if the host has no mark."""
    name, port = split_port(host.strip())
    if len(name) > len(suffix) and name.lower().endswith(suffix):
        return name[: -len(suffix)] + port
    return None


def names_umbra(via):
    """Whether `umbra-shadow` is among the recipients in Via, not in a comment of one."""
    via, changes = re.sub(r"\\.", "", via), 1
    while changes:
        via, changes = re.subn(r"\([^()]*\)", "", via)
    recipients = (each.split() for each in via.split(","))
    return any(len(each) > 1 and each[1].lower() == "umbra-shadow" for each in recipients)


def refuse(start_response, why):
    body = why.encode() + b"\n"
    fields = [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))]
    start_response("403 Forbidden", fields)
    return [body]
