// A node that only remembers what it was told, a clock that stands still, and a TAP queue to hand around.
#pragma once

#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <sys/ioctl.h>

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "control/node_face.h"
#include "tests/testkit/test_ca.h"

namespace culvert::control {

class FakeClock final : public worker::Clock {
 public:
  Instant now() override { return Instant{passed()}; }
  UnixTime calendar() override {
    return testkit::kTestNow + std::chrono::duration_cast<std::chrono::seconds>(passed());
  }
  void pass(Duration span) { passed_ns_ += span.count(); }

 private:
  Duration passed() const { return Duration{passed_ns_.load()}; }
  std::atomic<int64_t> passed_ns_{1'000'000'000};
};

// The server calls it from its control thread, the test looks from its own: one mutex.
class FakeNode final : public NodeFace {
 public:
  Result<void, std::string> attach(const Attachment& attachment, std::vector<UniqueFd> queues) override {
    const std::lock_guard lock(mutex);
    if (!refuse_attach.empty()) return refuse_attach;
    attached[attachment.spec.id] = attachment;
    queues_of[attachment.spec.id] = std::move(queues);
    calls.push_back("attach " + attachment.spec.id);
    return {};
  }
  bool detach(std::string_view id) override {
    const std::lock_guard lock(mutex);
    calls.push_back("detach " + std::string(id));
    queues_of.erase(std::string(id));
    return attached.erase(std::string(id)) > 0;
  }
  std::vector<std::string> ports_wanted() const override {
    const std::lock_guard lock(mutex);
    return wanted;
  }
  Result<void, std::string> open_port(std::string_view name, std::vector<UniqueFd> queues) override {
    const std::lock_guard lock(mutex);
    if (!refuse_port.empty()) return refuse_port;
    calls.push_back("open " + std::string(name) + " " + std::to_string(queues.size()));
    std::erase(wanted, std::string(name));
    queues_of["port:" + std::string(name)] = std::move(queues);
    return {};
  }
  void publish(std::shared_ptr<const snapshot::Mesh> published) override {
    const std::lock_guard lock(mutex);
    mesh = std::move(published);
    ++meshes;
    if (on_mesh) on_mesh(*mesh);
  }
  void publish(std::shared_ptr<const worker::CredentialMap> published) override {
    const std::lock_guard lock(mutex);
    credentials = std::move(published);
  }
  void publish(std::shared_ptr<const identity::CrlSet> published) override {
    const std::lock_guard lock(mutex);
    crls = std::move(published);
  }
  void drain(Duration deadline) override {
    const std::lock_guard lock(mutex);
    drains.push_back(deadline);
  }
  uint32_t workers() const override { return 2; }
  uint64_t value(uint32_t worker, Counter counter) const override {
    return counter == Counter::kPortRxPacket ? 10 + worker : 0;
  }
  uint64_t value(uint32_t worker, DropReason reason) const override {
    return reason == DropReason::kEthTooShort ? 3 + worker : 0;
  }
  worker::StatusRow status(Duration) override {
    const std::lock_guard lock(mutex);
    worker::StatusRow row{};
    row.snapshot_version = mesh ? mesh->version() : 0;
    row.workers = 2;
    row.attachments = static_cast<uint32_t>(attached.size());
    row.worker_silence = silence;
    row.poll_modes = {"adaptive", "adaptive"};
    return row;
  }
  std::vector<worker::SessionRow> sessions(Duration) override {
    const std::lock_guard lock(mutex);
    return session_rows;
  }
  std::vector<worker::TunnelRow> tunnels(Duration) override {
    const std::lock_guard lock(mutex);
    return tunnel_rows;
  }
  std::vector<worker::PortRow> ports(Duration) override {
    const std::lock_guard lock(mutex);
    return port_rows;
  }
  worker::TrafficReport traffic(Duration) override {
    const std::lock_guard lock(mutex);
    return traffic_report;
  }
  uint64_t log_lines_lost() const override { return lines_lost; }
  size_t take_log_lines(std::vector<std::string>& out, size_t max) override {
    const std::lock_guard lock(mutex);
    size_t taken = 0;
    for (; taken < max && !log_lines.empty(); ++taken) {
      out.push_back(std::move(log_lines.front()));
      log_lines.erase(log_lines.begin());
    }
    return taken;
  }

  mutable std::mutex mutex;
  std::string refuse_attach, refuse_port;
  std::vector<std::string> wanted;
  std::map<std::string, Attachment> attached;
  std::map<std::string, std::vector<UniqueFd>> queues_of;
  std::vector<std::string> calls;
  std::shared_ptr<const snapshot::Mesh> mesh;
  uint64_t meshes = 0;
  std::function<void(const snapshot::Mesh&)> on_mesh;  // called with the mutex held; set before the server starts
  std::shared_ptr<const worker::CredentialMap> credentials;
  std::shared_ptr<const identity::CrlSet> crls;
  std::vector<Duration> drains;
  std::vector<Duration> silence = {0s, 0s};
  std::vector<worker::SessionRow> session_rows;
  std::vector<worker::TunnelRow> tunnel_rows;
  std::vector<worker::PortRow> port_rows;
  std::vector<std::string> log_lines;
  worker::TrafficReport traffic_report;
  std::atomic<uint64_t> lines_lost{0};
};

// A queue of a TAP that vanishes with it. Needs CAP_NET_ADMIN, as every test that opens one says.
inline UniqueFd make_tap_queue(short flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR) {
  UniqueFd queue(::open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK));
  ifreq request{};
  request.ifr_flags = flags;
  if (!queue || ::ioctl(queue.get(), TUNSETIFF, &request) != 0) {
    std::perror("these tests need /dev/net/tun and CAP_NET_ADMIN");
    std::abort();
  }
  return queue;
}

inline std::vector<UniqueFd> one(UniqueFd queue) {
  std::vector<UniqueFd> out;
  out.push_back(std::move(queue));
  return out;
}

// Whether two descriptors are the same TAP.
inline std::string tap_name(int fd) {
  ifreq request{};
  return ::ioctl(fd, TUNGETIFF, &request) == 0 ? request.ifr_name : "";
}

class TemporaryFolder {
 public:
  TemporaryFolder() {
    char pattern[] = "/tmp/culvert-test-XXXXXX";
    path_ = ::mkdtemp(pattern);
  }
  ~TemporaryFolder() { std::filesystem::remove_all(path_); }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

inline Attachment attachment(std::string id, std::vector<std::string> addresses = {"10.1.0.11"},
                             std::string workload = "demo/web") {
  Attachment out;
  out.spec.id = std::move(id);
  out.spec.workload = std::move(workload);
  for (const std::string& address : addresses) out.spec.addresses.push_back(*IpAddress::parse(address));
  out.spec.gateways.push_back(*IpAddress::parse("10.1.0.1"));
  out.interface = "eth0";
  return out;
}

inline snapshot::Workload workload(std::string uid, std::string name, std::string account = "default") {
  snapshot::Workload out;
  out.uid = std::move(uid);
  out.name = std::move(name);
  out.name_space = "demo";
  out.trust_domain = "cluster.local";
  out.service_account = std::move(account);
  out.node = "n1";
  out.tunnel_protocol = snapshot::TunnelProtocol::kHbone;
  return out;
}

inline snapshot::Policy policy(std::string name) {
  snapshot::Policy out;
  out.name = std::move(name);
  out.name_space = "demo";
  return out;
}

}  // namespace culvert::control
