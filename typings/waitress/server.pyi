from typing import Any

class BaseWSGIServer:
    effective_host: str
    effective_port: int
    trigger: Any
    task_dispatcher: Any
    def run(self) -> None: ...
    def close(self) -> None: ...

def create_server(application: Any, **kw: Any) -> BaseWSGIServer: ...
