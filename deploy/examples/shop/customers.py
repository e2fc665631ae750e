"""Customers of the shop: `customers.py ADDRESS ORDERS [--connections N] [--cancel]`.

Each looks at a product, orders, and looks at the order; with --cancel, every fourth then
cancels it. Fails if the shop does not answer as a shop does.
"""

import argparse
import http.client
import json
import random
import threading

HOST = "shop.example"


def shop(address, customer, orders, cancel):
    chance = random.Random(customer)
    connection = http.client.HTTPConnection(address, timeout=30)

    def ask(status, method, path, body=None):
        body = body and json.dumps(body)
        fields = {"Host": HOST, "Content-Type": "application/json"}
        connection.request(method, path, body, fields)
        answer = connection.getresponse()
        content = json.loads(answer.read())
        if answer.status != status:
            raise SystemExit(f"{method} {path}: {answer.status} {content}")
        return content

    for number in range(orders):
        products = chance.sample(range(1, 21), chance.randint(1, 3))
        ask(200, "GET", f"/products/{products[0]}")
        items = [{"product": one, "quantity": chance.randint(1, 3)} for one in products]
        placed = ask(201, "POST", "/orders", {"customer": f"customer {customer}", "items": items})
        seen = ask(200, "GET", f"/orders/{placed['id']}")
        assert seen["total"] == placed["total"], (seen, placed)
        if cancel and number % 4 == 3:
            ask(200, "DELETE", f"/orders/{placed['id']}")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("address")
    parser.add_argument("orders", type=int)
    parser.add_argument("--connections", type=int, default=1)
    parser.add_argument("--cancel", action="store_true")
    given = parser.parse_args()
    failures = []

    def run(customer):
        share = given.orders // given.connections + (customer < given.orders % given.connections)
        try:
            shop(given.address, customer, share, given.cancel)
        except (Exception, SystemExit) as problem:
            failures.append(f"customer {customer}: {problem!r}")

    threads = [threading.Thread(target=run, args=[each]) for each in range(given.connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise SystemExit("\n".join(failures))


main()
