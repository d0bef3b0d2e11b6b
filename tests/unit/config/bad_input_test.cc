// Every way to write a wrong culvert.yaml, with the exact lines that come out. Each row is a whole file.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "config/load.h"

namespace culvert::config {
namespace {

struct Row {
  const char* what;
  const char* file;
  std::vector<std::string> problems;
};

const std::vector<Row>& rows() {
  static const std::vector<Row> all = {
      {"an empty file lacks the node's name",
       "",
       {"c.yaml: node.name: missing; accepted: 1 to 253 letters, digits, `.`, `-`, `_`"}},
      {"a section without the required key names its line",
       "node:\n  cluster: c\n",
       {"c.yaml:2: node.name: missing; accepted: 1 to 253 letters, digits, `.`, `-`, `_`"}},
      {"a key with nothing behind it",
       "node: {name: n1}\nworkers:\n  count:\n",
       {"c.yaml:3: workers.count: 1 to 64 is accepted, not nothing"}},
      {"an unknown section",
       "node: {name: n1}\nworker: {}\n",
       {"c.yaml:2: unknown key `worker`; accepted: node, control, memory, workers, ports, routes, attachments, mesh, "
        "istiod, ca, admin, drain, log, limits"}},
      {"an unknown key in a section",
       "node:\n  name: n1\n  nmae: n2\n",
       {"c.yaml:3: node: unknown key `nmae`; accepted: name, network, cluster, trust_domain"}},
      {"a section that is a list", "node: [n1]\n", {"c.yaml:1: node: a map is accepted, not a list"}},
      {"a document that is a list", "- node\n", {"c.yaml:1: a map is accepted, not a list"}},
      {"a list where a text belongs",
       "node:\n  name: [n1]\n",
       {"c.yaml:2: node.name: 1 to 253 letters, digits, `.`, `-`, `_` is accepted, not a list"}},
      {"a name with a blank",
       "node: {name: 'n 1'}\n",
       {"c.yaml:1: node.name: 1 to 253 letters, digits, `.`, `-`, `_` is accepted, not `n 1` in quotes"}},
      {"a number in quotes",
       "node: {name: n1}\nworkers: {count: \"2\"}\n",
       {"c.yaml:2: workers.count: 1 to 64 is accepted, not `2` in quotes"}},
      {"numbers out of range, below zero, too long, with a fraction",
       "node: {name: n1}\nworkers: {count: 0}\nmemory: {buffers_mb: -1}\n"
       "limits:\n  connections: 99999999999999999999999\n  memory_mb: 1.5\n",
       {"c.yaml:3: memory.buffers_mb: 16 to 1048576 (MiB) is accepted, not `-1`",
        "c.yaml:2: workers.count: 1 to 64 is accepted, not `0`",
        "c.yaml:5: limits.connections: 64 to 16777216 is accepted, not `99999999999999999999999`",
        "c.yaml:6: limits.memory_mb: 16 to 1048576 (MiB) is accepted, not `1.5`"}},
      {"wrong enumerators name the right ones",
       "node: {name: n1}\nmemory: {huge_pages: yes}\nworkers: {poll: Always}\nlog: {level: trace}\n",
       {"c.yaml:2: memory.huge_pages: auto, always, never is accepted, not `yes`",
        "c.yaml:3: workers.poll: adaptive, always is accepted, not `Always`",
        "c.yaml:4: log.level: error, warn, info, debug is accepted, not `trace`"}},
      {"a key given twice", "node:\n  name: n1\n  name: n2\n", {"c.yaml:3: key `name` is given twice"}},
      {"both sockets at one path",
       "node: {name: n1}\ncontrol: {socket: /run/a, descriptors: /run/a}\n",
       {"c.yaml:2: control.descriptors: another path than control.socket is accepted, not the same one"}},
      {"user ids that are none",
       "node: {name: n1}\ncontrol:\n  allowed_uids: [0, root, 0, 4294967295]\n",
       {"c.yaml:3: control.allowed_uids[1]: a user id is accepted, not `root`",
        "c.yaml:3: control.allowed_uids[2]: user id 0 is given twice",
        "c.yaml:3: control.allowed_uids[3]: a user id is accepted, not `4294967295`"}},
      {"nobody may connect",
       "node: {name: n1}\ncontrol: {allowed_uids: []}\n",
       {"c.yaml:2: control.allowed_uids: a list of user ids, at least one, is accepted, not an empty list"}},
      {"user ids that are no list",
       "node: {name: n1}\ncontrol: {allowed_uids: 0}\n",
       {"c.yaml:2: control.allowed_uids: a list of user ids, at least one, is accepted, not `0`"}},
      {"a port that lacks everything",
       "node: {name: n1}\nports:\n  - {}\n",
       {"c.yaml:3: ports[0].name: missing; accepted: 1 to 32 letters, digits, `.`, `-`, `_`",
        "c.yaml:3: ports[0].role: missing; accepted: uplink",
        "c.yaml:3: ports[0].driver: missing; accepted: tap, ethdev"}},
      {"roles and drivers of later releases",
       "node: {name: n1}\nports:\n  - {name: a, role: pods, driver: tap, device: x}\n"
       "  - {name: b, role: host, driver: packet}\n  - {name: c, role: uplnk, driver: dpdk}\n",
       {"c.yaml:3: ports[0].role: `pods` is not built yet; accepted: uplink",
        "c.yaml:4: ports[1].role: `host` is not built yet; accepted: uplink",
        "c.yaml:4: ports[1].driver: `packet` is not built yet; accepted: tap, ethdev",
        "c.yaml:5: ports[2].role: uplink is accepted, not `uplnk`",
        "c.yaml:5: ports[2].driver: tap, ethdev is accepted, not `dpdk`"}},
      {"the other driver's keys",
       "node: {name: n1}\nports:\n  - {name: a, role: uplink, driver: tap, device: t, devargs: x}\n"
       "  - {name: b, role: uplink, driver: ethdev, netns: /x, device: t}\n",
       {"c.yaml:3: ports[0].devargs: belongs to driver ethdev only: remove it here",
        "c.yaml:4: ports[1].devargs: missing; accepted: devargs of a DPDK device, up to 1024 characters without blanks",
        "c.yaml:4: ports[1].netns: belongs to driver tap only: remove it here",
        "c.yaml:4: ports[1].device: belongs to driver tap only: remove it here"}},
      {"names and devices given twice",
       "node: {name: n1}\nports:\n  - {name: a, role: uplink, driver: tap, netns: /n, device: t}\n"
       "  - {name: a, role: uplink, driver: tap, netns: /n, device: t}\n",
       {"c.yaml:4: ports[1].name: name `a` is given twice, first at c.yaml:3",
        "c.yaml:4: ports[1].device: device `/n t` is given twice, first at c.yaml:3"}},
      {"MTUs out of range",
       "node: {name: n1}\nports:\n  - {name: a, role: uplink, driver: tap, device: t, mtu: 70000}\n"
       "  - {name: b, role: uplink, driver: tap, device: u, mtu: 1000, addresses: [\"fd00::1/64\"]}\n",
       {"c.yaml:3: ports[0].mtu: 576 to 65535 is accepted, not `70000`",
        "c.yaml:4: ports[1].mtu: at least 1280 is accepted with an IPv6 address (RFC 8200 5), not 1000"}},
      {"addresses that no host has, and without a length",
       "node: {name: n1}\nports:\n  - name: a\n    role: uplink\n    driver: tap\n    device: t\n"
       "    addresses: [10.0.0.1, 224.0.0.1/8, 10.0.0.1/33, [x]]\n",
       {"c.yaml:7: ports[0].addresses[0]: an address with its prefix length, as 10.9.0.1/8, is accepted, not "
        "`10.0.0.1`",
        "c.yaml:7: ports[0].addresses[1]: an address that one host can have is accepted, not `224.0.0.1/8`",
        "c.yaml:7: ports[0].addresses[2]: an address with its prefix length, as 10.9.0.1/8, is accepted, not "
        "`10.0.0.1/33`",
        "c.yaml:7: ports[0].addresses[3]: an address with its prefix length, as 10.9.0.1/8, is accepted, not a list"}},
      {"routes that lead nowhere",
       "node: {name: n1}\nports:\n  - {name: up, role: uplink, driver: tap, device: t}\nroutes:\n"
       "  - {to: 10.0.0.0/8, port: uplink0}\n  - {to: 10.0.0.0/40, port: up}\n  - {to: fd00::/8, via: 10.0.0.1, port: "
       "up}\n"
       "  - {to: fd00::/8, port: up}\n",
       {"c.yaml:5: routes[0].port: no port has the name `uplink0`; accepted: up",
        "c.yaml:6: routes[1].to: an address block, as 10.0.0.0/8, is accepted, not `10.0.0.0/40`",
        "c.yaml:7: routes[2].via: a router of the same address family as `to` is accepted, not 10.0.0.1",
        "c.yaml:8: routes[3].to: route to `fd00::/8` is given twice, first at c.yaml:7"}},
      {"an attachment that lacks everything",
       "node: {name: n1}\nattachments:\n  - {}\n",
       {"c.yaml:3: attachments[0].id: missing; accepted: 1 to 255 characters without blanks, not beginning with "
        "`port:`,",
        "c.yaml:3: attachments[0].netns: missing; accepted: a path",
        "c.yaml:3: attachments[0].interface: missing; accepted: an interface name of 1 to 15 characters",
        "c.yaml:3: attachments[0].workload: missing; accepted: a workload as namespace/name",
        "c.yaml:3: attachments[0].addresses: missing; accepted: a list of addresses, at least one"}},
      {"attachments that get in each other's way",
       "node: {name: n1}\nports:\n  - {name: up, role: uplink, driver: tap, device: t, addresses: [10.1.0.1/8]}\n"
       "attachments:\n"
       "  - {id: a, netns: /n/a, interface: eth0, workload: demo/a, addresses: [10.1.0.11], gateway: [10.1.0.1]}\n"
       "  - {id: a, netns: /n/a, interface: eth0, workload: demo/b, addresses: [10.1.0.11], gateway: [10.1.0.2, "
       "10.1.0.3]}\n",
       {"c.yaml:6: attachments[1].id: id `a` is given twice, first at c.yaml:5",
        "c.yaml:6: attachments[1].interface: device `/n/a eth0` is given twice, first at c.yaml:5",
        "c.yaml:6: attachments[1].addresses[0]: 10.1.0.11 is given twice, first at c.yaml:5 "
        "(attachments[0].addresses[0])",
        "c.yaml:6: attachments[1].gateway[1]: one IPv4 gateway is accepted, 10.1.0.3 is a second",
        "c.yaml:5: attachments[0].gateway[0]: 10.1.0.1 is an address of its own already, at c.yaml:3 "
        "(ports[0].addresses[0])"}},
      {"attachments with values of the wrong form",
       "node: {name: n1}\nattachments:\n"
       "  - {id: \"port:x\", netns: /n, interface: much-too-long-name, workload: demo, addresses: []}\n  - attach\n",
       {"c.yaml:3: attachments[0].id: 1 to 255 characters without blanks, not beginning with `port:`, is accepted, not "
        "`port:x` in quotes",
        "c.yaml:3: attachments[0].interface: an interface name of 1 to 15 characters is accepted, not "
        "`much-too-long-name`",
        "c.yaml:3: attachments[0].workload: a workload as namespace/name is accepted, not `demo`",
        "c.yaml:3: attachments[0].addresses: a list of addresses, at least one is accepted, not an empty list",
        "c.yaml:4: attachments[1]: a map is accepted, not `attach`"}},
      {"a lifetime without unit, and one that is too short",
       "node: {name: n1}\nca: {leaf_lifetime: 600}\n",
       {"c.yaml:2: ca.leaf_lifetime: a time from 10s to 720h is accepted, not `600`"}},
      {"a lifetime that is too short",
       "node: {name: n1}\nca: {leaf_lifetime: 9s}\n",
       {"c.yaml:2: ca.leaf_lifetime: a time from 10s to 720h is accepted, not `9s`"}},
      {"admin endpoints without a port, with a name, IPv6 without brackets",
       "node: {name: n1}\nadmin: {listen: 127.0.0.1, metrics: \"localhost:1\", readiness: \"::1:15021\"}\n",
       {"c.yaml:2: admin.listen: ADDRESS:PORT, [IPv6]:PORT, or \"\" for none, is accepted, not `127.0.0.1`",
        "c.yaml:2: admin.metrics: ADDRESS:PORT, [IPv6]:PORT, or \"\" for none, is accepted, not `localhost:1` in "
        "quotes",
        "c.yaml:2: admin.readiness: ADDRESS:PORT, [IPv6]:PORT, or \"\" for none, is accepted, not `::1:15021` in "
        "quotes"}},
      {"istiod's keys",
       "node: {name: n1}\nistiod: {address: \"a b\", on_demand: maybe, secret_ttl: 24}\n",
       {"c.yaml:2: istiod.address: https://HOST:PORT, or \"\" for none, is accepted, not `a b` in quotes",
        "c.yaml:2: istiod.on_demand: true or false is accepted, not `maybe`",
        "c.yaml:2: istiod.secret_ttl: a time from 10s to 8760h is accepted, not `24`"}},
      {"a tab, as YAML forbids it", "node:\n\tname: n1\n", {"c.yaml:2: not YAML: illegal map value"}},
      {"two documents",
       "node: {name: n1}\n---\nnode: {name: n2}\n",
       {"c.yaml:3: one document is accepted, a second begins here"}},
      {"control characters do not reach the terminal",
       "node: {name: \"a\\e[31m\"}\n",
       {"c.yaml:1: node.name: 1 to 253 letters, digits, `.`, `-`, `_` is accepted, not `a?[31m` in quotes"}},
  };
  return all;
}

TEST(BadConfiguration, IsRefusedWithFileLineKeyAndWhatIsAccepted) {
  for (const Row& row : rows()) {
    SCOPED_TRACE(row.what);
    const Result<Loaded, Problems> loaded = parse(row.file, "c.yaml", {});
    EXPECT_FALSE(loaded.ok());
    if (!loaded) {
      EXPECT_EQ(loaded.error(), row.problems);
    }
  }
}

TEST(BadConfiguration, NamesTheFlagOrVariableThatIsWrong) {
  Overrides overrides;
  overrides.flags = {{"workers.count", "many"}, {"workers.cout", "2"}};
  overrides.environment = [](const std::string& name) {
    return name == "NODE_NAME" ? std::optional<std::string>("n 1") : std::nullopt;
  };
  const Result<Loaded, Problems> loaded = parse("node: {name: n1}\n", "c.yaml", overrides);
  ASSERT_FALSE(loaded.ok());
  ASSERT_EQ(loaded.error().size(), 3u);
  EXPECT_EQ(loaded.error()[0],
            "environment NODE_NAME: node.name: 1 to 253 letters, digits, `.`, `-`, `_` is accepted, not `n 1`");
  EXPECT_EQ(loaded.error()[1], "flag --set workers.count: workers.count: 1 to 64 is accepted, not `many`");
  EXPECT_EQ(loaded.error()[2].substr(0, 76),
            "flag --set workers.cout: no such key; accepted: admin.listen, admin.metrics,");
}

TEST(BadConfiguration, SaysWhenTheFileCannotBeRead) {
  const Result<Loaded, Problems> missing = load("/nonexistent/culvert.yaml", {});
  ASSERT_FALSE(missing.ok());
  EXPECT_EQ(missing.error(), Problems{"/nonexistent/culvert.yaml: cannot be opened: No such file or directory"});
  const Result<Loaded, Problems> folder = load("/tmp", {});
  ASSERT_FALSE(folder.ok());
  EXPECT_EQ(folder.error(), Problems{"/tmp: cannot be read: Is a directory"});
}

}  // namespace
}  // namespace culvert::config
