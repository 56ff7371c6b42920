"""Chromium without a window, driven over a pair of pipes: no driver, no socket, no package."""

import json
import os
import select
import shutil
import signal
import subprocess
import time
from base64 import b64decode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

KEYS = {
    "ArrowLeft": 37, "ArrowRight": 39, "ArrowDown": 40, "Backspace": 8, "Enter": 13, "Tab": 9,
    "Escape": 27, " ": 32,
}  # fmt: skip
PATIENCE = 30.0


def binary() -> str | None:
    """Return the distribution's chromium, or None."""
    return shutil.which("chromium") or shutil.which("chromium-browser")


class Tab:
    """One page of a browser."""

    def __init__(self, read: int, write: int) -> None:
        self._read, self._write = read, write
        self._rest, self._number, self.session = b"", 0, ""
        self.events: list[dict[str, Any]] = []

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Call a method of the DevTools protocol and wait for its answer."""
        self._number += 1
        said = {"id": self._number, "method": method, "params": params}
        if self.session:
            said["sessionId"] = self.session
        os.write(self._write, json.dumps(said).encode() + b"\0")
        while True:
            found = self._message()
            if found.get("id") == self._number:
                assert "error" not in found, (method, found["error"])
                return found["result"]
            self.events.append(found)

    def run(self, script: str) -> Any:
        """Evaluate JavaScript and return its value."""
        found = self.call(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def wait(self, script: str) -> Any:
        """Wait until JavaScript gives a true value."""
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            if found := self.run(script):
                return found
            time.sleep(0.03)
        raise AssertionError(f"never true: {script}\n{self.run('document.body.innerText')}")

    def press(self, key: str) -> None:
        """Press and release a key."""
        text = {"Enter": "\r"}.get(key, key if len(key) == 1 else "")
        code = KEYS.get(key, ord(key.upper()[0]))
        about = {"key": key, "windowsVirtualKeyCode": code, "nativeVirtualKeyCode": code}
        down = "keyDown" if text else "rawKeyDown"
        self.call("Input.dispatchKeyEvent", type=down, text=text, **about)
        self.call("Input.dispatchKeyEvent", type="keyUp", **about)

    def click(self, selector: str) -> None:
        """Press the mouse in the middle of what a selector finds, where nothing may cover it."""
        x, y = self.run(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)});"
            "e.scrollIntoView({block: 'nearest'}); const r = e.getBoundingClientRect();"
            "const p = [r.x + r.width / 2, r.y + r.height / 2];"
            "const top = document.elementFromPoint(...p);"
            "if (!e.contains(top)) throw new Error('covered by ' + top.outerHTML);"
            "return p; })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def tap(self, selector: str) -> None:
        """Touch the middle of what a selector finds."""
        x, y = self.run(
            f"(() => {{ const r = document.querySelector({json.dumps(selector)})"
            ".getBoundingClientRect(); return [r.x + r.width / 2, r.y + r.height / 2]; })()"
        )
        self.call("Input.dispatchTouchEvent", type="touchStart", touchPoints=[{"x": x, "y": y}])
        self.call("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])

    def size(self, width: int, height: int, *, phone: bool = False) -> None:
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=2 if phone else 1,
            mobile=phone,
        )
        self.call("Emulation.setTouchEmulationEnabled", enabled=phone)

    def prefer(self, **features: str) -> None:
        """Set media features such as prefers_color_scheme="dark"."""
        rows = [{"name": k.replace("_", "-"), "value": v} for k, v in features.items()]
        self.call("Emulation.setEmulatedMedia", features=rows)

    def picture(self, path: Path | None = None, *, whole: bool = False) -> bytes:
        """Take a screenshot."""
        found = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        data = b64decode(found["data"])
        if path is not None:
            path.write_bytes(data)
        return data

    def _message(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            assert select.select([self._read], [], [], PATIENCE)[0], "the browser says nothing"
            part = os.read(self._read, 2**16)
            assert part, "the browser has ended"
            self._rest += part
        raw, _, self._rest = self._rest.partition(b"\0")
        return json.loads(raw)


@contextmanager
def browser(folder: Path) -> Iterator[Callable[[str], Tab]]:
    """Start a browser with a profile of its own; the block is given `open(link) -> Tab`."""
    program = binary()
    assert program is not None
    to_read, to_write = os.pipe()
    from_read, from_write = os.pipe()
    command = [
        "bash", "-c", f'exec "$@" 3<&{to_read} 4>&{from_write}', "bash", program,
        "--headless=new", "--remote-debugging-pipe", "--no-sandbox", "--disable-gpu",
        "--no-first-run", "--disable-background-networking", "--disable-component-update",
        "--disable-dev-shm-usage", "--hide-scrollbars", f"--user-data-dir={folder}", "about:blank",
    ]  # fmt: skip
    log = (folder.parent / "chromium.log").open("wb")
    process = subprocess.Popen(
        command, pass_fds=(to_read, from_write), stdout=log, stderr=log, start_new_session=True
    )
    os.close(to_read)
    os.close(from_write)
    root = Tab(from_read, to_write)
    try:
        yield lambda link: _open(root, link)
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # a group of its own: its helpers are in it
        process.wait(timeout=20)
        log.close()
        os.close(from_read)
        os.close(to_write)


def _open(root: Tab, link: str) -> Tab:
    root.session = ""
    target = root.call("Target.createTarget", url="about:blank")["targetId"]
    found = root.call("Target.attachToTarget", targetId=target, flatten=True)
    root.session = found["sessionId"]
    for domain in ("Page", "Runtime", "Log", "Network"):
        root.call(f"{domain}.enable")
    root.call("Page.navigate", url=link)
    return root
