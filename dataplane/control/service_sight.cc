// Status, sessions, tunnels, ports, counters, drop reasons and traffic series, for culvertctl and the metrics.
#include "control/api/status.grpc.pb.h"
#include "control/service_status.h"

namespace culvert::control {

namespace {

uint64_t milliseconds(Duration d) { return d.count() < 0 ? 0 : static_cast<uint64_t>(to_ms(d)); }

void put(const Endpoint& endpoint, api::SocketAddress& out) {
  const ByteView wire = endpoint.address.wire();
  out.set_address(std::string(text_of(wire)));
  out.set_port(endpoint.port);
}

void put(const worker::SessionRow& row, api::Session& out) {
  out.set_direction(row.direction);
  put(row.source, *out.mutable_source());
  put(row.destination, *out.mutable_destination());
  out.set_hbone_authority(row.hbone_authority);
  out.set_source_identity(row.source_identity);
  out.set_destination_identity(row.destination_identity);
  out.set_tunnel_peer(row.tunnel_peer);
  out.set_state(row.state);
  out.set_bytes_sent(row.bytes_sent);
  out.set_bytes_received(row.bytes_received);
  out.set_age_ms(milliseconds(row.age));
}

void put(const worker::TunnelRow& row, api::Tunnel& out) {
  out.set_role(row.role);
  put(row.local, *out.mutable_local());
  put(row.remote, *out.mutable_remote());
  out.set_local_identity(row.local_identity);
  out.set_peer_identity(row.peer_identity);
  out.set_cipher(row.cipher);
  out.set_group(row.group);
  out.set_aead(row.aead);
  out.set_state(row.state);
  out.set_streams(row.streams);
  out.set_streams_total(row.streams_total);
  out.set_records_sealed(row.records_sealed);
  out.set_records_opened(row.records_opened);
  out.set_bytes_sealed(row.bytes_sealed);
  out.set_bytes_opened(row.bytes_opened);
  out.set_age_ms(milliseconds(row.age));
}

void put(const worker::PortRow& row, api::Port& out) {
  out.set_name(row.name);
  out.set_attachment(row.attachment);
  out.set_driver(row.driver);
  out.set_role(row.role == worker::PortRole::kPods     ? api::Port::PODS
               : row.role == worker::PortRole::kUplink ? api::Port::UPLINK
                                                       : api::Port::HOST);
  out.set_mtu(row.mtu);
  out.set_queues(row.queues);
  out.set_mac(std::string(row.mac.begin(), row.mac.end()));
  out.set_link_up(row.link_up);
  out.set_receive_wakeup(row.receive_wakeup);
  const port::Offloads& offloads = row.offloads;
  if (offloads.rx_checksum) out.add_offloads("rx_checksum");
  if (offloads.tx_ip_checksum) out.add_offloads("tx_ip_checksum");
  if (offloads.tx_checksum) out.add_offloads("tx_checksum");
  if (offloads.tso) out.add_offloads("tso " + std::to_string(offloads.tso_bytes_max));
  if (offloads.lro) out.add_offloads("lro");
  if (offloads.scatter) out.add_offloads("scatter " + std::to_string(offloads.tx_segments_max));
  out.set_rx_packets(row.stats.rx_packets);
  out.set_rx_bytes(row.stats.rx_bytes);
  out.set_rx_errors(row.stats.rx_errors);
  out.set_rx_no_buffer(row.stats.rx_no_buffer);
  out.set_tx_packets(row.stats.tx_packets);
  out.set_tx_bytes(row.stats.tx_bytes);
  out.set_tx_errors(row.stats.tx_errors);
  out.set_tx_full(row.stats.tx_full);
}

void put(const TrafficPeer& peer, api::TrafficRow::Peer& out) {
  out.set_workload(std::string(peer.workload));
  out.set_canonical_service(std::string(peer.canonical_service));
  out.set_canonical_revision(std::string(peer.canonical_revision));
  out.set_workload_namespace(std::string(peer.name_space));
  out.set_principal(std::string(peer.principal));
  out.set_cluster(std::string(peer.cluster));
  out.set_region(std::string(peer.region));
  out.set_zone(std::string(peer.zone));
}

// One flag's row of a label set.
void put(const TrafficSample& sample, const TrafficLabels& labels, ResponseFlag flag, api::TrafficRow& out) {
  out.set_reporter(labels.reporter == Reporter::kSource ? api::TrafficRow::SOURCE : api::TrafficRow::DESTINATION);
  put(labels.source, *out.mutable_source());
  put(labels.destination, *out.mutable_destination());
  out.set_destination_service(std::string(labels.service));
  out.set_destination_service_namespace(std::string(labels.service_namespace));
  out.set_destination_service_name(std::string(labels.service_name));
  out.set_response_flags(std::string(name_of(flag)));
  out.set_mutual_tls(labels.mutual_tls);
  out.set_localities(labels.localities);
  const uint64_t closed = sample.closed[static_cast<size_t>(flag)];
  out.set_closed(closed);
  if (flag != ResponseFlag::kNone) {
    out.set_failed(closed);
    return;
  }
  out.set_opened(sample.opened);
  out.set_received_bytes(sample.received_bytes);
  out.set_sent_bytes(sample.sent_bytes);
}

// A counter's or drop reason's row; `Key` is the enum. Counters are atomic: any thread reads them.
template <class Key>
api::CounterRow row_of(Key key, const NodeFace& node, bool per_worker) {
  api::CounterRow out;
  out.set_name(std::string(name_of(key)));
  out.set_text(std::string(text_of(key)));
  if constexpr (std::is_same_v<Key, Counter>) {
    out.set_unit(std::string(unit_of(key)));
  } else {
    out.set_unit("drops");
    out.set_room(std::string(room_of(key)));
  }
  uint64_t sum = 0;
  for (uint32_t worker = 0; worker < node.workers(); ++worker) {
    const uint64_t value = node.value(worker, key);
    sum += value;
    if (per_worker) out.add_by_worker(value);
  }
  out.set_value(sum);
  return out;
}

class SightService final : public api::Sight::Service {
 public:
  explicit SightService(Desk& desk) : desk_(desk) {}

