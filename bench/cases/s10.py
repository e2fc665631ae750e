"""S10: memory. The agent's part is in s10_agent, the replayer's in s10_replayer."""

import importlib.util

from . import s10_agent

TITLE = "memory: 64 busy connections; 10,000 idle ones; 60 s without Kafka at 2,000 req/s; replayer at full rate"
GOAL = "<= 40 MB; <= 8 KB each; <= budget + 40 MB; <= 100 MB"
LEAST = "the same"


def run(bench):
    rows = s10_agent.run(bench)
    if importlib.util.find_spec("cases.s10_replayer"):
        from . import s10_replayer
        rows += s10_replayer.run(bench)
    return rows
