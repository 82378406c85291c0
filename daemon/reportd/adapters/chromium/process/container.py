"""A browser in namespaces of its own (``isolation = "container"``), made by bubblewrap.

It sees no process of the machine, and of its files only programs, libraries and fonts, read-only. Its network is a
loopback interface and nothing else. A socket stays in the network that it was made in, whoever holds it. So the daemon
lets a child of its own make a socket in there and hand it out, to listen on: the only way out. The DevTools pipe is
inherited. Nothing of the daemon runs in the container, and nothing is relayed.
"""

import array
import ctypes
import errno
import os
import re
import shutil
import signal
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from fcntl import F_DUPFD_CLOEXEC, fcntl, ioctl
from io import FileIO
from pathlib import Path

import trio

from reportd.adapters.chromium.process.limits import Limits, confine
from reportd.ports import BrowserError

ADVICE = (
    "bubblewrap may make namespaces as this user: user.max_user_namespaces must not be 0, nor Debian's "
    "kernel.unprivileged_userns_clone, nor Ubuntu's kernel.apparmor_restrict_unprivileged_userns 1 (sysctl); "
    "a service needs container.conf (in packaging, or /usr/share/doc/reportd/examples)"
)

SEEN = (
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/etc/alternatives",
    "/etc/chromium",
    "/etc/chromium.d",
    "/etc/fonts",
    "/etc/ld.so.cache",
    "/etc/localtime",
    "/usr/local/share/fonts",
    "/var/cache/fontconfig",
)
"""What a browser needs of the machine besides /usr. The rest of /etc is nobody's business in there."""

NOBODY = "65534"
"""Whoever the daemon is: a user who is not root, so that Chromium's own sandbox stays on."""

_NS_GET_USERNS = 0xB701
"""ioctl_ns(2)."""
_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000
"""setns(2). Without saying what it is, no namespace is entered under systemd's RestrictNamespaces=."""
_CHILD = re.compile(rb'"child-pid": (\d+),')
_libc = ctypes.CDLL(None, use_errno=True)


@contextmanager
def open_container(executable: str, data_dir: Path, limits: Limits) -> Iterator["Container"]:
    """For one browser. Raises BrowserError when bubblewrap is missing."""
    if shutil.which("bwrap") is None:
        raise BrowserError("bwrap not found: apt install bubblewrap, or set another isolation")
    with ExitStack() as stack:
        yield Container(executable, data_dir, limits, stack)


