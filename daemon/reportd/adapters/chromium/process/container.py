"""A browser in namespaces of its own (``isolation = "container"``), made by bubblewrap.

The browser sees no process of the machine. It sees only programs, libraries and fonts of its files, read-only. Its
network is a loopback interface, nothing else. A socket stays in the network namespace where it was created, whichever
process holds it. So a child of the daemon creates a listening socket inside and passes it out; that is the browser's
only way out. The DevTools pipe is inherited. No code of the daemon runs in the container, and nothing is relayed.
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

from reportd.adapters.chromium.process.authorities import FOLDER
from reportd.adapters.chromium.process.limits import Limits, confine
from reportd.ports import BrowserError

ADVICE = (
    "bubblewrap may make namespaces as this user: user.max_user_namespaces must not be 0, nor Debian's "
    "kernel.unprivileged_userns_clone, nor Ubuntu's kernel.apparmor_restrict_unprivileged_userns 1 (sysctl); "
    "a service needs container.conf (in packaging, or /usr/share/doc/reportd/examples)"
)

VISIBLE_PATHS = (
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
"""Paths of the machine that a browser needs besides /usr. The rest of /etc stays hidden."""

NOBODY = "65534"
"""The user in the container. It is never root, so that Chromium's own sandbox stays on."""

_NS_GET_USERNS = 0xB701
"""ioctl_ns(2)."""
_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000
"""setns(2). systemd's RestrictNamespaces= forbids entering a namespace without naming its kind."""
_CHILD_PID = re.compile(rb'"child-pid": (\d+),')
_libc = ctypes.CDLL(None, use_errno=True)


@contextmanager
def open_container(executable: str, data_dir: Path, limits: Limits) -> Iterator["Container"]:
    """Yield a container for one browser. Raises BrowserError if bubblewrap is missing."""
    if shutil.which("bwrap") is None:
        raise BrowserError("bwrap not found: apt install bubblewrap, or set another isolation")
    with ExitStack() as stack:
        yield Container(executable, data_dir, limits, stack)