  grpc::Status Status(grpc::ServerContext* context, const api::StatusRequest*, api::StatusReply* reply) override {
    if (const grpc::Status checked = check_contract(desk_, *context); !checked.ok()) return checked;
    const auto report = desk_.thread.call([&] { return desk_.controller.status(); });
    if (!report) return stopping();
    const worker::StatusRow& node = report->node;
    reply->set_build(desk_.build);
    reply->set_node(desk_.node);
    reply->set_instance(desk_.controller.instance());
    reply->set_contract(desk_.contract_max);
    reply->set_uptime_ms(milliseconds(report->uptime));
    reply->set_snapshot_version(node.snapshot_version);
    reply->set_mesh_version(report->mesh_version);
    reply->set_workloads(node.workloads);
    reply->set_services(node.services);
    reply->set_policies(node.policies);
    reply->set_attachments(node.attachments);
    reply->set_identities(static_cast<uint32_t>(report->identities_valid));
    reply->set_connections(node.connections);
    reply->set_sessions(node.sessions);
    reply->set_tunnels(node.tunnels);
    for (size_t i = 0; i < node.worker_silence.size(); ++i) {
      api::StatusReply::Worker& worker = *reply->add_workers();
      worker.set_silent_ms(milliseconds(node.worker_silence[i]));
      if (i < node.poll_modes.size()) worker.set_poll(node.poll_modes[i]);
    }
    reply->set_strangers_refused(desk_.strangers.load(std::memory_order_relaxed));
    reply->set_log_lines_lost(desk_.log_lines_lost());
    for (const std::string& name : report->descriptors_wanted) reply->add_descriptors_wanted(name);
    reply->set_agent_connected(report->agent_connected);
    return grpc::Status::OK;
  }

  grpc::Status Sessions(grpc::ServerContext* context, const api::SessionsRequest*,
                        grpc::ServerWriter<api::SessionRows>* writer) override {
    if (const grpc::Status checked = check_contract(desk_, *context); !checked.ok()) return checked;
    const auto rows = desk_.thread.call([&] { return desk_.controller.sessions(); });
    return rows ? stream_rows(*rows, *writer) : stopping();
  }

