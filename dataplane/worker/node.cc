#include "worker/node.h"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <functional>
#include <mutex>

#include "worker/handover.h"
#include "worker/worker.h"

namespace culvert::worker {

namespace {

// Rows gathered by workers for a caller that waits. Kept alive by both sides: a worker that answers late finds its
// slot, not a dangling reference.
template <class Row>
struct Gathering {
  std::mutex mutex;
  std::condition_variable answered;
  std::vector<Row> rows;
  uint32_t missing = 0;
};

// Slots of traffic series that a worker looks at between two turns: well below a millisecond.
constexpr uint32_t kTrafficSlotsPerTurn = 1024;

// A worker that has not said by then that it is drained will not say it.
constexpr Duration kDrainSilence = 3s;

std::array<uint8_t, 6> mac_of(const Interface& interface) { return interface.port->mac(); }

}  // namespace

struct Node::Impl {
  NodeConfig config;
  Clock& clock;
  tls::AeadBackend& aead;
  std::vector<std::unique_ptr<BufferPool>> pools;
  std::unique_ptr<Handover> handover;
  std::vector<std::unique_ptr<Worker>> workers;

  struct Attached {
    AttachmentSpec spec;
    InterfaceId interface;
  };
  std::map<std::string, Attached, std::less<>> attachments;
  std::map<std::string, InterfaceId, std::less<>> uplinks;
  std::vector<bool> interfaces_used;

  // What the workers may still hold. Freed here, on the control thread, once they have let go.
  std::vector<std::shared_ptr<const snapshot::Mesh>> meshes;
  std::vector<std::shared_ptr<const CredentialMap>> credentials;
  std::vector<std::shared_ptr<const identity::CrlSet>> crls;
  std::atomic<int64_t> drain_due{kNever.time_since_epoch().count()};  // written by control, read by any thread

  explicit Impl(const NodeConfig& c, Clock& k, tls::AeadBackend& a) : config(c), clock(k), aead(a) {}

  Worker& port_worker() { return *workers[Handover::kPortWorker]; }

  void post_all(const Mailbox::Request& request) {
    for (const auto& worker : workers) worker->mailbox().post(request);
  }

  InterfaceId take_interface() {
    for (size_t i = static_cast<size_t>(kFirstPort); i < static_cast<size_t>(kNoInterface); ++i) {
      if (i >= interfaces_used.size()) interfaces_used.resize(i + 1);
      if (interfaces_used[i]) continue;
      interfaces_used[i] = true;
      return InterfaceId{static_cast<uint16_t>(i)};
    }
    return kNoInterface;
  }

  // Runs `gather` on every worker and waits for their rows.
  template <class Row>
  std::vector<Row> ask(Duration patience, std::function<void(Worker&, std::vector<Row>&)> gather) {
    auto gathering = std::make_shared<Gathering<Row>>();
    gathering->missing = static_cast<uint32_t>(workers.size());
    post_all([gathering, gather](Worker& worker) {
      std::vector<Row> rows;
      gather(worker, rows);
      const std::lock_guard lock(gathering->mutex);
      std::move(rows.begin(), rows.end(), std::back_inserter(gathering->rows));
      --gathering->missing;
      gathering->answered.notify_one();
    });
    std::unique_lock lock(gathering->mutex);
    gathering->answered.wait_for(lock, patience, [&] { return gathering->missing == 0; });
    return std::move(gathering->rows);
  }

