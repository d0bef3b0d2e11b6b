#include "tests/unit/proxy/world.h"

#include <algorithm>
#include <array>
#include <optional>

namespace culvert::proxy {

namespace {

uint8_t pattern_at(uint64_t offset, bool from_client) {
  return static_cast<uint8_t>(offset * 131 + (offset >> 8) * 17 + (from_client ? 1 : 77));
}

constexpr uint32_t kChunk = 16'000;

}  // namespace

// --- applications ----------------------------------------------------------------------------------------------------

void Conn::reset() {
  pod_->stack_.abort(id_, pod_->world_.now());
  got_reset = true;
}

void Conn::on_event(tcp::EventKind kind) {
  switch (kind) {
    case tcp::EventKind::kAccepted:
    case tcp::EventKind::kConnected:
      connected = true;
      return;
    case tcp::EventKind::kReset:
    case tcp::EventKind::kRefused:
      got_reset = true;
      return;
    case tcp::EventKind::kTimedOut:
      timed_out = true;
      return;
    case tcp::EventKind::kClosed:
      closed = true;
      return;
    case tcp::EventKind::kReadable:
    case tcp::EventKind::kWritable:
    case tcp::EventKind::kPeerFin:
    case tcp::EventKind::kSent:
      return;
  }
}

bool Conn::work(Instant now) {
  tcp::Stack& stack = pod_->stack_;
  bool did = false;
  if (connected && !got_reset) {
    while (!paused_ && stack.readable_bytes(id_) > 0) {
      const Packet bytes = stack.read(id_, kPacketBytesMax, now);
      if (!bytes) break;
      bytes.for_each([&](ByteView piece) {
        for (const uint8_t byte : piece) intact &= byte == pattern_at(received++, !from_here_);
      });
      did = true;
    }
    if (did && pod_->on_data) pod_->on_data(*this);
    if (!paused_ && !got_fin && stack.peer_finished(id_)) got_fin = did = true;
    while (sent < to_send_ && !finished_) {
      const uint64_t room = std::min<uint64_t>({stack.writable_bytes(id_), to_send_ - sent, kChunk});
      if (room == 0) break;
      std::array<uint8_t, kChunk> bytes;
      for (uint64_t i = 0; i < room; ++i) bytes[i] = pattern_at(sent + i, from_here_);
      Packet packet = pod_->world_.pool->take_copy({bytes.data(), static_cast<size_t>(room)});
      if (!packet || !stack.write(id_, std::move(packet), now)) break;
      sent += room;
      did = true;
    }
    if (finish_wanted_ && sent == to_send_ && !finished_) {
      stack.shutdown_write(id_, now);
      finished_ = did = true;
    }
  }
  return did;
}

PodHost::PodHost(World& world, std::string name_in, std::vector<IpAddress> addresses_in, uint64_t seed)
    : name(std::move(name_in)),
      addresses(std::move(addresses_in)),
      world_(world),
      stack_({}, *world.pool, counters_, seed, world.now()) {
  stack_.set_interface(InterfaceId{0}, {.mtu = 1500, .tso_bytes_max = 65'535}, {&PodHost::filter, this}, {});
}

tcp::SynVerdict PodHost::filter(void* self, InterfaceId, const tcp::Tuple& tuple) {
  return static_cast<PodHost*>(self)->listening_.contains(tuple.local.port) ? tcp::SynVerdict::kAccept
                                                                            : tcp::SynVerdict::kRefuse;
}

Conn& PodHost::connect(const Endpoint& to) {
  IpAddress from = addresses.front();
  for (const IpAddress& address : addresses) {
    if (address.is_v4() == to.address.is_v4()) from = address;
  }
  const auto id = stack_.connect(InterfaceId{0}, {{from, 0}, to}, {}, world_.now());
  DP_CHECK(id.ok());
  conns_.push_back(std::make_unique<Conn>(*this, *id, true));
  Conn& conn = *conns_.back();
  conn.local = stack_.tuple(*id)->local;
  conn.remote = to;
  return conn;
}

bool PodHost::work(Instant now) {
  bool did = false;
  std::array<tcp::Event, 16> events;
  while (const size_t n = stack_.take_events(events)) {
    did = true;
    for (size_t i = 0; i < n; ++i) {
      const auto found = std::find_if(conns_.begin(), conns_.end(),
                                      [&](const auto& conn) { return conn->id_ == events[i].connection; });
      Conn* conn = found == conns_.end() ? nullptr : found->get();
      if (!conn && events[i].kind == tcp::EventKind::kAccepted) {
        conns_.push_back(std::make_unique<Conn>(*this, events[i].connection, false));
        conn = conns_.back().get();
        const tcp::Tuple* tuple = stack_.tuple(events[i].connection);
        conn->local = tuple->local;
        conn->remote = tuple->remote;
        conn->connected = true;
        accepted_.push_back(conn);
        if (on_accept) on_accept(*conn);
      }
      if (!conn) continue;
      // What arrived before an end is read before it.
      conn->work(now);
      conn->on_event(events[i].kind);
    }
    for (auto& conn : conns_) conn->work(now);
  }
  for (auto& conn : conns_) did |= conn->work(now);
  return did;
}

// --- nodes -----------------------------------------------------------------------------------------------------------

namespace {

Setup setup_of(const std::string& name, const hbone::Limits& limits, const LogSettings& log, uint64_t seed) {
  Setup setup;
  setup.node = name;
  setup.link_out = World::kLinkOut;
  setup.link_in = World::kLinkIn;
  setup.hbone = limits;
  setup.sessions_max = 1000;
  setup.log = &log;
  setup.seed = seed;
  return setup;
}

}  // namespace

NodeHost::NodeHost(World& world_in, const std::string& name_in, const hbone::Limits& limits, uint64_t seed)
    : world(world_in),
      name(name_in),
      stack({}, *world.pool, counters, seed, world.now()),
      proxy(setup_of(name_in, limits, log_settings, seed), stack, *world.pool, counters, world.aead, *this, *this,
            world.now()) {
  log_settings.access = LogLevel::kDebug;
  const tcp::InterfaceLimits wire{.mtu = 1500, .tso_bytes_max = 65'535};
  for (const InterfaceId id : {World::kLinkOut, World::kLinkIn, World::kUplink}) {
    stack.set_interface(id, wire, proxy.uplink_filter(), {});
  }
}

InterfaceId NodeHost::interface_for(const IpAddress& destination) {
  // 203.0.113.0/24 has no route.
  return Prefix::parse("203.0.113.0/24")->contains(destination) ? kNoInterface : World::kUplink;
}

size_t NodeHost::lines_with(std::initializer_list<std::string_view> texts) const {
  return static_cast<size_t>(std::count_if(log.begin(), log.end(), [&](const std::string& line) {
    return std::all_of(texts.begin(), texts.end(),
                       [&](std::string_view text) { return line.find(text) != std::string::npos; });
  }));
}

std::vector<SessionInfo> NodeHost::sessions(Instant now) const {
  std::vector<SessionInfo> rows;
  proxy.for_each_session(
      [](void* context, const SessionInfo& info) { static_cast<std::vector<SessionInfo>*>(context)->push_back(info); },
      &rows, now);
  return rows;
}

// --- world -----------------------------------------------------------------------------------------------------------

World::World() : pool(BufferPool::on_heap({.small = 65'536, .large = 16'384, .view = 131'072})) {}

World::~World() {
  wire_.clear();
  // Stacks give their buffers back before the pool goes.
  nodes_.clear();
  pods_.clear();
}

NodeHost& World::node(const std::string& name, const hbone::Limits& limits) {
  nodes_.push_back(std::make_unique<NodeHost>(*this, name, limits, 1000 + nodes_.size()));
  return *nodes_.back();
}

PodHost& World::pod(NodeHost& node, const std::string& name, const std::vector<std::string>& texts) {
  std::vector<IpAddress> addresses;
  for (const std::string& text : texts) addresses.push_back(testkit::records::ip(text));
  pods_.push_back(std::make_unique<PodHost>(*this, name, addresses, 2000 + pods_.size()));
  PodHost& pod = *pods_.back();
  pod.node = &node;
  pod.interface = InterfaceId{node.next_interface++};
  node.pods[pod.interface] = &pod;
  node.stack.set_interface(pod.interface, {.mtu = 1500, .tso_bytes_max = 65'535}, node.proxy.pod_filter(), {});
  node.proxy.attach(
      pod.interface,
      {name, "shop/" + name, addresses, {testkit::records::ip("169.254.1.1"), testkit::records::ip("fe80::1")}}, now_);
  snapshot::Workload record = testkit::records::pod(name, {});
  record.addresses = addresses;
  record.node = node.name;
  mesh.upsert(std::move(record));
  give_credentials(node, name, {});
  return pod;
}

void World::give_credentials(NodeHost& node, const std::string& service_account, const testkit::LeafOptions& options) {
  const identity::SpiffeId id{"cluster.local", "shop", service_account};
  testkit::LeafOptions leaf = options;
  if (leaf.uri_sans.empty()) leaf.uri_sans = {id.uri()};
  node.credentials[id] = ca.credentials(leaf);
  node.proxy.install(std::make_shared<const CredentialMap>(node.credentials), now_);
}

void World::take_credentials(NodeHost& node, const std::string& service_account) {
  node.credentials.erase({"cluster.local", "shop", service_account});
  node.proxy.install(std::make_shared<const CredentialMap>(node.credentials), now_);
}

void World::publish() {
  const auto version = mesh.publish();
  for (auto& node : nodes_) node->proxy.install(version, now_);
}

void World::detach(PodHost& pod) {
  NodeHost& node = *pod.node;
  node.proxy.detach(pod.interface, now_);
  node.proxy.poll(now_, calendar());
  collect(node.stack, &node, nullptr);
  node.stack.remove_interface(pod.interface, now_);
  dispatch(node);
  node.pods.erase(pod.interface);
  mesh.remove_workload("Kubernetes//Pod/shop/" + pod.name);
}

void World::join_wire(const IpAddress& address, tcp::Stack& stack, std::function<bool()> turn) {
  guests_[address] = {&stack, std::move(turn)};
}

void World::leave_wire(const IpAddress& address) {
  tcp::Stack* stack = guests_.at(address).stack;
  std::erase_if(wire_, [&](const InFlight& flight) { return flight.to == stack; });
  guests_.erase(address);
}

void World::dispatch(NodeHost& node) {
  std::array<tcp::Event, 32> events;
  while (const size_t n = node.stack.take_events(events)) {
    for (size_t i = 0; i < n; ++i) node.proxy.on_tcp_event(events[i], now_);
  }
}

void World::collect(tcp::Stack& from, NodeHost* node, PodHost* pod) {
  std::array<tcp::OutSegment, 16> out;
  while (const size_t n = from.take_output(out, now_)) {
    for (size_t i = 0; i < n; ++i) {
      tcp::OutSegment& o = out[i];
      const auto parsed = wire::parse_tcp(o.packet.front());
      DP_CHECK(parsed.ok());
      InFlight flight;
      flight.due = now_ + kWireDelay;
      flight.segment.header = parsed->header;
      flight.segment.tuple = {{o.destination, parsed->header.destination_port}, {o.source, parsed->header.source_port}};
      o.packet.trim_front(o.header_bytes);
      flight.segment.payload = std::move(o.packet);
      flight.to = nullptr;
      if (pod) {  // from a pod's kernel to its node
        flight.to = &pod->node->stack;
        flight.segment.interface = pod->interface;
      } else if (node && o.interface == kLinkOut) {
        flight.to = &node->stack;
        flight.segment.interface = kLinkIn;
      } else if (node && o.interface == kLinkIn) {
        flight.to = &node->stack;
        flight.segment.interface = kLinkOut;
      } else if (node && o.interface != kUplink) {  // to a pod
        const auto to = node->pods.find(o.interface);
        if (to != node->pods.end()) flight.to = &to->second->stack_;
        flight.segment.interface = InterfaceId{0};
      } else if (const auto guest = guests_.find(o.destination); guest != guests_.end()) {
        flight.to = guest->second.stack;
        flight.segment.interface = InterfaceId{0};
      } else {  // the wire between the nodes
        for (auto& other : nodes_) {
          for (const auto& [interface, host] : other->pods) {
            if (std::find(host->addresses.begin(), host->addresses.end(), o.destination) != host->addresses.end()) {
              flight.to = &other->stack;
            }
          }
        }
        flight.segment.interface = kUplink;
      }
      const bool on_the_wire = !pod && flight.segment.interface == kUplink;
      if (on_the_wire && on_wire && !on_wire(flight.segment)) continue;
      if (flight.to) wire_.push_back(std::move(flight));
    }
  }
}

bool World::step() {
  bool did = false;
  while (!wire_.empty() && wire_.front().due <= now_) {
    InFlight flight = std::move(wire_.front());
    wire_.pop_front();
    flight.to->on_segment(std::move(flight.segment), now_);
    did = true;
  }
  for (auto& node : nodes_) {
    node->stack.poll(now_);
    dispatch(*node);
    did |= node->proxy.poll(now_, calendar());
    collect(node->stack, node.get(), nullptr);
  }
  for (auto& pod : pods_) {
    pod->stack_.poll(now_);
    did |= pod->work(now_);
    collect(pod->stack_, nullptr, pod.get());
  }
  for (auto& [address, guest] : guests_) {
    tcp::Stack* stack = guest.stack;
    stack->poll(now_);
    if (guest.turn) did |= guest.turn();
    std::array<tcp::OutSegment, 16> out;
    while (const size_t n = stack->take_output(out, now_)) {
      for (size_t i = 0; i < n; ++i) {
        const auto parsed = wire::parse_tcp(out[i].packet.front());
        InFlight flight;
        flight.due = now_ + kWireDelay;
        flight.segment.header = parsed->header;
        flight.segment.tuple = {{out[i].destination, parsed->header.destination_port},
                                {out[i].source, parsed->header.source_port}};
        flight.segment.interface = kUplink;
        out[i].packet.trim_front(out[i].header_bytes);
        flight.segment.payload = std::move(out[i].packet);
        for (auto& node : nodes_) {
          if (node->proxy.attachment_of(out[i].destination) != kNoInterface) flight.to = &node->stack;
        }
        if (flight.to) wire_.push_back(std::move(flight));
      }
    }
  }
  return did;
}

Instant World::next_deadline() const {
  Instant next = wire_.empty() ? kNever : wire_.front().due;
  for (const auto& node : nodes_) next = std::min({next, node->stack.next_deadline(), node->proxy.next_deadline()});
  for (const auto& pod : pods_) next = std::min(next, pod->stack_.next_deadline());
  for (const auto& [address, guest] : guests_) next = std::min(next, guest.stack->next_deadline());
  return next;
}

bool World::run_until(const std::function<bool()>& condition, Duration patience) {
  const Instant end = now_ + patience;
  for (;;) {
    const bool did = step();
    if (condition()) return true;
    if (did) continue;
    // Time moves when nothing is left to do in this instant. Deadlines may be told a little early: never stand still.
    const Instant next = std::max(next_deadline(), now_ + 10us);
    if (next > end) {
      now_ = end;
      return condition();
    }
    now_ = next;
  }
}

void World::run(Duration duration) {
  run_until([] { return false; }, duration);
}

bool World::quiet() const {
  for (const auto& node : nodes_) {
    if (node->proxy.sessions() != 0 || const_cast<NodeHost&>(*node).proxy.tunnels().streams() != 0) return false;
  }
  return true;
}

}  // namespace culvert::proxy
