"""Processes on this machine that are the workers of a cluster."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


class Workers:
    """Processes that know of each other through `TF_CONFIG`.

    Used as a context manager: no process outlives it.

    Args:
        commands: what Python is given, a script and its arguments, for each process.
        folder: where their output goes, a file each.
    """

    def __init__(self, commands: list[list[Any]], folder: Path):
        number = len(commands)
        names = [f"worker-{index}-of-{number}.log" for index in range(number)]
        self._logs = [folder / name for name in names]
        addresses = [f"localhost:{port}" for port in _free_ports(number)]
        self.processes = []
        for index, (command, log) in enumerate(zip(commands, self._logs, strict=True)):
            task = {"type": "worker", "index": index}
            config = {"cluster": {"worker": addresses}, "task": task}
            env = {**os.environ, "PYTHONPATH": str(ROOT)}
            env["TF_CONFIG"] = json.dumps(config)
            with log.open("w", encoding="utf-8") as file:
                process = subprocess.Popen(
                    [sys.executable, *map(str, command)],
                    env=env,
                    stdout=file,
                    stderr=subprocess.STDOUT,
                )
            self.processes.append(process)

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.processes:
            process.send_signal(signal.SIGKILL)
            process.wait()

    def output(self, index: int) -> str:
        """What a worker has printed so far."""
        return self._logs[index].read_text("utf-8")

    def wait(self, timeout: float) -> list[int]:
        """The exit codes of all of them, once they have ended.

        Args:
            timeout: how many seconds that may take.
        """
        end = time.monotonic() + timeout
        codes = []
        for index, process in enumerate(self.processes):
            try:
                codes.append(process.wait(max(end - time.monotonic(), 0)))
            except subprocess.TimeoutExpired:
                raise AssertionError(
                    f"Worker {index} has not ended after {timeout} seconds. "
                    f"{self._outputs()}"
                ) from None
        return codes

    def check(self, expected: list[int], timeout: float) -> None:
        """Wait for all of them, and expect these exit codes."""
        codes = self.wait(timeout)
        assert codes == expected, f"{codes}: {self._outputs()}"

    def _outputs(self) -> str:
        return "\n---\n".join(map(self.output, range(len(self.processes))))


def _free_ports(number: int) -> list[int]:
    sockets = [socket.create_server(("localhost", 0)) for _ in range(number)]
    try:
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()
