class MonoTime:
    monot: float
    realt: float
    def __init__(self) -> None: ...
