#include "worker/worker.h"

#include <sys/prctl.h>

#include <array>
#include <utility>

#include "worker/steering.h"

namespace culvert::worker {

namespace {

// Turns between two looks at the descriptors while packets keep coming: a port that is being read is not forgotten for
// longer than this many bursts, and a system call is not spent on every burst.
constexpr uint32_t kLookEvery = 8;

// TCP segments built in one turn, so that a large transfer does not keep received packets waiting.
constexpr size_t kTransmitBudget = 4 * kBurst;

constexpr uint32_t kMailboxKey = 0xffffffff;
constexpr uint32_t kLogRingBytes = 1u << 20;

proxy::Setup proxy_setup(const WorkerSetup& setup) {
  proxy::Setup proxy;
  proxy.node = setup.node->name;
  proxy.network = setup.node->network;
  proxy.link_out = kLinkOut;
  proxy.link_in = kLinkIn;
  proxy.hbone = setup.node->hbone;
  proxy.log = setup.node->log;
  proxy.traffic = setup.node->traffic;
  proxy.seed = setup.seed ^ 0x70726f7879;
  return proxy;
}

tcp::StackLimits stack_limits(const NodeConfig& node) {
  tcp::StackLimits limits;
  limits.connections_max = node.connections_max;
  limits.memory_bytes_max = node.memory_bytes_max;
  return limits;
}

// Every port is wrapped in an OffloadPort, which segments what its device cannot.
tcp::InterfaceLimits limits_of(uint16_t mtu) { return {.mtu = mtu, .tso_bytes_max = 65'535}; }

}  // namespace

Worker::Worker(const WorkerSetup& setup)
    : setup_(setup),
      log_(kLogRingBytes),
      tcp_(stack_limits(*setup.node), *setup.pool, counters_, setup.seed, setup.clock->now()),
      steering_(setup.handover ? setup.handover->steering_of(setup.index, counters_) : nullptr),
      pipeline_(*setup.pool, counters_, tcp_, steering_.get(), setup.seed ^ 0x6c696e6b, setup.clock->now()),
      proxy_(proxy_setup(setup), tcp_, *setup.pool, counters_, *setup.aead, *this, *this, setup.clock->now()),
      now_(setup.clock->now()) {
  DP_CHECK(idle_.watch(mailbox_.wake_fd(), kMailboxKey));
  heartbeat_.store(now_.time_since_epoch().count(), std::memory_order_relaxed);
  const tcp::InterfaceLimits in_node{.mtu = kLinkMtu, .tso_bytes_max = 0};
  tcp_.set_interface(kLinkOut, in_node, proxy_.uplink_filter(), {});
  tcp_.set_interface(kLinkIn, in_node, proxy_.uplink_filter(), {});
  if (setup.handover) {
    tcp_.set_port_filter({[](void* self, InterfaceId interface, const tcp::Tuple& tuple) {
                            const WorkerSetup& own = static_cast<Worker*>(self)->setup_;
                            return interface < kFirstPort ||
                                   owner_of(tuple, own.node->seed, own.node->workers) == own.index;
                          },
                          this});
    setup.handover->set_wake(
        setup.index, [](void* mailbox) { static_cast<Mailbox*>(mailbox)->wake(); }, &mailbox_);
  }
}

Worker::~Worker() = default;

bool Worker::drives_ports() const { return !setup_.handover || setup_.index == Handover::kPortWorker; }

// --- requests ------------------------------------------------------------------------------------------------------

void Worker::add_uplink(InterfaceId id, const UplinkSpec& spec, const std::vector<ip::FibRoute>& routes,
                        std::unique_ptr<port::Port> port) {
  for (const ip::FibRoute& route : routes) pipeline_.fib().add(route);
  tcp_.set_interface(id, limits_of(spec.mtu), proxy_.uplink_filter(), {});
  if (!port) return;
  InterfaceSetup setup;
  setup.id = id;
  setup.name = spec.name;
  setup.role = PortRole::kUplink;
  setup.link.mac.bytes = port->mac();
  for (const Prefix& own : spec.addresses) setup.link.own.push_back(own.address);
  for (const ip::FibRoute& route : routes) {
    setup.link.neighbours.push_back(route.via ? Prefix::host(*route.via) : route.to);
  }
  setup.ip.own = spec.addresses;
  start_port(setup, std::move(port));
  if (!spec.proxy_neighbours) return;
  proxying_.push_back(id);
  for (const auto& [interface, addresses] : pod_addresses_) answer_for(id, addresses);
}

void Worker::attach(InterfaceId id, const AttachmentSpec& spec, uint16_t mtu, std::unique_ptr<port::Port> port) {
  tcp_.set_interface(id, limits_of(mtu), proxy_.pod_filter(), {});
  proxy_.attach(id, {spec.id, spec.workload, spec.addresses, spec.gateways}, now_);
  if (!port) return;
  InterfaceSetup setup;
  setup.id = id;
  setup.name = spec.id;
  setup.role = PortRole::kPods;
  setup.link.mac.bytes = port->mac();
  setup.link.own = spec.gateways;
  for (const IpAddress& address : spec.addresses) setup.link.neighbours.push_back(Prefix::host(address));
  for (const IpAddress& gateway : spec.gateways) setup.ip.own.push_back(Prefix::host(gateway));
  setup.ip.check_source = true;
  setup.ip.sources = spec.addresses;
  start_port(setup, std::move(port));
  pod_addresses_[id] = spec.addresses;
  for (const InterfaceId uplink : proxying_) answer_for(uplink, spec.addresses);
}

void Worker::start_port(const InterfaceSetup& setup, std::unique_ptr<port::Port> port) {
  const int fd = port->wakeup().fd;
  Interface& interface = pipeline_.add(setup, std::move(port), now_);
  const auto key = static_cast<uint32_t>(setup.id);
  if (fd < 0 || !idle_.watch(fd, key)) {
    polled_.push_back(interface.id);
    polled_ports_.store(true, std::memory_order_relaxed);
  }
}

void Worker::detach(InterfaceId id) {
  proxy_.detach(id, now_);
  proxy_.poll(now_, setup_.clock->calendar());
  pipeline_.transmit(now_, SIZE_MAX);
  tcp_.remove_interface(id, now_);
  dispatch_tcp_events();
  if (const auto pod = pod_addresses_.find(id); pod != pod_addresses_.end()) {
    for (const InterfaceId uplink : proxying_) {
      if (Interface* interface = pipeline_.find(uplink)) {
        for (const IpAddress& address : pod->second) interface->link->remove_proxied(address);
      }
    }
    pod_addresses_.erase(pod);
  }
  Interface* interface = pipeline_.find(id);
  if (!interface) return;
  if (const int fd = interface->port->wakeup().fd; fd >= 0) idle_.forget(fd);
  std::erase(polled_, id);
  polled_ports_.store(!polled_.empty(), std::memory_order_relaxed);
  pipeline_.remove(id, now_);
}

void Worker::answer_for(InterfaceId uplink, const std::vector<IpAddress>& addresses) {
  Interface* interface = pipeline_.find(uplink);
  if (!interface) return;
  for (const IpAddress& address : addresses) {
    interface->link->add_proxied(address);
    // Whoever knew the pod elsewhere, or this node before it was restarted, learns where it is now.
    interface->link->announce(address, now_);
  }
  pipeline_.touch(*interface);
}

void Worker::install(std::shared_ptr<const snapshot::Mesh> mesh) { proxy_.install(std::move(mesh), now_); }
void Worker::install(std::shared_ptr<const CredentialMap> credentials) { proxy_.install(std::move(credentials), now_); }
void Worker::install(std::shared_ptr<const identity::CrlSet> crls) { proxy_.install(std::move(crls), now_); }
void Worker::drain(Instant due) { proxy_.drain(due, now_); }

void Worker::list_sessions(std::vector<SessionRow>& rows) {
  proxy_.for_each_session(
      [](void* context, const proxy::SessionInfo& info) {
        SessionRow row;
        row.direction = info.direction;
        row.source = info.source;
        row.destination = info.destination;
        row.hbone_authority = info.hbone_authority;
        row.source_identity = info.source_identity;
        row.destination_identity = info.destination_identity;
        row.tunnel_peer = info.tunnel_peer;
        row.state = info.state;
        row.bytes_sent = info.bytes_sent;
        row.bytes_received = info.bytes_received;
        row.age = info.age;
        static_cast<std::vector<SessionRow>*>(context)->push_back(std::move(row));
      },
      &rows, now_);
}

void Worker::list_tunnels(std::vector<TunnelRow>& rows) {
  tunnels().for_each_tunnel(
      [](void* context, const hbone::TunnelInfo& info) {
        TunnelRow row;
        row.role = info.side == hbone::Side::kClient ? "client" : "server";
        row.local = info.tuple.local;
        row.remote = info.tuple.remote;
        row.local_identity = info.local_identity;
        row.peer_identity = info.peer_identity;
        row.cipher = info.cipher;
        row.group = info.group;
        row.aead = info.aead;
        row.state = info.state;
        row.streams = info.streams;
        row.streams_total = info.streams_total;
        row.records_sealed = info.records_sealed;
        row.records_opened = info.records_opened;
        row.bytes_sealed = info.bytes_sealed;
        row.bytes_opened = info.bytes_opened;
        row.age = info.age;
        static_cast<std::vector<TunnelRow>*>(context)->push_back(std::move(row));
      },
      &rows, now_);
}

// --- a turn --------------------------------------------------------------------------------------------------------

void Worker::dispatch_tcp_events() {
  std::array<tcp::Event, 64> events;
  while (const size_t n = tcp_.take_events(events)) {
    for (size_t i = 0; i < n; ++i) proxy_.on_tcp_event(events[i], now_);
  }
}

bool Worker::turn(Instant now) {
  now_ = now;
  heartbeat_.store(now.time_since_epoch().count(), std::memory_order_relaxed);

  // 1. What the control thread wants.
  const auto requests = mailbox_.take();
  for (const auto& request : requests) request(*this);

  // 2. Packets in: from the ports, and from other workers.
  size_t packets = pipeline_.receive(now);
  if (setup_.handover) packets += setup_.handover->take(setup_.index, pipeline_, now);

  // 3. Timers.
  pipeline_.poll(now);
  tcp_.poll(now);

  // 4 and 5. TCP's events to hbone and proxy; what these wrote goes down to TCP.
  dispatch_tcp_events();
  bool more = proxy_.poll(now, setup_.clock->calendar());

  // 6. Segments out. On the in-node link they arrive at once and cause events of their own, which the next turn sees.
  const uint64_t in_node = counters_.value(Counter::kInNodeSegment);
  more |= pipeline_.transmit(now, kTransmitBudget);
  more |= counters_.value(Counter::kInNodeSegment) != in_node;

  // 7. Frames to the ports. A port that is full is tried again after others had their turn.
  more |= pipeline_.flush(now);

  if (proxy_.drained() && !more && !tcp_.has_output()) drained_.store(true, std::memory_order_release);

  if (packets > 0) busy_at_ = now;
  return more || packets > 0 || !requests.empty();
}

Instant Worker::next_deadline() const {
  return std::min({tcp_.next_deadline(), pipeline_.next_deadline(), proxy_.next_deadline()});
}

void Worker::run(std::stop_token stop, PollMode mode) {
  mode_.store(mode, std::memory_order_relaxed);
  // The kernel may delay a wake-up by the timer slack, 50 us by default: as much as a whole request takes.
  prctl(PR_SET_TIMERSLACK, 1'000, 0, 0, 0);
  const std::stop_callback wake(stop, [this] { mailbox_.wake(); });
  uint32_t since_look = 0;
  while (!stop.stop_requested()) {
    const Instant now = setup_.clock->now();
    const bool more = turn(now);
    if ((more || pipeline_.readable()) && ++since_look < kLookEvery) continue;
    since_look = 0;
    Duration patience{};
    if (!more && !pipeline_.readable()) {
      patience = Idle::patience(mode, now, busy_at_, next_deadline(), !polled_.empty());
    }
    for (const uint32_t key : idle_.ready(patience)) {
      if (key == kMailboxKey) continue;
      if (Interface* interface = pipeline_.find(InterfaceId{static_cast<uint16_t>(key)})) interface->readable = true;
    }
  }
}

// --- for the proxy -------------------------------------------------------------------------------------------------

InterfaceId Worker::interface_for(const IpAddress& destination) {
  const auto hop = pipeline_.next_hop(destination);
  return hop ? hop->interface : kNoInterface;
}

void Worker::log_line(std::string_view line) { log_.put(line); }
bool Worker::has_room() const { return log_.room() >= kLogRingBytes / 4; }

}  // namespace culvert::worker
