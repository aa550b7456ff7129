CLOCK_REALTIME: int
CLOCK_MONOTONIC: int

def clock_getdtime(type: int) -> float: ...
