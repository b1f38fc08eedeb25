"""Start a real ``sshd`` on the loopback address, with keys and a configuration of its own, for tests and studies.

It runs as whoever runs the tests, lets that user in with a key that is made for it, and touches nothing of theirs.
Every connection can be cut from outside, by the process of the server that serves it.
"""

import os
import pwd
import shlex
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

MISSING = "sshd is not installed (Debian: apt-get install openssh-server openssh-client)"


def sshd() -> str:
    """Return the server's path; empty where it is not installed."""
    found = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    return found if found and shutil.which("ssh") and shutil.which("ssh-keygen") else ""


@dataclass
class Server:
    """A running server."""

    port: int
    folder: Path
    process: "subprocess.Popen[bytes]"

    @property
    def user(self) -> str:
        """Return who may log in."""
        return pwd.getpwuid(os.geteuid()).pw_name

    @property
    def address(self) -> str:
        """Return the address of a target behind it."""
        return f"ssh://{self.user}@127.0.0.1:{self.port}"

    @property
    def command(self) -> str:
        """Return a client with a configuration of its own: for ``QUANTBENCH_SSH_COMMAND``."""
        return f"ssh -F {shlex.quote(str(self.folder / 'config'))}"

    @property
    def known_hosts(self) -> Path:
        """Return the file of known host keys of that client."""
        return self.folder / "known_hosts"

    def know(self, key: str = "host") -> None:
        """Let the client know a host key."""
        kind, value, *_ = (self.folder / f"{key}.pub").read_text(encoding="ascii").split()
        self.known_hosts.write_text(f"[127.0.0.1]:{self.port} {kind} {value}\n", encoding="ascii")

    def make_key(self, name: str) -> None:
        """Make a key without a passphrase."""
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.folder / name)]
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL)

    def connections(self) -> list[psutil.Process]:
        """Return the processes that serve a connection; what they started is below them."""
        with suppress(psutil.NoSuchProcess):
            return psutil.Process(self.process.pid).children()
        return []

    def cut(self) -> int:
        """Kill every connection, and return how many there were."""
        cut = 0
        for one in self.connections():
            with suppress(psutil.NoSuchProcess):
                for process in [one, *(each for each in one.children(recursive=True) if "sshd" in each.name())]:
                    process.send_signal(signal.SIGKILL)
                cut += 1
        return cut


@contextmanager
def running(folder: Path) -> Iterator[Server]:
    """Run a server until the end of the context."""
    if os.geteuid() == 0:  # where it separates privileges
        Path("/run/sshd").mkdir(exist_ok=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    server = Server(port, folder, None)  # type: ignore[arg-type]
    for name in ("host", "client"):
        server.make_key(name)
    shutil.copy(folder / "client.pub", folder / "authorized_keys")
    (folder / "sshd_config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\nAuthorizedKeysFile {folder}/authorized_keys\n"
        "PasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\nUsePAM no\n"
        "StrictModes no\nPidFile none\nLogLevel ERROR\nMaxStartups 100\n",
        encoding="ascii",
    )
    (folder / "config").write_text(
        f"IdentityFile {folder}/client\nIdentitiesOnly yes\nUserKnownHostsFile {folder}/known_hosts\n"
        "GlobalKnownHostsFile /dev/null\nStrictHostKeyChecking yes\nHostKeyAlgorithms ssh-ed25519\n",
        encoding="ascii",
    )
    server.know()
    with (folder / "log").open("wb") as log:
        server.process = subprocess.Popen([sshd(), "-D", "-e", "-f", str(folder / "sshd_config")], stderr=log)
    try:
        _until_it_listens(port, server.process, folder / "log")
        yield server
    finally:
        server.cut()
        server.process.kill()
        server.process.wait()


def _until_it_listens(port: int, process: "subprocess.Popen[bytes]", log: Path) -> None:
    end = time.monotonic() + 20
    while time.monotonic() < end:
        if process.poll() is not None:
            break
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.02)
    raise RuntimeError(f"sshd does not start: {log.read_text(encoding='utf-8', errors='replace')}")
