"""A process of a scene: what it says is taken down while it runs, and it is gone when the scene is over."""

import contextlib
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self


class Actor:
    """A process, and two threads that take down what it says.

    Args:
        words: Its program and what it is given.
        said: Told each line that it prints, from a thread.
        environ: Its environment; that of this process if left out.

    Attributes:
        stderr: What it has printed besides, once the block has ended.
    """

    def __init__(
        self, words: Sequence[str], said: Callable[[str], Any], environ: Mapping[str, str] | None = None
    ) -> None:
        self.stderr = ""
        self._said = said
        self._process = subprocess.Popen(
            words,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=None if environ is None else dict(environ),
        )
        self._threads = [threading.Thread(target=self._listen), threading.Thread(target=self._keep)]
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        for thread in self._threads:
            thread.join()
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()

    @property
    def pid(self) -> int:
        """Its number."""
        return self._process.pid

    @property
    def status(self) -> int | None:
        """The exit status, negative for a signal, `None` while it lives."""
        return self._process.poll()

    def until(self, reached: Callable[[], bool], timeout_s: float) -> bool:
        """Waits for something while it lives; whether that came to pass."""
        until_s = time.monotonic() + timeout_s
        while not reached():
            if self.status is not None or time.monotonic() > until_s:
                return reached()
            time.sleep(0.01)
        return True

    def ends(self, timeout_s: float) -> bool:
        """Whether it ends by itself."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(max(0.0, timeout_s))
        return self.status is not None

    def tell(self) -> None:
        """Says a word to it, for which it may wait."""
        with contextlib.suppress(BrokenPipeError):
            print(file=self._process.stdin, flush=True)

    def _listen(self) -> None:
        for line in self._process.stdout or ():
            self._said(line)

    def _keep(self) -> None:
        if self._process.stderr is not None:
            self.stderr = self._process.stderr.read()
