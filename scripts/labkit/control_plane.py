"""The control plane of a lab: a namespace with istiod's place in it, and each node's way there.

    istiod namespace: bridge 192.0.2.1 ── mgmt0 of n1 (192.0.2.11)
                                      └── mgmt0 of n2 (192.0.2.12)

With `--istiod fake` culvert-fake-istiod serves there, and follows the lab's mesh file. With `--istiod ADDR:PORT` a
relay listens there and passes bytes on to that address, as this machine reaches it: TLS stays end to end.
"""

import asyncio
import contextlib
import os
import pathlib
import shutil
import socket
import sys

if __name__ == "__main__":
    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from labkit import plan as p  # noqa: E402  (the path has to be set first)
from labkit import system  # noqa: E402
from labkit.system import LabError, run  # noqa: E402

ROOT = "root-cert.pem"
TOKEN = "istio-token"


def build(plan):
    if not plan.istiod:
        return
    netns = plan.netns(p.ISTIOD)
    run("ip", "-n", netns, "link", "add", p.BRIDGE, "type", "bridge", "stp_state", "0", "forward_delay", "0")
    run("ip", "-n", netns, "address", "add", f"{p.ISTIOD_ADDRESS}/24", "dev", p.BRIDGE)
    run("ip", "-n", netns, "link", "set", p.BRIDGE, "up")
    for node in p.NODES:
        inside = plan.netns(node)
        run("ip", "-n", netns, "link", "add", node, "type", "veth", "peer", "name", "mgmt0", "netns", inside)
        run("ip", "-n", netns, "link", "set", node, "master", p.BRIDGE, "up")
        run("ip", "-n", inside, "address", "add", f"{p.control_address(node)}/24", "dev", "mgmt0")
        run("ip", "-n", inside, "link", "set", "mgmt0", "up")


def write_files(plan):
    if not plan.istiod:
        return
    plan.istiod_dir.mkdir()
    if plan.istiod == "fake":
        (plan.istiod_dir / "script.yaml").write_text(f"mesh: {plan.mesh_file}\n{plan.istiod_script}", encoding="utf-8")
        os.mkfifo(plan.istiod_steps)
        return
    for given, name in ((plan.istiod_root, ROOT), (plan.token, TOKEN)):
        if given:
            shutil.copyfile(given, plan.istiod_dir / name)
            os.chmod(plan.istiod_dir / name, 0o600)


def command(plan):
    """What the supervisor keeps running in istiod's place."""
    if plan.istiod == "fake":
        return system.inside_command(
            plan.netns_path(p.ISTIOD),
            [plan.program("culvert-fake-istiod"), "--listen", f"{p.ISTIOD_ADDRESS}:{p.ISTIOD_PORT}", "--script",
             str(plan.istiod_dir / "script.yaml"), "--out", str(plan.istiod_dir), "--print"])
    return [sys.executable, "-B", __file__, plan.netns_path(p.ISTIOD), plan.istiod]


def check(plan):
    """Refuses a control plane that cannot be one, before anything is built."""
    if not plan.istiod or plan.istiod == "fake":
        return
    host, colon, port = plan.istiod.rpartition(":")
    if not colon or not host or not port.isdigit():
        raise LabError(f"--istiod {plan.istiod}: `fake` or ADDR:PORT is accepted")
    if not plan.istiod_root:
        raise LabError("--istiod ADDR:PORT needs --istiod-root FILE: what its certificate is judged by")


async def _copy(reader, writer):
    with contextlib.suppress(OSError, asyncio.IncompleteReadError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    with contextlib.suppress(OSError):
        writer.write_eof()


async def _relay(netns, target):
    host, _, port = target.rpartition(":")
    with system.inside(netns):
        listener = socket.create_server((p.ISTIOD_ADDRESS, p.ISTIOD_PORT))

    async def serve(reader, writer):
        try:
            there, back = await asyncio.open_connection(host.strip("[]"), int(port))
        except OSError as error:
            print(f"{target} cannot be reached: {error}", flush=True)
            writer.close()
            return
        await asyncio.gather(_copy(reader, back), _copy(there, writer))
        back.close()
        writer.close()

    async with await asyncio.start_server(serve, sock=listener) as server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_relay(sys.argv[1], sys.argv[2]))
