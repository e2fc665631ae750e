"""S12: how cost grows with work. The agent's part is in s12_agent, the replayer's in s12_replayer."""

import importlib.util

from . import s12_agent

TITLE = "cost as work grows: connections, bodies, partitions, replicas"
GOAL = "flat per request; <= 1 ns/byte beside the kernel's copies"
LEAST = "the same"


def run(bench):
    rows = s12_agent.run(bench)
    if importlib.util.find_spec("cases.s12_replayer"):
        from . import s12_replayer
        rows += s12_replayer.run(bench)
    return rows
