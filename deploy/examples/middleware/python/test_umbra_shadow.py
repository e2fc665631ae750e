"""`python3 -m unittest` in this folder."""

import json
import pathlib
import unittest

import umbra_shadow
from umbra_shadow import Shadow, is_shadow, names_umbra, outgoing, transaction, unmarked

MARKS = json.loads((pathlib.Path(__file__).parent.parent / "marks.json").read_text())


class Connection:
    """Says what happened to it."""

    autocommit = False

    def __init__(self):
        self.said = []

    def cursor(self):
        return self

    def execute(self, statement, values=None):
        self.said.append(statement)

    def commit(self):
        self.said.append("commit")

    def rollback(self):
        self.said.append("rollback")

    def close(self):
        pass


def call(app, **environ):
    """The status, and the body, of a request with these fields."""
    statuses = []
    body = b"".join(app(environ, lambda status, fields: statuses.append(status)))
    return statuses[0][:3], body


class Marks(unittest.TestCase):
    def test_hosts(self):
        for host, without in MARKS["hosts"]:
            self.assertEqual(unmarked(host), without, host)

    def test_via(self):
        for via, named in MARKS["via"]:
            self.assertEqual(names_umbra(via), named, via)


class Requests(unittest.TestCase):
    def setUp(self):
        self.connection = Connection()

    def app(self, environ, start_response):
        with transaction(self.connection) as cursor:
            cursor.execute("write")
        start_response("200 OK", [])
        yield environ["HTTP_HOST"].encode()
        # While the body is sent, too.
        yield b" shadow" if is_shadow() else b""
        yield json.dumps(outgoing("http://stock:80/x")).encode()

    def test_production_is_committed(self):
        self.assertEqual(call(Shadow(self.app), HTTP_HOST="shop"), ("200", b"shop{}"))
        self.assertEqual(self.connection.said, ["write", "commit"])

    def test_either_mark_rolls_back_and_is_handed_on(self):
        via = "1.1 umbra-shadow (job; id)"
        for environ in ({"HTTP_HOST": "shop-shadow"}, {"HTTP_HOST": "shop", "HTTP_VIA": via}):
            self.setUp()
            status, body = call(Shadow(self.app), **environ)
            self.assertEqual(status, "200")
            self.assertTrue(body.startswith(b"shop shadow"), body)
            headers = json.loads(body[len(b"shop shadow") :])
            self.assertEqual(headers["Host"], "stock-shadow:80")
            self.assertTrue(names_umbra(headers["Via"]))
            self.assertEqual(self.connection.said[-2:], ["SET CONSTRAINTS ALL IMMEDIATE", "rollback"])
            self.assertFalse(is_shadow())

    def test_a_failure_rolls_back(self):
        with self.assertRaises(KeyError), transaction(self.connection):
            raise KeyError
        self.assertEqual(self.connection.said, ["rollback"])
        self.connection.autocommit = True
        with self.assertRaises(ValueError), transaction(self.connection):
            self.fail("nothing could be rolled back")

    def test_refused(self):
        guarded = Shadow(self.app, token="secret")
        shadow = {"HTTP_HOST": "shop-shadow"}
        self.assertEqual(call(guarded, **shadow)[0], "403")
        self.assertEqual(call(guarded, **shadow, HTTP_X_SHADOW_TOKEN="guess")[0], "403")
        self.assertEqual(call(Shadow(self.app, accept=False), **shadow)[0], "403")
        self.assertEqual(call(Shadow(self.app, only=True), HTTP_HOST="shop")[0], "403")
        self.assertEqual(self.connection.said, [])
        status, body = call(guarded, **shadow, HTTP_X_SHADOW_TOKEN="secret")
        self.assertEqual(status, "200")
        self.assertIn(b'"X-Shadow-Token": "secret"', body)
        self.assertEqual(self.connection.said[-1], "rollback")


if __name__ == "__main__":
    unittest.main()
