"""The environment of Microsoft's own SDK, made from the lock once and kept in ``.bench/sdk``.

It is apart from the product's, so that the SDK's many thousand files are nobody's dependency.
"""

from __future__ import annotations

import subprocess
import sys
from hashlib import sha256
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def sdk_python() -> Path:
    """The SDK environment's interpreter; made on first use and whenever the lock changes."""
    home = ROOT / ".bench" / "sdk"
    lock = ROOT / "requirements" / "sdk.txt"
    stamp = home / "lock.sha256"
    digest = sha256(lock.read_bytes()).hexdigest()
    interpreter = home / "bin" / "python"
    if not stamp.exists() or stamp.read_text() != digest:
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(home)], check=True)
        subprocess.run(
            [
                str(interpreter),
                "-m",
                "pip",
                "install",
                "--quiet",
                "--disable-pip-version-check",
                "--no-deps",
                "--require-hashes",
                "--only-binary=:all:",
                "-r",
                str(lock),
            ],
            check=True,
        )
        stamp.write_text(digest)
    return interpreter