  template <class T>
  static void forget_unused(std::vector<std::shared_ptr<const T>>& versions) {
    std::erase_if(versions, [](const auto& version) { return version.use_count() == 1; });
  }
};

Node::Node(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Node::~Node() = default;

Result<std::unique_ptr<Node>, std::string> Node::make(const NodeConfig& config, Clock& clock, tls::AeadBackend& aead,
                                                      bool mempools) {
  auto impl = std::make_unique<Impl>(config, clock, aead);
  if (config.workers > 1) impl->handover = std::make_unique<Handover>(config.workers, config.seed);
  // Mempools have names of at most 25 characters, unique in the process, in which other nodes may live.
  const std::string prefix = std::to_string(reinterpret_cast<uintptr_t>(impl.get()) >> 4) + "w";
  for (uint32_t i = 0; i < config.workers; ++i) {
    auto pool = mempools ? BufferPool::on_mempools((prefix + std::to_string(i)).c_str(), config.buffers, SOCKET_ID_ANY)
                         : BufferPool::on_heap(config.buffers);
    if (!pool) {
      return std::string("not enough memory for the packet buffers: lower memory.buffers_mb or reserve huge pages");
    }
    impl->pools.push_back(std::move(pool));
    WorkerSetup setup;
    setup.index = i;
    setup.node = &impl->config;
    setup.clock = &clock;
    setup.aead = &aead;
    setup.pool = impl->pools.back().get();
    setup.handover = impl->handover.get();
    // Each worker draws from a stream of its own.
    setup.seed = config.seed + 0x9e3779b97f4a7c15ULL * (i + 1);
    impl->workers.push_back(std::make_unique<Worker>(setup));
  }
  return std::unique_ptr<Node>(new Node(std::move(impl)));
}

Result<InterfaceId, std::string> Node::add_uplink(const UplinkSpec& spec, std::unique_ptr<port::Port> port) {
  if (impl_->uplinks.contains(spec.name)) return "port " + spec.name + ": there is an uplink of that name already";
  const InterfaceId id = impl_->take_interface();
  if (id == kNoInterface) return "port " + spec.name + ": no interface number is left";
  impl_->uplinks.emplace(spec.name, id);

  auto routes = std::make_shared<std::vector<ip::FibRoute>>();
  for (const Prefix& own : spec.addresses) routes->push_back({own, id, std::nullopt});
  for (const Route& route : impl_->config.routes) {
    if (route.port == spec.name) routes->push_back({route.to, id, route.via});
  }
  auto shared_port = std::make_shared<std::unique_ptr<port::Port>>(std::move(port));
  impl_->post_all([id, spec, routes, shared_port](Worker& worker) {
    // Requests run in the order of the workers' mailboxes, on their own threads; the port goes to the one that drives
    // it, the others need to know its limits only.
    worker.add_uplink(id, spec, *routes, worker.drives_ports() ? std::move(*shared_port) : nullptr);
  });
  return id;
}

Result<InterfaceId, std::string> Node::attach(const AttachmentSpec& spec, std::unique_ptr<port::Port> port) {
  if (impl_->attachments.contains(spec.id)) return "attachment " + spec.id + ": attached already";
  if (spec.addresses.empty()) return "attachment " + spec.id + ": no address";
  for (const auto& [id, other] : impl_->attachments) {
    for (const IpAddress& address : spec.addresses) {
      if (std::find(other.spec.addresses.begin(), other.spec.addresses.end(), address) != other.spec.addresses.end()) {
        return "attachment " + spec.id + ": " + address.to_string() + " belongs to attachment " + id;
      }
    }
  }
  const InterfaceId id = impl_->take_interface();
  if (id == kNoInterface) return "attachment " + spec.id + ": no interface number is left";
  impl_->attachments.emplace(spec.id, Impl::Attached{spec, id});
  const uint16_t mtu = port->mtu();
  auto shared_port = std::make_shared<std::unique_ptr<port::Port>>(std::move(port));
  impl_->post_all([id, spec, mtu, shared_port](Worker& worker) {
    worker.attach(id, spec, mtu, worker.drives_ports() ? std::move(*shared_port) : nullptr);
  });
  return id;
}

bool Node::detach(std::string_view id) {
  const auto found = impl_->attachments.find(id);
  if (found == impl_->attachments.end()) return false;
  const InterfaceId interface = found->second.interface;
  impl_->attachments.erase(found);
  impl_->interfaces_used[static_cast<size_t>(interface)] = false;
  impl_->post_all([interface](Worker& worker) { worker.detach(interface); });
  return true;
}

std::vector<AttachmentSpec> Node::attachments() const {
  std::vector<AttachmentSpec> all;
  for (const auto& [id, attached] : impl_->attachments) all.push_back(attached.spec);
  return all;
}

void Node::publish(std::shared_ptr<const snapshot::Mesh> mesh) {
  impl_->meshes.push_back(mesh);
  impl_->post_all([mesh](Worker& worker) { worker.install(mesh); });
  mesh.reset();
  Impl::forget_unused(impl_->meshes);
}

void Node::publish(std::shared_ptr<const CredentialMap> credentials) {
  impl_->credentials.push_back(credentials);
  impl_->post_all([credentials](Worker& worker) { worker.install(credentials); });
  credentials.reset();
  Impl::forget_unused(impl_->credentials);
}

void Node::publish(std::shared_ptr<const identity::CrlSet> crls) {
  impl_->crls.push_back(crls);
  impl_->post_all([crls](Worker& worker) { worker.install(crls); });
  crls.reset();
  Impl::forget_unused(impl_->crls);
}

void Node::drain(Duration deadline) {
  const Instant due = impl_->clock.now() + deadline;
  const int64_t soonest = std::min(impl_->drain_due.load(), due.time_since_epoch().count());
  impl_->drain_due.store(soonest);
  impl_->post_all([due](Worker& worker) { worker.drain(due); });
}

bool Node::drained() const {
  const Instant due{Duration{impl_->drain_due.load()}};
  if (due == kNever) return false;
  if (impl_->clock.now() >= due + kDrainSilence) return true;
  return std::all_of(impl_->workers.begin(), impl_->workers.end(), [](const auto& w) { return w->drained(); });
}

uint64_t Node::value(Counter counter) const {
  uint64_t sum = 0;
  for (const auto& worker : impl_->workers) sum += worker->counters().value(counter);
  return sum;
}

uint64_t Node::value(DropReason reason) const {
  uint64_t sum = 0;
  for (const auto& worker : impl_->workers) sum += worker->counters().value(reason);
  return sum;
}

const Counters& Node::counters(uint32_t worker) const { return impl_->workers[worker]->counters(); }

StatusRow Node::status(Duration patience) {
  struct Part {
    uint32_t connections, sessions, tunnels;
  };
  StatusRow row{};
  row.version = CULVERT_VERSION;
  row.node = impl_->config.name;
  row.workers = static_cast<uint32_t>(impl_->workers.size());
  row.attachments = static_cast<uint32_t>(impl_->attachments.size());
  if (!impl_->meshes.empty()) {
    const snapshot::Mesh& mesh = *impl_->meshes.back();
    row.snapshot_version = mesh.version();
    row.workloads = static_cast<uint32_t>(mesh.workload_count());
    row.services = static_cast<uint32_t>(mesh.service_count());
    row.policies = static_cast<uint32_t>(mesh.policy_count());
  }
  if (!impl_->credentials.empty()) row.identities = static_cast<uint32_t>(impl_->credentials.back()->size());
  const Instant now = impl_->clock.now();
  for (const auto& worker : impl_->workers) {
    row.worker_silence.push_back(now - worker->heartbeat());
    const bool always = worker->poll_mode() == PollMode::kAlways;
    row.poll_modes.push_back(always ? "always: looks at its ports without a pause"
                             : worker->polls_ports()
                                 ? "adaptive: some ports have no receive interrupt and are looked at every 500 us"
                                 : "adaptive: blocks on its ports when idle");
  }
  for (const Part& part : impl_->ask<Part>(patience, [](Worker&worker, std::vector<Part>&rows) {
         rows.push_back({worker.tcp().connections(), worker.proxy().sessions(), worker.tunnels().tunnels()});
       })) {
    row.connections += part.connections;
    row.sessions += part.sessions;
    row.tunnels += part.tunnels;
  }
  return row;
}

std::vector<SessionRow> Node::sessions(Duration patience) {
  return impl_->ask<SessionRow>(patience,
                                [](Worker& worker, std::vector<SessionRow>& rows) { worker.list_sessions(rows); });
}

std::vector<TunnelRow> Node::tunnels(Duration patience) {
  return impl_->ask<TunnelRow>(patience,
                               [](Worker& worker, std::vector<TunnelRow>& rows) { worker.list_tunnels(rows); });
}

std::vector<PortRow> Node::ports(Duration patience) {
  return impl_->ask<PortRow>(patience, [](Worker& worker, std::vector<PortRow>& rows) {
    worker.pipeline().for_each_interface([&](Interface& interface) {
      const port::Port& device = interface.port->device();
      PortRow row;
      row.name = interface.name;
      row.attachment = interface.role == PortRole::kPods ? interface.name : "";
      row.driver = device.driver();
      row.role = interface.role;
      row.mtu = device.mtu();
      row.queues = device.queues();
      row.mac = mac_of(interface);
      row.link_up = device.link_up();
      row.receive_wakeup = device.wakeup().fd >= 0;
      row.offloads = device.offloads();
      row.stats = device.stats();
      rows.push_back(std::move(row));
    });
  });
}

TrafficReport Node::traffic(Duration patience) {
  struct Part {
    uint32_t worker = 0;
    uint32_t next = 0;
    std::vector<TrafficSample> samples;
    proxy::Proxy::TrafficTotals totals;
  };
  TrafficReport report;
  std::vector<uint32_t> next(impl_->workers.size(), 0);
  std::vector<bool> done(impl_->workers.size(), false);
  while (std::find(done.begin(), done.end(), false) != done.end()) {
    std::vector<Part> parts = impl_->ask<Part>(patience, [next, done](Worker& worker, std::vector<Part>& rows) {
      Part part;
      part.worker = worker.index();
      if (!done[part.worker]) part.next = worker.sample_traffic(next[part.worker], kTrafficSlotsPerTurn, part.samples);
      if (!done[part.worker] && part.next == 0) part.totals = worker.proxy().traffic_totals();
      rows.push_back(std::move(part));
    });
    if (parts.size() < impl_->workers.size()) {
      report.workers_silent = static_cast<uint32_t>(impl_->workers.size() - parts.size());
      return report;
    }
    for (Part& part : parts) {
      std::move(part.samples.begin(), part.samples.end(), std::back_inserter(report.samples));
      report.pod_connections += part.totals.pod_connections;
      report.server_tunnels += part.totals.server_tunnels;
      report.series += part.totals.series;
      report.overflowed += part.totals.overflowed;
      next[part.worker] = part.next;
      done[part.worker] = part.next == 0;
    }
  }
  if (impl_->workers.size() > 1) report.samples = summed(std::move(report.samples));
  return report;
}

size_t Node::take_log_lines(std::vector<std::string>& out, size_t max) {
  size_t taken = 0;
  for (const auto& worker : impl_->workers) {
    std::string line;
    while (taken < max && worker->log().take(line)) {
      out.push_back(std::move(line));
      ++taken;
    }
  }
  return taken;
}

uint64_t Node::log_lines_lost() const {
  uint64_t sum = 0;
  for (const auto& worker : impl_->workers) sum += worker->log().lost();
  return sum;
}

uint32_t Node::workers() const { return static_cast<uint32_t>(impl_->workers.size()); }
Worker& Node::worker(uint32_t index) { return *impl_->workers[index]; }
const BufferPool& Node::pool(uint32_t worker) const { return *impl_->pools[worker]; }
uint64_t Node::steering_seed() const { return impl_->config.seed; }
BufferPool& Node::port_pool() { return *impl_->pools[Handover::kPortWorker]; }

}  // namespace culvert::worker
