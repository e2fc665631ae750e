"""How punctual a sender is, as its receiver sees it."""

import array
import pathlib
import sys
import time
import urllib.request

from .process import wait_for

RECEIVER = pathlib.Path(__file__).with_name("receiver.py")


class Arrivals:
    """A shadow that notes when each request arrived (parts/receiver.py)."""

    def __init__(self, bench, name="receiver"):
        self.part = bench.start(name, [sys.executable, RECEIVER])
        wait_for(name, lambda: self.part.output().endswith("\n"), part=self.part)
        self.part.port = int(self.part.output())
        self.url = self.part.url

    def _get(self, path):
        # No proxy stands between this machine and itself.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(self.url + path, timeout=60) as answer:
            return answer.read()

    def count(self):
        return int(self._get("/count"))

    def unstamped(self):
        """Reads for which there was no stamp of the kernel but only the receiver's clock."""
        return int(self._get("/unstamped"))

    def take(self):
        """[(stamp in ns, number of the request)…] in order of arrival; forgets them."""
        both = array.array("q", self._get("/arrivals"))
        half = len(both) // 2
        return sorted(zip(both[half:], both[:half]))

    def wait_for(self, count, patience):
        """Waits until so many have come; gives up when none came for 3 s."""
        deadline, last, seen = time.monotonic() + patience, time.monotonic(), 0
        while seen < count and time.monotonic() < deadline and time.monotonic() - last < 3:
            time.sleep(0.1)
            now = self.count()
            if now != seen:
                seen, last = now, time.monotonic()
        return seen


def punctuality(arrivals, ideal):
    """Compares arrivals with the schedule `ideal(position, number)`, in ns from its start.

    When the schedule began is not known here: it is taken to have begun so that the most
    punctual of all arrivals was exactly on time. So lag is what others were later than that
    one. Drift is the median lag of the last tenth less that of the first; the error of the
    rate is that drift over the time between the middles of the two."""
    late = [stamp - ideal(position, number) for position, (stamp, number) in enumerate(arrivals)]
    origin = min(late)
    lag = [each - origin for each in late]
    tenth = max(1, len(lag) // 10)
    middle = lambda values: sorted(values)[len(values) // 2]
    drift = middle(lag[-tenth:]) - middle(lag[:tenth])
    when = [ideal(position, number) for position, (_, number) in enumerate(arrivals)]
    apart = middle(when[-tenth:]) - middle(when[:tenth])
    ordered = sorted(lag)
    at = lambda part: ordered[min(len(ordered) - 1, int(len(ordered) * part))] / 1e6
    return {"arrived": len(arrivals), "lag_p50_ms": at(0.5), "lag_p99_ms": at(0.99), "lag_max_ms": at(1),
            "drift_ms": drift / 1e6, "rate_error_percent": 100 * abs(drift) / apart if apart else 0.0,
            "took_s": (arrivals[-1][0] - arrivals[0][0]) / 1e9}
