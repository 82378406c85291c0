"""The ports of the daemon itself, which no page may reach."""

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class OwnPorts:
    """The ports of the slots' proxies, and ``others`` (address, port). Pages may not connect there on this machine."""

    def __init__(self, others: Callable[[str, int], bool]) -> None:
        self._others = others
        self._ports: set[int] = set()

    @contextmanager
    def using(self, port: int) -> Iterator[None]:
        self._ports.add(port)
        try:
            yield
        finally:
            self._ports.discard(port)

    def forbid(self, address: str, port: int) -> bool:
        return (port in self._ports or self._others(address, port)) and is_own_address(address)


def is_own_address(address: str) -> bool:
    """Return whether the address is this machine's: the kernel lets a socket bind only to those."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
    return True
