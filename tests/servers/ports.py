"""Free loopback ports for servers that tests start, so that tests in several processes never meet at one.

The kernel gives ports of its ephemeral range (from 32768) to every outgoing connection, so a free one of these may be
taken before a server binds it. These ports are below it, and each is reserved for the process by a name that the kernel
releases when the process ends. Redis Cluster also uses the port that is 10,000 higher.
"""

import random
import socket

FIRST, LAST = 10_100, 20_000

_reserved: list[int] = []


def free_port() -> int:
    """Return a port that no other test process is given."""
    ports = list(range(FIRST, LAST))
    random.SystemRandom().shuffle(ports)
    for port in ports:
        name = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        try:
            name.bind(f"\0reportd-test-port-{port}")
            socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            name.close()
            continue
        _reserved.append(name.detach())  # open for as long as the process
        return port
    raise OSError("no port is free")
