"""What a lab consists of: names, addresses and files. Nothing here touches the system.

    pods      n1-p1 n1-p2            n2-p1 n2-p2        kernel stacks, one namespace each
                 \\   /                  \\   /           TAPs, made by the agents
    nodes         n1                     n2             one culvert-dataplane and one culvert-agent each
                   \\_______ wire _______/               a bridge in a namespace of its own
                              |
    host                   outside                      not in the mesh

A lab named NAME keeps everything under /run/culvert-lab/NAME and calls its namespaces culvert-NAME-<place>, so that
labs of different names share nothing.
"""

import dataclasses
import pathlib
import re

STATE_ROOT = pathlib.Path("/run/culvert-lab")
DEFAULT_NAME = "lab"
NAME_PATTERN = re.compile(r"[a-z0-9][a-z0-9-]{0,15}")

NODES = ("n1", "n2")
UPLINKS = ("tap", "memif", "af_xdp", "net_tap")

TRUST_DOMAIN = "cluster.local"
NAMESPACE = "demo"
SERVICE = f"web.{NAMESPACE}.svc.cluster.local"
SERVICE_VIPS = ("10.96.0.10", "fd96::10")
SERVICE_PORT = 80
SERVICE_TARGET_PORT = 8080
SERVICE_PODS = ("n1-p2", "n2-p1", "n2-p2")

# The control plane's network: a bridge of its own, which nothing of the pods' traffic passes.
ISTIOD = "istiod"
ISTIOD_ADDRESS = "192.0.2.1"
ISTIOD_PORT = 15012
ISTIOD_NAME = "istiod.istio-system.svc"

OUTSIDE_ADDRESSES = ("10.9.0.1/8", "fd09::1/8")
# Everything lies on one link: the pods' prefixes are answered for by their node (proxy ARP and ND).
ON_LINK = ("10.0.0.0/8", "fd00::/8")
MTU = 1500

BRIDGE = "br0"
ADMIN = "127.0.0.1:15000"  # in the node's namespace


@dataclasses.dataclass(frozen=True)
class Pod:
    name: str
    node: str
    addresses: tuple
    gateways: tuple

    @property
    def identity(self):
        return f"spiffe://{TRUST_DOMAIN}/ns/{NAMESPACE}/sa/{self.name}"


def _pods():
    for number, node in enumerate(NODES, start=1):
        for index in (1, 2):
            yield Pod(name=f"{node}-p{index}", node=node,
                      addresses=(f"10.{number}.0.1{index}", f"fd0{number}::1{index}"),
                      gateways=(f"10.{number}.0.1", f"fd0{number}::1"))


PODS = {pod.name: pod for pod in _pods()}


def control_address(node):
    """The node's own address on the control plane's network."""
    return f"192.0.2.1{NODES.index(node) + 1}"


def node_addresses(node):
    """The node's own addresses on the wire, with the link's prefix."""
    number = NODES.index(node) + 1
    return (f"10.9.0.1{number}/8", f"fd09::1{number}/8")


@dataclasses.dataclass(frozen=True)
class Plan:
    """One lab: its name and what `up` was asked for. Plain values, kept in the state folder as JSON."""
    name: str
    bin: str
    uplink: str = "tap"
    huge_pages: bool = True
    mesh: str = ""        # a mesh file of the user's; empty: the generated one
    config_dir: str = ""  # folder with NODE.yaml files whose sections replace generated ones
    istiod: str = ""      # "fake", or ADDR:PORT of one that this machine reaches; empty: mesh and CA are files
    istiod_script: str = ""  # further lines of the fake one's script
    istiod_root: str = ""  # root certificate and token for that one
    token: str = ""

    @property
    def state(self):
        return STATE_ROOT / self.name

    def netns(self, place):
        return f"culvert-{self.name}-{place}"

    def netns_path(self, place):
        return f"/run/netns/{self.netns(place)}"

    @property
    def places(self):
        """Every namespace of the lab. The wire and the host on it exist only where the uplinks meet in the kernel."""
        wire = () if self.uplink == "memif" else ("wire", "outside")
        return wire + NODES + tuple(PODS) + ((ISTIOD,) if self.istiod else ())

    def program(self, name):
        return f"{self.bin}/{name}"

    def node_dir(self, node):
        return self.state / node

    def config(self, node):
        return self.node_dir(node) / "culvert.yaml"

    def control_socket(self, node):
        return self.node_dir(node) / "control.sock"

    @property
    def istiod_dir(self):
        return self.state / ISTIOD

    @property
    def istiod_steps(self):
        """A pipe: each line is a step that the fake istiod does at once."""
        return self.istiod_dir / "steps"

    @property
    def istiod_host(self):
        """The name that istiod's certificate bears."""
        return ISTIOD_NAME if self.istiod == "fake" else self.istiod.rsplit(":", 1)[0].strip("[]")

    @property
    def mesh_file(self):
        return self.state / "mesh.yaml"

    @property
    def ca_dir(self):
        return self.state / "ca"

    @property
    def supervisor_socket(self):
        return self.state / "supervisor.sock"