class Container:
    """Made by ``open_container``. ``command`` starts the browser, ``admit`` lets it run, ``open_proc`` follows."""

    def __init__(self, executable: str, data_dir: Path, limits: Limits, stack: ExitStack) -> None:
        self.limits = limits
        self.proc = Path("/nowhere")
        """The container's /proc, where its processes have the ids that the browser knows. Set by ``open_proc``."""
        self.program = str(Path(executable).resolve())
        """The path of the browser inside."""
        self._data_dir = data_dir.resolve()
        self._stack = stack
        self._child = 0
        self._namespaces: dict[int, int] = {}
        # bubblewrap reports on the first pipe, and waits for a line on the second one before it starts the browser.
        self._info_reader, self._info_writer = self._pipe()
        self._block_reader, self._block_writer = self._pipe()

    def _pipe(self) -> tuple[FileIO, FileIO]:
        # Above 3 and 4, which become the browser's DevTools pipe.
        reader, writer = (_above_ten(end) for end in os.pipe())
        return self._stack.enter_context(FileIO(reader)), self._stack.enter_context(FileIO(writer, "w"))

    # --- starting -------------------------------------------------------------------------------------------

    @property
    def inherited_fds(self) -> tuple[int, int]:
        """The descriptors that bubblewrap inherits."""
        return self._info_writer.fileno(), self._block_reader.fileno()

    def command(self, profile: Path, inside: Sequence[str]) -> list[str]:
        """Return the command line that runs ``inside`` in the container. ``profile`` is a memory file system there."""
        user = ("--unshare-user", "--uid", NOBODY, "--gid", NOBODY)
        unshare = ("--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts", "--die-with-parent")
        info, block = self.inherited_fds
        # Only fonts of /usr/local: an administrator may keep anything there.
        visible = ["--ro-bind", "/usr", "/usr", "--tmpfs", "/usr/local"]
        for path in VISIBLE_PATHS:
            visible += _bind(Path(path))
        visible += ["--proc", "/proc", "--dev", "/dev"]
        # The data folder appears empty, even if it is below a visible path.
        folder, data_dir = str(Path(self.program).parent), str(self._data_dir)
        own = ["--ro-bind", folder, folder, "--tmpfs", data_dir]
        own += ["--size", str(self.limits.profile_mib * 2**20), "--tmpfs", str(profile)]
        # The browser opens the database for writing. It is this browser's copy, and goes with it.
        own += ["--bind-try", str(profile / FOLDER), str(profile / FOLDER)]
        for path in (data_dir, "/usr/local", "/dev", "/"):
            own += ["--remount-ro", path]
        control = ("--info-fd", str(info), "--block-fd", str(block))
        return ["bwrap", *user, *unshare, *control, *visible, *own, "--chdir", "/", "--", *inside]

    async def admit(self, group: Path | None) -> None:
        """Wait until the namespaces exist, apply the limits, and let the browser start.

        ``group``: its control group. Also returns when bubblewrap has ended without making namespaces. Raises
        BrowserError.
        """
        self._info_writer.close()
        self._block_reader.close()
        self._child = await self._first_process()
        if self._child:
            with _entering():
                network = self._stack.enter_context(FileIO(f"/proc/{self._child}/ns/net"))
                owner = self._stack.enter_context(FileIO(ioctl(network, _NS_GET_USERNS)))
                self._namespaces = {_CLONE_NEWUSER: owner.fileno(), _CLONE_NEWNET: network.fileno()}
                confine(self._child, self.limits, group)
                self._block_writer.write(b"\n")

    def open_proc(self) -> None:
        """Open the container's /proc, once the browser runs. Raises BrowserError."""
        with _entering():
            # Kept open: the process id may be reused, but this folder always means the same process.
            folder = os.open(f"/proc/{self._child}/root/proc", os.O_RDONLY | os.O_DIRECTORY)
            self._stack.callback(os.close, folder)
            self.proc = Path(f"/proc/self/fd/{folder}")

    async def _first_process(self) -> int:
        """Return the id of the container's first process; 0 if there is none."""
        info = b""
        async with trio.lowlevel.FdStream(os.dup(self._info_reader.fileno())) as stream:
            async for piece in stream:
                info += piece
                if match := _CHILD_PID.search(info):
                    return int(match[1])
        return 0

    def kill(self, pid: int) -> None:
        """Kill one process, by the id that it has inside."""
        # An open folder of /proc means this process only, even if its id is reused (pidfd_open(2)).
        with suppress(OSError):
            process = os.open(self.proc / str(pid), os.O_RDONLY | os.O_DIRECTORY)
            try:
                signal.pidfd_send_signal(process, signal.SIGKILL)
            finally:
                os.close(process)

    # --- sockets --------------------------------------------------------------------------------------------

    async def listen(self) -> trio.SocketListener:
        """Listen on a free port of the container's loopback. Raises OSError."""
        listener = await trio.to_thread.run_sync(_create_inside, self._namespaces, _listening_socket)
        return trio.SocketListener(trio.socket.from_stdlib_socket(listener))


def _above_ten(descriptor: int) -> int:
    moved = fcntl(descriptor, F_DUPFD_CLOEXEC, 10)
    os.close(descriptor)
    return moved


@contextmanager
def _entering() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise BrowserError(f"the browser's container can't be entered: {error}") from error


def _listening_socket() -> socket.socket:
    return socket.create_server(("127.0.0.1", 0))


def _create_inside(namespaces: Mapping[int, int], create: Callable[[], socket.socket]) -> socket.socket:
    """Return a socket that ``create`` makes in these namespaces.

    Only a single-threaded process may enter a user namespace, so a child process does it and nothing else.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours:
        with theirs:
            child = os.fork()
            if child == 0:
                _create_and_send(namespaces, create, theirs)
        message, descriptors, _, _ = socket.recv_fds(ours, 16, 1)
        os.waitpid(child, 0)
    if not descriptors:
        number = int(message or b"0")
        raise OSError(number, f"no socket can be made in the browser's network: {os.strerror(number)}")
    return socket.socket(fileno=descriptors[0])


def _create_and_send(namespaces: Mapping[int, int], create: Callable[[], socket.socket], to: socket.socket) -> None:
    try:
        for kind, namespace in namespaces.items():
            if _libc.setns(namespace, kind):
                number = ctypes.get_errno()
                raise OSError(number, "setns")  # noqa: TRY301 - the child must report it and exit here
        with create() as created:
            to.sendmsg([b"0"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [created.fileno()]))])
    except OSError as error:
        to.send(str(error.errno or errno.ETIMEDOUT).encode())
    finally:
        os._exit(0)


def _bind(path: Path) -> list[str]:
    """Show a path read-only. A link stays a link: its target's name may matter, as a time zone's does."""
    if path.is_symlink():
        return ["--symlink", str(path.readlink()), str(path)]
    return ["--ro-bind-try", str(path), str(path)]
