"""Functions of the library that a call runs some ten times each, written anew: same result, a third of the cost.

The library asks `'my' in dir(host)`, which lists and sorts every method of a string, copies a URL through a
constructor of nineteen arguments, and asks libc for the time through ctypes. `tests/sip/test_quick.py` compares
each with the library's own.
"""

import time
from functools import lru_cache
from typing import Any
from urllib.parse import quote

import sippy.SipURL
import sippy.SipVia
import sippy.Time.MonoTime
from sippy.SipConf import SipConf

# The stubs in typings/ know what the engine uses; this file looks deeper.
_library: Any = sippy.SipURL
_via: Any = sippy.SipVia
_time: Any = sippy.Time.MonoTime
_conf: Any = SipConf
_quoted = lru_cache(maxsize=4096)(quote)


def local_str(url: Any, local_addr: Any = None) -> str:
    """A URL as text; "my" address, port and transport are those of `local_addr`, ((host, port), transport)."""
    host, port, transport = (*local_addr[0], local_addr[1]) if local_addr is not None else (None, None, None)
    parts = [url.scheme, ":"]
    if url.username is not None:
        parts.append(_quoted(url.username, _library.USERNAME_SAFE))
        parts.extend(f";{word}" for word in url.userparams)
        if url.password is not None:
            parts.append(f":{url.password}")
        parts.append("@")
    parts.append(host if host is not None and hasattr(url.host, "my") else str(url.host))
    if url.port is not None:
        number = port if port is not None and hasattr(url.port, "my") else url.port
        usual = transport == _conf.default_transport and int(number) == _conf.default_port
        if not (usual and hasattr(url.transport, "my")):
            parts.append(f":{int(number)}")
    parts.extend(f";{word}" for word in _parameters(url, transport))
    if url.headers:
        parts.append("?" + "&".join(f"{name}={quote(value)}" for name, value in url.headers.items()))
    return "".join(parts)


def _parameters(url: Any, local_transport: Any = None) -> list[str]:
    found = [f"user={url.usertype}"] if url.usertype is not None else []
    transport = url.transport
    if transport is not None and hasattr(transport, "my"):
        transport = None if local_transport in (None, _conf.default_transport) else local_transport
    rest = (("transport", transport), ("ttl", url.ttl), ("maddr", url.maddr), ("method", url.method), ("tag", url.tag))
    found.extend(f"{name}={value}" for name, value in rest if value is not None)
    found.extend(url.other)
    if url.lr:
        found.append("lr")
    return found


def copy(url: Any) -> Any:
    """Another URL with the same parts."""
    twin = _library.SipURL.__new__(_library.SipURL)
    twin.__dict__.update(url.__dict__)
    # As the constructor does: the scheme of a copy is "sip", and it was made of no text.
    twin.scheme, twin.original_uri = "sip", None
    twin.other, twin.userparams = list(url.other), list(url.userparams)
    return twin


def via_str(via: Any, local_addr: Any = None) -> str:
    """A Via as text; "my" address, port and transport are those of `local_addr`, ((host, port), transport)."""
    if not via.parsed:
        return str(via.body)
    host, port, transport = (*local_addr[0], local_addr[1]) if local_addr is not None else (None, None, None)
    own = hasattr(via.transport, "my")
    name = str(transport or via.transport).upper() if own else via.transport
    parts = [via.sipver, "/", "WSS" if own and name == "WS" else name, " "]
    parts.append(host if host is not None and hasattr(via.hostname, "my") else str(via.hostname))
    if via.port is not None:
        if port is None or not hasattr(via.port, "my"):
            parts.append(f":{via.port}")
        elif not (own and transport == _conf.default_transport and int(port) == _conf.default_port):
            parts.append(f":{port}")
    parts.extend(f";{key}" if value is None else f";{key}={value}" for key, value in via.params.items())
    return "".join(parts)


def install() -> None:
    """Put them in the library's place."""
    _library.SipURL.localStr, _library.SipURL.getCopy = local_str, copy
    _via.SipVia.localStr = via_str
    # The same kernel clocks by the same numbers: a timer of the library costs seven readings.
    _time.clock_getdtime = time.clock_gettime
