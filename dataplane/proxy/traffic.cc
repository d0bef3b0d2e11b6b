// Who a session is counted for (reference 24): its labels, from the records of both ends, and the flag it ends with.
//
// A session is counted from where its context is known: outbound once routing chose an endpoint, inbound once the pod
// and the port are known; before policy and before anything is connected. What is refused earlier is in no series.
#include <algorithm>
#include <string_view>

#include "proxy/impl.h"

namespace culvert::proxy {

namespace {

TrafficPeer peer_of(const snapshot::Workload& record, std::string_view principal) {
  return {record.workload_name, record.canonical_name,  record.canonical_revision, record.name_space, principal,
          record.cluster_id,    record.locality.region, record.locality.zone};
}

TrafficPeer peer_of(const hbone::Baggage& baggage, std::string_view principal) {
  return {baggage.workload, baggage.service, baggage.revision, baggage.name_space,
          principal,        baggage.cluster, baggage.region,   baggage.zone};
}

void put_service(TrafficLabels& labels, const snapshot::Service* service) {
  if (!service) return;
  labels.service = service->hostname;
  labels.service_namespace = service->name_space;
  labels.service_name = service->name;
}

bool leads_to(const snapshot::PortMap& ports, uint16_t target) {
  return std::any_of(ports.begin(), ports.end(),
                     [&](const snapshot::PortMapping& mapping) { return mapping.target_port == target; });
}

}  // namespace

void Proxy::Impl::begin_traffic(Session& session, const TrafficLabels& labels, Instant now) {
  session.series = &traffic.open(labels, now);
  log(session, AccessEvent::kOpened, {}, now);
}

void Proxy::Impl::begin_outbound_traffic(Session& session, const snapshot::Workload& source,
                                         const routing::OutboundDecision& decision, Instant now) {
  TrafficLabels labels;
  labels.reporter = Reporter::kSource;
  labels.mutual_tls = true;
  labels.localities = true;
  labels.source = peer_of(source, session.src.identity);
  if (decision.endpoint) labels.destination = peer_of(*decision.endpoint, session.dst.identity);
  put_service(labels, decision.service);
  begin_traffic(session, labels, now);
}

void Proxy::Impl::begin_inbound_traffic(Session& session, const snapshot::Workload& destination,
                                        const snapshot::Service* service, Instant now) {
  TrafficLabels labels;
  labels.reporter = Reporter::kDestination;
  labels.mutual_tls = true;
  labels.localities = true;
  const hbone::ConnectRequest& request = *tunnels.request(session.stream);
  const snapshot::Workload* source = source_of(session, request);
  labels.source = source ? peer_of(*source, session.src.identity) : peer_of(request.baggage, session.src.identity);
  labels.destination = peer_of(destination, session.dst.identity);
  put_service(labels, service);
  begin_traffic(session, labels, now);
}

const snapshot::Service* Proxy::Impl::service_meant(const snapshot::Workload& destination, std::string_view forwarded,
                                                    uint16_t target_port) const {
  if (!forwarded.empty()) {
    for (const snapshot::ServiceMembership& membership : destination.services) {
      // "namespace/hostname"
      const std::string_view key = membership.service;
      if (key.ends_with(forwarded) && key.size() > forwarded.size() && key[key.size() - forwarded.size() - 1] == '/') {
        if (const snapshot::Service* service = mesh->service(key)) return service;
      }
    }
  }
  for (const snapshot::ServiceMembership& membership : destination.services) {
    const snapshot::Service* service = mesh->service(membership.service);
    if (service && (leads_to(membership.ports, target_port) || leads_to(service->ports, target_port))) return service;
  }
  return nullptr;
}

ResponseFlag Proxy::Impl::flag_of(hbone::Loss loss, std::string_view text) {
  switch (loss) {
    case hbone::Loss::kConnectTimeout:
      return ResponseFlag::kNetworkPolicy;
    case hbone::Loss::kHandshake:
    case hbone::Loss::kSetupTimeout:
      // Both handshakes of a tunnel fail alike; the text begins with the one that did.
      return text.starts_with("http2 ") ? ResponseFlag::kH2HandshakeFailure : ResponseFlag::kTlsFailure;
    case hbone::Loss::kProtocol:
    case hbone::Loss::kAbuse:
    case hbone::Loss::kPingTimeout:
    case hbone::Loss::kGoaway:
      return ResponseFlag::kH2HandshakeFailure;
    case hbone::Loss::kNoCredentials:
      return ResponseFlag::kIdentityError;
    case hbone::Loss::kRevoked:
      return ResponseFlag::kCertRevoked;
    case hbone::Loss::kNone:
    case hbone::Loss::kConnectRefused:
    case hbone::Loss::kTcpReset:
    case hbone::Loss::kTcpTimeout:
    case hbone::Loss::kTruncated:
    case hbone::Loss::kClosed:
    case hbone::Loss::kNoMemory:
      return ResponseFlag::kConnect;
  }
  return ResponseFlag::kConnect;
}

}  // namespace culvert::proxy