  grpc::Status Tunnels(grpc::ServerContext* context, const api::TunnelsRequest*,
                       grpc::ServerWriter<api::TunnelRows>* writer) override {
    if (const grpc::Status checked = check_contract(desk_, *context); !checked.ok()) return checked;
    const auto rows = desk_.thread.call([&] { return desk_.controller.tunnels(); });
    return rows ? stream_rows(*rows, *writer) : stopping();
  }

  grpc::Status Ports(grpc::ServerContext* context, const api::PortsRequest*, api::PortRows* reply) override {
    if (const grpc::Status checked = check_contract(desk_, *context); !checked.ok()) return checked;
    const auto rows = desk_.thread.call([&] { return desk_.controller.ports(); });
    if (!rows) return stopping();
    for (const worker::PortRow& row : *rows) put(row, *reply->add_rows());
    return grpc::Status::OK;
  }

  grpc::Status Traffic(grpc::ServerContext* context, const api::TrafficRequest*,
                       grpc::ServerWriter<api::TrafficRows>* writer) override {
    if (const grpc::Status checked = check_contract(desk_, *context); !checked.ok()) return checked;
    const auto report = desk_.thread.call([&] { return desk_.controller.traffic(); });
    if (!report) return stopping();
    if (report->workers_silent > 0) {
      return {grpc::StatusCode::UNAVAILABLE,
              "traffic cannot be summed: " + std::to_string(report->workers_silent) + " of the workers did not answer"};
    }
    api::TrafficRows message;
    for (const TrafficSample& sample : report->samples) {
      const TrafficLabels labels = sample.key->labels();
      for (size_t i = 0; i < kResponseFlags; ++i) {
        const auto flag = static_cast<ResponseFlag>(i);
        if (flag == ResponseFlag::kNone || sample.closed[i] > 0) put(sample, labels, flag, *message.add_rows());
      }
      if (static_cast<size_t>(message.rows_size()) < kRowsPerMessage) continue;
      if (!writer->Write(message)) return grpc::Status::OK;
      message.Clear();
    }
    api::TrafficRows::Totals& totals = *message.mutable_totals();
    totals.set_source_sockets_open(report->pod_connections);
    totals.set_destination_sockets_open(report->server_tunnels);
    totals.set_series(report->series);
    totals.set_overflowed(report->overflowed);
    writer->Write(message);
    return grpc::Status::OK;
  }

  grpc::Status Counters(grpc::ServerContext* context, const api::CountersRequest* request,
                        api::CounterRows* reply) override {
    return count<Counter, kCounters>(*context, request->per_worker(), *reply);
  }

  grpc::Status Drops(grpc::ServerContext* context, const api::CountersRequest* request,
                     api::CounterRows* reply) override {
    return count<DropReason, kDropReasons>(*context, request->per_worker(), *reply);
  }

 private:
  template <class Key, size_t N>
  grpc::Status count(const grpc::ServerContext& context, bool per_worker, api::CounterRows& reply) {
    if (const grpc::Status checked = check_contract(desk_, context); !checked.ok()) return checked;
    const auto done = desk_.thread.call([&] {
      for (size_t i = 0; i < N; ++i) {
        *reply.add_rows() = row_of(static_cast<Key>(i), desk_.controller.node(), per_worker);
      }
      return true;
    });
    return done ? grpc::Status::OK : stopping();
  }

  template <class Row, class Message>
  static grpc::Status stream_rows(const std::vector<Row>& rows, grpc::ServerWriter<Message>& writer) {
    Message message;
    for (const Row& row : rows) {
      put(row, *message.add_rows());
      if (static_cast<size_t>(message.rows_size()) < kRowsPerMessage) continue;
      if (!writer.Write(message)) return grpc::Status::OK;
      message.Clear();
    }
    if (message.rows_size() > 0) writer.Write(message);
    return grpc::Status::OK;
  }

  Desk& desk_;
};

}  // namespace

std::unique_ptr<grpc::Service> make_sight_service(Desk& desk) { return std::make_unique<SightService>(desk); }

}  // namespace culvert::control
