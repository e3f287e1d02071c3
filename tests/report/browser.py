"""A headless Chromium, spoken to in the DevTools protocol through a pair of pipes."""

import base64
import contextlib
import json
import os
import select
import subprocess
import time

# Besides, nothing that Chromium itself would look up can be found.
OPTIONS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--host-resolver-rules=MAP * ~NOTFOUND",
    "--remote-debugging-pipe",
)
SECONDS = 60

# What keys type that have names.
KEYS = {" ": " ", "Enter": "\r"}
CODES = {"Escape": 27}


class Browser:
    """One page of a browser; `events` is all that the browser told of it, by name."""

    def __init__(self, reader, writer):
        self.events = []
        self._reader, self._writer = reader, writer
        self._buffer = b""
        self._last_id = 0
        self._session = None
        page = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=page, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method, **parameters):
        """The result of a method of the protocol."""
        self._send(method, parameters)
        while (answer := self._read()).get("id") != self._last_id:
            self.events.append((answer["method"], answer["params"]))
        assert "error" not in answer, (method, answer)
        return answer["result"]

    def open(self, path, width=1300, dark=False):
        """Open a file, and wait until it is there; what was open before is left."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.resize(width)
        self._leave("Page.navigate", {"url": path.as_uri()})

    def reload(self):
        """Load the page again, and wait until it is there."""
        self._leave("Page.reload", {})

    def _leave(self, method, parameters):
        """Go to another page, even where the one that is left warns of that."""
        self.events.clear()
        self._send(method, parameters)
        while not any(name == "Page.loadEventFired" for name, _ in self.events):
            message = self._read()
            if "method" not in message:
                continue
            self.events.append((message["method"], message["params"]))
            if message["method"] == "Page.javascriptDialogOpening":
                self._send("Page.handleJavaScriptDialog", {"accept": True})

    def press(self, key, modifiers=0):
        """Press a key and let it go; `modifiers` are 2 for Ctrl."""
        text = key if len(key) == 1 and not modifiers else ""
        key = {"Space": " "}.get(key, key)
        event = {"key": key, "modifiers": modifiers}
        if key in CODES:  # which the browser itself looks at
            event["windowsVirtualKeyCode"] = CODES[key]
        text = text or KEYS.get(key, "")
        self.call("Input.dispatchKeyEvent", type="keyDown", text=text, **event)
        self.call("Input.dispatchKeyEvent", type="keyUp", **event)

    def resize(self, width, height=900):
        size = {"width": width, "height": height, "mobile": False}
        self.call("Emulation.setDeviceMetricsOverride", deviceScaleFactor=1, **size)

    def run(self, script):
        """The value of an expression in the page, or of the promise that it is."""
        options = {"returnByValue": True, "awaitPromise": True, "userGesture": True}
        answer = self.call("Runtime.evaluate", expression=script, **options)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def screenshot(self, path):
        """What is seen of the page, as a PNG."""
        answer = self.call("Page.captureScreenshot")
        path.write_bytes(base64.b64decode(answer["data"]))

    def _send(self, method, parameters):
        self._last_id += 1
        message = {"id": self._last_id, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._writer, json.dumps(message).encode() + b"\0")

    def _read(self):
        end = time.monotonic() + SECONDS
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._reader], [], [], end - time.monotonic())
            assert ready, f"Chromium has said nothing for {SECONDS} seconds"
            piece = os.read(self._reader, 1 << 20)
            assert piece, "Chromium has ended"
            self._buffer += piece
        text, self._buffer = self._buffer.split(b"\0", 1)
        return json.loads(text)


@contextlib.contextmanager
def started(program, folder):
    """A browser that keeps what it keeps in a new folder, and ends with the block."""
    from_test, to_browser = os.pipe()
    from_browser, to_test = os.pipe()
    # The protocol's pipes are 3 and 4; those of a process cannot be chosen without a
    # shell. No other file may be there under these numbers on the way.
    script = 'in=$1; out=$2; shift 2; exec "$@" 3<&"$in" 4>&"$out"'
    command = ["bash", "-c", script, "bash", str(from_test), str(to_test), program]
    command += [*OPTIONS, f"--user-data-dir={folder}"]
    with open(folder.with_suffix(".log"), "wb") as log:
        process = subprocess.Popen(
            command,
            pass_fds=(from_test, to_test),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    os.close(from_test)
    os.close(to_test)
    try:
        browser = Browser(from_browser, to_browser)
        yield browser
        # Its answer may come, or its end.
        os.write(to_browser, b'{"id": 0, "method": "Browser.close"}\0')
        process.wait(SECONDS)
    finally:
        process.kill()
        process.wait()
        os.close(from_browser)
        os.close(to_browser)
