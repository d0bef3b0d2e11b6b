// What a good culvert.yaml says, and where each value came from.
#include "config/load.h"

#include <gtest/gtest.h>

#include <map>

namespace culvert::config {
namespace {

constexpr const char* kWholeFile = R"(
node:
  name: n1
  network: net1
  cluster: c1
  trust_domain: example.org
control:
  socket: /run/c.sock
  descriptors: d.sock
  allowed_uids: [0, 1337]
memory: {huge_pages: never, buffers_mb: 64}
workers: {count: 2, poll: always}
ports:
  - name: uplink0
    role: uplink
    driver: tap
    netns: /run/netns/wire
    device: n1-up
    addresses: [10.9.0.1/8, "fd00::1/8"]
    proxy_neighbours: false
    mtu: 9000
  - {name: uplink1, role: uplink, driver: ethdev, devargs: "net_memif0,role=server"}
routes:
  - {to: 10.0.0.0/8, port: uplink0}
  - {to: "::/0", via: fd00::2, port: uplink1}
attachments:
  - {id: n1-p1, netns: /run/netns/p, interface: eth0, workload: demo/n1-p1, addresses: [10.1.0.11, "fd01::11"],
     gateway: [10.1.0.1, "fd01::1"], mtu: 1400}
mesh: {file: mesh.yaml}
istiod: {address: "https://istiod:15012", root: /etc/root.pem, token: /etc/token, on_demand: true, secret_ttl: 2h}
ca: {dir: /etc/ca, leaf_lifetime: 1h30m, crl: crl.pem}
admin: {listen: "[::1]:1500", metrics: "", readiness: 0.0.0.0:0}
drain: {deadline: 25s}
log: {level: debug, format: json}
limits: {connections: 1000, memory_mb: 128}
)";

Loaded good(std::string_view text, const std::string& file = "/etc/culvert/culvert.yaml",
            const Overrides& overrides = {}) {
  Result<Loaded, Problems> loaded = parse(text, file, overrides);
  if (!loaded) {
    for (const std::string& problem : loaded.error()) ADD_FAILURE() << problem;
    return {};
  }
  return std::move(*loaded);
}

std::map<std::string, std::string> by_key(const Loaded& loaded) {
  std::map<std::string, std::string> out;
  for (const Effective& row : loaded.effective) out[row.key] = row.value + " from " + row.origin;
  return out;
}

TEST(Configuration, HoldsEverythingTheFileSays) {
  const Config c = good(kWholeFile).config;
  EXPECT_EQ(c.node.name, "n1");
  EXPECT_EQ(c.node.network, "net1");
  EXPECT_EQ(c.node.cluster, "c1");
  EXPECT_EQ(c.node.trust_domain, "example.org");
  EXPECT_EQ(c.control.socket, "/run/c.sock");
  EXPECT_EQ(c.control.allowed_uids, (std::vector<uint32_t>{0, 1337}));
  EXPECT_EQ(c.memory.huge_pages, HugePages::kNever);
  EXPECT_EQ(c.memory.buffers_mb, 64u);
  EXPECT_EQ(c.workers.count, 2u);
  EXPECT_EQ(c.workers.poll, Poll::kAlways);
  ASSERT_EQ(c.ports.size(), 2u);
  EXPECT_EQ(c.ports[0].name, "uplink0");
  EXPECT_EQ(c.ports[0].driver, Driver::kTap);
  EXPECT_EQ(c.ports[0].netns, "/run/netns/wire");
  EXPECT_EQ(c.ports[0].device, "n1-up");
  EXPECT_EQ(c.ports[0].addresses, (std::vector<Prefix>{*Prefix::parse("10.9.0.1/8"), *Prefix::parse("fd00::1/8")}));
  EXPECT_FALSE(c.ports[0].proxy_neighbours);
  EXPECT_EQ(c.ports[0].mtu, 9000);
  EXPECT_EQ(c.ports[1].driver, Driver::kEthdev);
  EXPECT_EQ(c.ports[1].devargs, "net_memif0,role=server");
  EXPECT_TRUE(c.ports[1].proxy_neighbours);
  ASSERT_EQ(c.routes.size(), 2u);
  EXPECT_EQ(c.routes[0].to, *Prefix::parse("10.0.0.0/8"));
  EXPECT_FALSE(c.routes[0].via.has_value());
  EXPECT_EQ(c.routes[1].via, IpAddress::parse("fd00::2"));
  EXPECT_EQ(c.routes[1].port, "uplink1");
  ASSERT_EQ(c.attachments.size(), 1u);
  EXPECT_EQ(c.attachments[0].id, "n1-p1");
  EXPECT_EQ(c.attachments[0].workload, "demo/n1-p1");
  EXPECT_EQ(c.attachments[0].addresses.size(), 2u);
  EXPECT_EQ(c.attachments[0].gateways.size(), 2u);
  EXPECT_EQ(c.attachments[0].mtu, 1400);
  EXPECT_EQ(c.ca.leaf_lifetime, 90min);
  EXPECT_EQ(c.ca.crl, "/etc/culvert/crl.pem");
  EXPECT_EQ(c.istiod.address, "https://istiod:15012");
  EXPECT_EQ(c.istiod.root, "/etc/root.pem");
  EXPECT_EQ(c.istiod.token, "/etc/token");
  EXPECT_TRUE(c.istiod.on_demand);
  EXPECT_EQ(c.istiod.secret_ttl, 2h);
  EXPECT_EQ(c.admin.listen, "[::1]:1500");
  EXPECT_EQ(c.admin.metrics, "");
  EXPECT_EQ(c.admin.readiness, "0.0.0.0:0");
  EXPECT_EQ(c.drain.deadline, 25s);
  EXPECT_EQ(c.log.level, LogLevel::kDebug);
  EXPECT_EQ(c.log.format, LogFormat::kJson);
  EXPECT_EQ(c.limits.connections, 1000u);
  EXPECT_EQ(c.limits.memory_mb, 128u);
}

TEST(Configuration, StartsRelativePathsAtTheFilesFolder) {
  const Config c = good(kWholeFile).config;
  EXPECT_EQ(c.mesh.file, "/etc/culvert/mesh.yaml");
  EXPECT_EQ(c.control.descriptors, "/etc/culvert/d.sock");
  EXPECT_EQ(c.ca.dir, "/etc/ca");
  EXPECT_EQ(good(kWholeFile, "culvert.yaml").config.mesh.file, "mesh.yaml");
}

TEST(Configuration, NeedsOnlyTheNodesName) {
  const Config c = good("node: {name: n1}\n").config;
  EXPECT_EQ(c.node.cluster, "Kubernetes");
  EXPECT_EQ(c.node.trust_domain, "cluster.local");
  EXPECT_EQ(c.control.socket, "/run/culvert/control.sock");
  EXPECT_EQ(c.control.descriptors, "/run/culvert/descriptors.sock");
  EXPECT_EQ(c.control.allowed_uids, std::vector<uint32_t>{0});
  EXPECT_EQ(c.workers.count, 1u);
  EXPECT_EQ(c.ca.leaf_lifetime, 10min);
  EXPECT_EQ(c.istiod.address, "");
  EXPECT_EQ(c.admin.listen, "127.0.0.1:15000");
  EXPECT_EQ(c.admin.metrics, "[::]:15020");
  EXPECT_EQ(c.admin.readiness, "[::]:15021");
  EXPECT_EQ(c.drain.deadline, 5s);
  EXPECT_TRUE(c.ports.empty());
  EXPECT_EQ(c.mesh.file, "");
}

TEST(Configuration, TakesFlagsBeforeTheEnvironmentBeforeTheFileBeforeTheDefault) {
  Overrides overrides;
  overrides.flags = {{"workers.count", "3"}, {"workers.count", "4"}};
  const std::map<std::string, std::string> variables = {{"CULVERT_WORKERS_COUNT", "5"},
                                                        {"NODE_NAME", "from-ztunnel"},
                                                        {"CULVERT_NODE_CLUSTER", "ours"},
                                                        {"CLUSTER_ID", "ztunnels"},
                                                        {"LOCAL_XDS_PATH", "/etc/local.yaml"}};
  overrides.environment = [&](const std::string& name) -> std::optional<std::string> {
    const auto found = variables.find(name);
    return found == variables.end() ? std::nullopt : std::optional<std::string>(found->second);
  };
  const Loaded loaded = good("node: {name: n1}\nworkers: {count: 2, poll: always}\n", "c.yaml", overrides);
  EXPECT_EQ(loaded.config.workers.count, 4u);
  EXPECT_EQ(loaded.config.node.name, "from-ztunnel");
  EXPECT_EQ(loaded.config.node.cluster, "ours");
  EXPECT_EQ(loaded.config.mesh.file, "/etc/local.yaml");
  const auto rows = by_key(loaded);
  EXPECT_EQ(rows.at("workers.count"), "4 from flag --set workers.count");
  EXPECT_EQ(rows.at("node.name"), "from-ztunnel from environment NODE_NAME");
  EXPECT_EQ(rows.at("node.cluster"), "ours from environment CULVERT_NODE_CLUSTER");
  EXPECT_EQ(rows.at("workers.poll"), "always from c.yaml:2");
  EXPECT_EQ(rows.at("memory.buffers_mb"), "256 from default");
}

TEST(Configuration, ShowsEveryValueOfTheWholeFile) {
  const auto rows = by_key(good(kWholeFile, "c.yaml"));
  EXPECT_EQ(rows.at("ports[0].addresses"), "[10.9.0.1/8, fd00::1/8] from c.yaml:19");
  EXPECT_EQ(rows.at("ports[1].proxy_neighbours"), "true from default");
  EXPECT_EQ(rows.at("attachments[0].gateway"), "[10.1.0.1, fd01::1] from c.yaml:28");
  EXPECT_EQ(rows.at("control.allowed_uids"), "[0, 1337] from c.yaml:10");
  EXPECT_EQ(rows.at("ca.leaf_lifetime"), "90m from c.yaml:31");
  EXPECT_EQ(rows.at("routes[1].via"), "fd00::2 from c.yaml:25");
}

TEST(Configuration, PrintsOneAlignedLinePerValue) {
  const std::string printed = print({{"a", "1", "default"}, {"long.key", "text", "c.yaml:7"}});
  EXPECT_EQ(printed,
            "a        = 1     # default\n"
            "long.key = text  # c.yaml:7\n");
}

}  // namespace
}  // namespace culvert::config
