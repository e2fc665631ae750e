"""A catalog in two versions: `catalog.py 1|2 [--sound] [--seed TEXT]`; prints its address.

The answers of any version differ from one request to the next, as those of services do:
times, ids, prices that come from elsewhere. Version 2 has seven faults besides, which are
what the report is to name; --sound leaves them out. Instances of another seed roll other
dice, always the same ones.
"""

import argparse
import hashlib
import http.server
import json
import random
import sys
import time
import urllib.parse
import uuid


def answer(path, query, faults, chance):
    """Status, fields and body of the answer."""
    parts = path.strip("/").split("/")
    fields = {"Content-Type": "application/json", "Cache-Control": "max-age=60"}
    number = int(parts[1]) if len(parts) > 1 else 0
    if parts[0] == "products":
        body = {
            "id": number,
            "name": f"product {number}",
            "price": {"amount": 100 + 37 * number, "currency": "EUR"},
            "tags": ["new", "sale", "blue"][: 1 + number % 3],
            "generated_at": time.time(),
        }
        if faults and number % 10 == 3:
            # 1: rounding.
            body["price"]["amount"] -= 1
        if faults:
            # 2: renamed, and nobody told the customers.
            del body["name"]
            body["title"] = f"product {number}"
    elif parts[0] == "search":
        hits = [int(hashlib.sha256(f"{query['q'][0]} {n}".encode()).hexdigest()[:4], 16) for n in range(5)]
        # 3: not the best hits first.
        body = {"hits": sorted(hits, reverse=not faults), "took_ms": chance.randint(1, 9)}
    elif parts[0] == "rates":
        # Nearly a third of it is noise; 4: and a third of the rest is wrong.
        noisy = chance.random() < 0.3
        off = faults and chance.random() < 0.33
        body = {"rate": chance.randint(1, 999) if noisy else number + 1000 * off}
    elif parts[0] == "stock":
        if faults and number % 25 == 7:
            # 5: an exception.
            return 500, {"Content-Type": "text/plain"}, b"KeyError: 'warehouse'"
        body = {"id": number, "left": number * 3, "etag": str(uuid.uuid4())}
    elif parts[0] == "pictures":
        body = {"id": number, "url": f"https://cdn.example/{number}.webp"}
        if faults:
            # 6: nothing is cached any more.
            del fields["Cache-Control"]
    elif parts[0] == "reviews":
        # 7: a string where a number was.
        stars = number % 5 + 1
        body = {"stars": str(stars) if faults else stars, "text": "fine"}
    else:
        return 404, fields, b"{}"
    fields["X-Request-Id"] = str(uuid.uuid4())
    return 200, fields, json.dumps(body).encode()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("version", type=int, choices=[1, 2])
    parser.add_argument("--sound", action="store_true")
    parser.add_argument("--seed", default="")
    given = parser.parse_args()
    faults = given.version == 2 and not given.sound

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # The end of an answer is not kept back until more of it is there.
        disable_nagle_algorithm = True
        wbufsize = -1

        def do_GET(self):
            url = urllib.parse.urlsplit(self.path)
            chance = random.Random(f"{given.seed} {self.path}")
            status, fields, body = answer(url.path, urllib.parse.parse_qs(url.query), faults, chance)
            self.send_response(status)
            for name, value in {**fields, "Content-Length": len(body)}.items():
                self.send_header(name, str(value))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    print(f"catalog {given.version} listens on 127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()


sys.exit(main())
