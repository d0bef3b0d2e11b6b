"""The wire: a bridge in a namespace of its own, the host `outside` on it, and each node's way to it.

    tap      the agent opens the node's uplink TAP in the wire's namespace; its kernel end becomes a port of the bridge
    af_xdp   a veth pair: the data plane's socket sits on the node's end, the other end is a port of the bridge
    net_tap  DPDK makes a TAP in the node's namespace; a small bridge there joins it to a veth pair towards the wire
    memif    shared memory between the two processes: no bridge, no host outside

TAPs appear when a process opens them and again when it is restarted, so the supervisor watches for them (Keeper).
"""

import contextlib
import dataclasses
import json
import socket

from labkit import plan as p
from labkit import system
from labkit.system import run

NETLINK_ROUTE = 0
RTMGRP_LINK = 1


def build(plan):
    if plan.uplink == "memif":
        return
    _make_bridge(plan, "wire")
    _join_outside(plan)
    for node in p.NODES:
        if plan.uplink == "af_xdp":
            _join_node(plan, node, "up0")
        elif plan.uplink == "net_tap":
            _make_bridge(plan, node)
            _join_node(plan, node, "wire0")
            _enslave(plan.netns(node), "wire0")


def _make_bridge(plan, place):
    netns = plan.netns(place)
    # The bridge carries the nodes' packets and has none of its own.
    system.sysctl(plan.netns_path(place), "net/ipv6/conf/default/disable_ipv6", 1)
    run("ip", "-n", netns, "link", "add", p.BRIDGE, "type", "bridge", "stp_state", "0", "forward_delay", "0",
        "mcast_snooping", "0")
    run("ip", "-n", netns, "link", "set", p.BRIDGE, "mtu", p.MTU, "up")


def _join_outside(plan):
    wire, outside = plan.netns("wire"), plan.netns("outside")
    run("ip", "-n", wire, "link", "add", "outside", "mtu", p.MTU, "type", "veth",
        "peer", "name", "eth0", "mtu", p.MTU, "netns", outside)
    _enslave(wire, "outside")
    run("ip", "-n", outside, "link", "set", "eth0", "up")
    for address in p.OUTSIDE_ADDRESSES:
        run("ip", "-n", outside, "address", "add", address, "dev", "eth0", *(["nodad"] if ":" in address else []))
    if plan.uplink == "af_xdp":
        # A port without checksum offload must see finished packets.
        _plain_packets(outside, "eth0")


def _join_node(plan, node, device):
    wire, inside = plan.netns("wire"), plan.netns(node)
    run("ip", "-n", wire, "link", "add", f"{node}-up", "mtu", p.MTU, "type", "veth",
        "peer", "name", device, "mtu", p.MTU, "netns", inside)
    _enslave(wire, f"{node}-up")
    # The node's own kernel stays out of the link: it has no address there.
    system.sysctl(plan.netns_path(node), f"net/ipv6/conf/{device}/disable_ipv6", 1)
    run("ip", "-n", inside, "link", "set", device, "up")
    if plan.uplink == "af_xdp":
        _plain_packets(wire, f"{node}-up")
        _plain_packets(inside, device)


def _enslave(netns, device):
    run("ip", "-n", netns, "link", "set", device, "master", p.BRIDGE)
    run("ip", "-n", netns, "link", "set", device, "up")


def _plain_packets(netns, device):
    run("ip", "netns", "exec", netns, "ethtool", "-K", device, "tx", "off", "rx", "off", "gso", "off", "tso", "off",
        "gro", "off", "txvlan", "off", "rxvlan", "off")


@dataclasses.dataclass(frozen=True)
class LatePort:
    """A bridge port that a node's process makes: it comes after the wire, and comes again."""
    netns: str
    device: str
    mac: str = ""  # the kernel's end gets this address


def late_ports(plan):
    if plan.uplink == "tap":
        return [LatePort(plan.netns("wire"), f"{node}-up") for node in p.NODES]
    if plan.uplink == "net_tap":
        # DPDK speaks with the device's own address, and a bridge keeps frames to its ports' addresses to itself.
        return [LatePort(plan.netns(node), f"{node}-up", f"02:00:00:00:0a:1{number}")
                for number, node in enumerate(p.NODES, start=1)]
    return []


class Keeper:
    """Makes late ports bridge ports whenever they appear.

    `descriptors` become readable when links change in one of the namespaces; call settle() then.
    """

    def __init__(self, ports):
        self._ports = ports
        self._sockets = []
        for netns in sorted({port.netns for port in ports}):
            with system.inside(f"/run/netns/{netns}"):
                watch = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_ROUTE)
            watch.bind((0, RTMGRP_LINK))
            watch.setblocking(False)
            self._sockets.append(watch)

    @property
    def descriptors(self):
        return [watch.fileno() for watch in self._sockets]

    def settle(self):
        """Returns one sentence per device that was joined to its bridge now."""
        for watch in self._sockets:
            with contextlib.suppress(BlockingIOError, OSError):
                while watch.recv(65536):  # what changed does not matter: the state is read afresh below
                    pass
        joined = []
        for port in self._ports:
            with contextlib.suppress(system.LabError):
                link = json.loads(run("ip", "-n", port.netns, "-j", "link", "show", "dev", port.device))[0]
                if port.mac and link["address"] != port.mac:  # again when its maker sets it after we did
                    run("ip", "-n", port.netns, "link", "set", port.device, "address", port.mac)
                if link.get("master") != p.BRIDGE:
                    _enslave(port.netns, port.device)
                    joined.append(f"{port.device} joined the bridge of {port.netns}")
        return joined
