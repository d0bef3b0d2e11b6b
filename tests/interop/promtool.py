"""Prometheus's promtool, from the Debian package without installing it: the package would start a daemon."""

import os
import pathlib
import shutil
import subprocess
import tempfile

from programs import BIN


def program():
    """The path of promtool: $PROMTOOL, what is installed, else fetched once per build folder."""
    known = os.environ.get("PROMTOOL") or shutil.which("promtool")
    if known:
        return known
    home = BIN.parent / "interop"
    path = home / "promtool"
    if not path.exists():
        home.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=home) as d:
            # apt fetches as another user where it may; the folder is world-writable for that.
            os.chmod(d, 0o777)
            subprocess.run(["apt-get", "-q", "download", "prometheus"], cwd=d, check=True, stdout=subprocess.DEVNULL)
            package, = pathlib.Path(d).glob("prometheus_*.deb")
            subprocess.run(["dpkg", "-x", package, pathlib.Path(d, "tree")], check=True)
            pathlib.Path(d, "tree/usr/bin/promtool").rename(path)
    return str(path)