class Container:
    """Made by ``open_container``. ``command`` starts the browser in it, and ``let_in`` lets it begin."""

    def __init__(self, executable: str, data_dir: Path, limits: Limits, stack: ExitStack) -> None:
        self.limits = limits
        self.proc = Path("/nowhere")
        """Once it is complete: where its processes are found by the ids they have in there."""
        self.program = str(Path(executable).resolve())
        """The browser as it is found in there."""
        self._data_dir = data_dir.resolve()
        self._stack = stack
        self._child = 0
        self._namespaces: dict[int, int] = {}
        self._told, self._tells = self._pipe()
        self._waits, self._begin = self._pipe()

    def _pipe(self) -> tuple[FileIO, FileIO]:
        # Above those that the browser's DevTools pipe becomes.
        reader, writer = (_moved_up(end) for end in os.pipe())
        return self._stack.enter_context(FileIO(reader)), self._stack.enter_context(FileIO(writer, "w"))

    # --- starting -------------------------------------------------------------------------------------------

    @property
    def inherits(self) -> tuple[int, int]:
        """The descriptors that the command uses."""
        return self._tells.fileno(), self._waits.fileno()

    def command(self, profile: Path, inside: Sequence[str]) -> list[str]:
        """What runs this in the container. ``profile`` is a folder in memory there."""
        nobody = ("--unshare-user", "--uid", NOBODY, "--gid", NOBODY)
        unshared = ("--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts", "--die-with-parent")
        tells, waits = self.inherits
        # Of /usr/local nothing but fonts: what an administrator keeps there may be anything.
        seen = ["--ro-bind", "/usr", "/usr", "--tmpfs", "/usr/local"]
        for path in SEEN:
            seen += _as_it_is(Path(path))
        seen += ["--proc", "/proc", "--dev", "/dev"]
        # The data folder shows as empty, also where it is below one of those.
        folder, data_dir = str(Path(self.program).parent), str(self._data_dir)
        own = ["--ro-bind", folder, folder, "--tmpfs", data_dir]
        own += ["--size", str(self.limits.profile_mib * 2**20), "--tmpfs", str(profile)]
        for path in (data_dir, "/usr/local", "/dev", "/"):
            own += ["--remount-ro", path]
        talk = ("--info-fd", str(tells), "--block-fd", str(waits))
        return ["bwrap", *nobody, *unshared, *talk, *seen, *own, "--chdir", "/", "--", *inside]

    async def let_in(self, group: Path | None) -> None:
        """Wait until the namespaces are made, confine the processes in them, and let the browser begin.

        ``group``: the control group that it is in. Returns as well when bubblewrap has ended without making any.
        Raises BrowserError.
        """
        self._tells.close()
        self._waits.close()
        self._child = await self._first_process()
        if self._child:
            with _entering():
                network = self._stack.enter_context(FileIO(f"/proc/{self._child}/ns/net"))
                owner = self._stack.enter_context(FileIO(ioctl(network, _NS_GET_USERNS)))
                self._namespaces = {_CLONE_NEWUSER: owner.fileno(), _CLONE_NEWNET: network.fileno()}
                confine(self._child, self.limits, group)
                self._begin.write(b"\n")

    def complete(self) -> None:
        """The browser runs, so its files and processes are the container's. Raises BrowserError."""
        with _entering():
            # Kept open: the process's number will be another's some day, this folder will not.
            folder = os.open(f"/proc/{self._child}/root/proc", os.O_RDONLY | os.O_DIRECTORY)
            self._stack.callback(os.close, folder)
            self.proc = Path(f"/proc/self/fd/{folder}")

    async def _first_process(self) -> int:
        """Of the container; 0 when there is none."""
        told = b""
        async with trio.lowlevel.FdStream(os.dup(self._told.fileno())) as stream:
            async for piece in stream:
                told += piece
                if found := _CHILD.search(told):
                    return int(found[1])
        return 0

    def kill(self, pid: int) -> None:
        """One process, by the id that it has in there."""
        # Its folder in the container's /proc stands for this process alone, whoever gets its id (pidfd_open(2)).
        with suppress(OSError):
            process = os.open(self.proc / str(pid), os.O_RDONLY | os.O_DIRECTORY)
            try:
                signal.pidfd_send_signal(process, signal.SIGKILL)
            finally:
                os.close(process)

    # --- sockets --------------------------------------------------------------------------------------------

    async def listen(self) -> trio.SocketListener:
        """On a free port of the container's loopback. Raises OSError."""
        made = await trio.to_thread.run_sync(_made_inside, self._namespaces, _listener)
        return trio.SocketListener(trio.socket.from_stdlib_socket(made))


def _moved_up(descriptor: int) -> int:
    moved = fcntl(descriptor, F_DUPFD_CLOEXEC, 10)
    os.close(descriptor)
    return moved


@contextmanager
def _entering() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise BrowserError(f"the browser's container can't be entered: {error}") from error


def _listener() -> socket.socket:
    return socket.create_server(("127.0.0.1", 0))


def _made_inside(namespaces: Mapping[int, int], make: Callable[[], socket.socket]) -> socket.socket:
    """What ``make`` makes in these namespaces.

    Only a process with a single thread may enter a user namespace: a child, which does this and nothing else.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours:
        with theirs:
            child = os.fork()
            if child == 0:
                _make_and_send(namespaces, make, theirs)
        said, descriptors, _, _ = socket.recv_fds(ours, 16, 1)
        os.waitpid(child, 0)
    if not descriptors:
        number = int(said or b"0")
        raise OSError(number, f"no socket can be made in the browser's network: {os.strerror(number)}")
    return socket.socket(fileno=descriptors[0])


def _make_and_send(namespaces: Mapping[int, int], make: Callable[[], socket.socket], to: socket.socket) -> None:
    try:
        for kind, namespace in namespaces.items():
            if _libc.setns(namespace, kind):
                number = ctypes.get_errno()
                raise OSError(number, "setns")  # noqa: TRY301 - this process has no other place
        with make() as made:
            to.sendmsg([b"0"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [made.fileno()]))])
    except OSError as error:
        to.send(str(error.errno or errno.ETIMEDOUT).encode())
    finally:
        os._exit(0)


def _as_it_is(path: Path) -> list[str]:
    """A link stays one: what it leads to may be known by its name, as a time zone is."""
    if path.is_symlink():
        return ["--symlink", str(path.readlink()), str(path)]
    return ["--ro-bind-try", str(path), str(path)]
