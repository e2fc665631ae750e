"""Visitors of the catalog: `visitors.py ADDRESS FROM TO`, each page once for every number."""

import http.client
import sys
import threading


def visit(address, numbers):
    connection = http.client.HTTPConnection(address, timeout=30)
    for number in numbers:
        pages = ("products", "rates", "stock", "pictures", "reviews")
        for path in [f"/{page}/{number}" for page in pages] + [f"/search?q={number}"]:
            connection.request("GET", path, headers={"Host": "catalog.example"})
            answer = connection.getresponse()
            answer.read()
            if answer.status != 200:
                raise SystemExit(f"{path}: {answer.status}")


address, first, end = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
failures = []


def run(share):
    try:
        visit(address, range(first + share, end, 4))
    except (Exception, SystemExit) as problem:
        failures.append(repr(problem))


threads = [threading.Thread(target=run, args=[share]) for share in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
sys.exit("\n".join(failures) or None)
