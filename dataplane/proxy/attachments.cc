// Pods of this core: who owns an address, which SYN is taken, and whose certificate a tunnel shows.
#include <algorithm>

#include "proxy/impl.h"

namespace culvert::proxy {

const Pod* Proxy::Impl::pod_at(const IpAddress& address) const {
  const auto found = interface_by_address.find(address);
  if (found == interface_by_address.end()) return nullptr;
  const auto pod = pods.find(found->second);
  return pod == pods.end() ? nullptr : &pod->second;
}

const snapshot::Workload* Proxy::Impl::record_of(const Pod& pod) const {
  return mesh->local_workload(pod.name_space, pod.name, setup.node);
}

std::shared_ptr<const identity::Credentials> Proxy::Impl::valid_credentials(const identity::SpiffeId& identity) const {
  const auto found = credentials->find(identity);
  if (found == credentials->end() || !found->second) return nullptr;
  // A certificate that is not valid now proves nothing; the peer would refuse it with a less helpful word.
  const bool valid = calendar_now >= found->second->not_before() && calendar_now < found->second->not_after();
  return valid ? found->second : nullptr;
}

bool Proxy::Impl::is_ready(const Pod& pod) const {
  const snapshot::Workload* record = record_of(pod);
  return record && valid_credentials(record->identity());
}

std::optional<IpAddress> Proxy::Impl::address_like(const std::vector<IpAddress>& addresses, const IpAddress& like) {
  const auto found = std::find_if(addresses.begin(), addresses.end(),
                                  [&](const IpAddress& address) { return address.is_v4() == like.is_v4(); });
  return found == addresses.end() ? std::nullopt : std::optional<IpAddress>(*found);
}

void Proxy::Impl::attach(InterfaceId interface, const Attachment& attachment, Instant now) {
  const size_t slash = attachment.workload.find('/');
  Pod pod{attachment, attachment.workload.substr(0, slash),
          slash == std::string::npos ? std::string() : attachment.workload.substr(slash + 1), now};
  pods[interface] = std::move(pod);
  for (const IpAddress& address : attachment.addresses) interface_by_address[address] = interface;
}

void Proxy::Impl::detach(InterfaceId interface, Instant now) {
  const auto found = pods.find(interface);
  if (found == pods.end()) return;
  for (uint32_t i = 0; i < sessions.slots(); ++i) {
    Session& session = sessions.slot(i);
    if (session.state == SessionState::kFree || session.pod != interface) continue;
    end(session, End::kReset, "connection closed: the pod's attachment was removed", now);
  }
  const std::vector<IpAddress> addresses = found->second.attachment.addresses;
  pods.erase(found);
  for (const IpAddress& address : addresses) {
    const auto owner = interface_by_address.find(address);
    if (owner != interface_by_address.end() && owner->second == interface) interface_by_address.erase(owner);
    tunnels.close_address(address, now);
  }
  tunnels.flush(now);
}

tcp::SynVerdict Proxy::Impl::filter_pod(InterfaceId interface, const tcp::Tuple& tuple) {
  const auto pod = pods.find(interface);
  if (pod == pods.end()) {
    counters.drop(DropReason::kProxySynUnattached);
    return tcp::SynVerdict::kDrop;
  }
  // No answer instead of a reset: the pod's kernel sends its SYN again after a second, and then a successor on the same
  // port takes it. A reset would fail the connection for good.
  if (drain) {
    counters.drop(DropReason::kProxyDraining);
    return tcp::SynVerdict::kDrop;
  }
  const auto& gateways = pod->second.attachment.gateways;
  if (std::find(gateways.begin(), gateways.end(), tuple.local.address) != gateways.end()) {
    counters.drop(DropReason::kProxySynToGateway);
    return tcp::SynVerdict::kRefuse;
  }
  if (sessions.full()) {
    counters.drop(DropReason::kProxySessionsFull);
    return tcp::SynVerdict::kDrop;
  }
  return tcp::SynVerdict::kAccept;
}

tcp::SynVerdict Proxy::Impl::filter_uplink(InterfaceId interface, const tcp::Tuple& tuple) {
  const Pod* pod = pod_at(tuple.local.address);
  if (!pod) {
    counters.drop(DropReason::kProxySynUnattached);
    return tcp::SynVerdict::kDrop;
  }
  if (tuple.local.port != hbone::kHbonePort) {
    counters.drop(DropReason::kProxyInboundPlaintext);
    return tcp::SynVerdict::kRefuse;
  }
  // As for pods. On the in-node link only sessions that were there before ask for a tunnel.
  if (drain && interface != setup.link_in) {
    counters.drop(DropReason::kProxyDraining);
    return tcp::SynVerdict::kDrop;
  }
  // After a start the state comes in pieces. The peer sends its SYN again; a handshake would fail for good.
  if (is_fresh(*pod, last_now) && !is_ready(*pod)) {
    counters.drop(DropReason::kProxyNotReady);
    return tcp::SynVerdict::kDrop;
  }
  return tcp::SynVerdict::kAccept;
}

std::shared_ptr<const identity::Credentials> Proxy::Impl::client(const identity::SpiffeId& identity) {
  auto found = valid_credentials(identity);
  if (!found) {
    counters.drop(credentials->contains(identity) ? DropReason::kProxyCredentialsExpired
                                                  : DropReason::kProxyNoCredentials);
  }
  return found;
}

std::shared_ptr<const identity::Credentials> Proxy::Impl::server(InterfaceId, const IpAddress& local) {
  const Pod* pod = pod_at(local);
  const snapshot::Workload* record = pod ? record_of(*pod) : nullptr;
  if (!record) {
    counters.drop(DropReason::kProxyNoWorkload);
    return nullptr;
  }
  return client(record->identity());
}

}  // namespace culvert::proxy
