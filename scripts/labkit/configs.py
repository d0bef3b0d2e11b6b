"""The files of a lab: culvert.yaml of each node and the mesh file, as texts."""

import re

from labkit import plan as p

# A laptop runs two nodes: packet memory of each, in MB.
BUFFERS_MB = 128


def _uplink(plan, node):
    """The uplink's driver and what the driver needs to know."""
    if plan.uplink == "tap":
        return f"driver: tap\n    netns: {plan.netns_path('wire')}\n    device: {node}-up"
    devargs = {
        # Two processes meet on one socket, so it is a file; the first node serves it.
        "memif": f"net_memif0,role={'server' if node == p.NODES[0] else 'client'},id=0,"
                 f"socket={plan.state}/memif.sock,socket-abstract=no,rsize=12,bsize=2048,"
                 f"mac=02:00:00:00:09:1{p.NODES.index(node) + 1}",
        "af_xdp": "net_af_xdp0,iface=up0",
        "net_tap": f"net_tap0,iface={node}-up,mac=02:00:00:00:09:1{p.NODES.index(node) + 1}",
    }[plan.uplink]
    return f'driver: ethdev\n    devargs: "{devargs}"'


def _quoted(values):
    return "[" + ", ".join(f'"{value}"' for value in values) + "]"


def _control_plane(plan, node):
    """Where mesh and certificates come from."""
    if not plan.istiod:
        return f"mesh:\n  file: {plan.mesh_file}\nca:\n  dir: {plan.ca_dir}\n"
    return f"""\
istiod:
  address: https://{p.ISTIOD_ADDRESS}:{p.ISTIOD_PORT}
  server_name: {plan.istiod_host}
  root: {plan.istiod_dir}/root-cert.pem
  token: {plan.istiod_dir}/istio-token
  pod_name: ztunnel-{node}
  pod_namespace: istio-system
  instance_ip: {p.control_address(node)}
"""


def culvert_yaml(plan, node):
    routes = "\n".join(f'  - {{to: "{prefix}", port: uplink0}}' for prefix in p.ON_LINK)
    attachments = "\n".join(
        f"  - id: {pod.name}\n"
        f"    netns: {plan.netns_path(pod.name)}\n"
        f"    interface: eth0\n"
        f"    workload: {p.NAMESPACE}/{pod.name}\n"
        f"    addresses: {_quoted(pod.addresses)}\n"
        f"    gateway: {_quoted(pod.gateways)}\n"
        f"    mtu: {p.MTU}"
        for pod in p.PODS.values() if pod.node == node)
    text = f"""\
node:
  name: {node}
  cluster: Kubernetes
  trust_domain: {p.TRUST_DOMAIN}
control:
  socket: {plan.control_socket(node)}
  descriptors: {plan.node_dir(node)}/descriptors.sock
memory:
  huge_pages: {'always' if plan.huge_pages else 'never'}
  buffers_mb: {BUFFERS_MB}
workers:
  count: 1
ports:
  - name: uplink0
    role: uplink
    {_uplink(plan, node)}
    addresses: {_quoted(p.node_addresses(node))}
    proxy_neighbours: true
    mtu: {p.MTU}
routes:
{routes}
attachments:
{attachments}
{_control_plane(plan, node)}log:
  level: info
"""
    return text


def _sections(text):
    """A YAML text as {top-level key: its lines}. Comments and blank lines before the first key are left out."""
    found = {}
    key = None
    for line in text.splitlines(keepends=True):
        match = re.match(r"([A-Za-z_]+)\s*:", line)
        if match:
            key = match.group(1)
            found[key] = ""
        if key is not None:
            found[key] += line if line.endswith("\n") else line + "\n"
    return found


def with_sections(text, replacement):
    """`text` with every top-level section that `replacement` has taken from there."""
    sections = _sections(text)
    sections.update(_sections(replacement))
    return "".join(sections.values())


def mesh_yaml():
    """Workloads for the pods, one service, no policy: ztunnel's local format."""
    workloads = []
    for pod in p.PODS.values():
        ports = f"{{{p.SERVICE_PORT}: {p.SERVICE_TARGET_PORT}}}"
        services = f'{{"{p.NAMESPACE}/{p.SERVICE}": {ports}}}' if pod.name in p.SERVICE_PODS else "{}"
        workloads.append(f"""\
  - uid: Kubernetes//Pod/{p.NAMESPACE}/{pod.name}
    name: {pod.name}
    namespace: {p.NAMESPACE}
    trustDomain: {p.TRUST_DOMAIN}
    serviceAccount: {pod.name}
    workloadName: {pod.name}
    workloadType: pod
    canonicalName: {pod.name}
    canonicalRevision: latest
    node: {pod.node}
    clusterId: Kubernetes
    protocol: HBONE
    workloadIps: {_quoted(pod.addresses)}
    services: {services}
""")
    vips = _quoted(f"/{vip}" for vip in p.SERVICE_VIPS)
    return f"""\
workloads:
{''.join(workloads)}services:
  - name: {p.SERVICE.split('.', maxsplit=1)[0]}
    namespace: {p.NAMESPACE}
    hostname: {p.SERVICE}
    vips: {vips}
    ports: {{{p.SERVICE_PORT}: {p.SERVICE_TARGET_PORT}}}
policies: []
"""
