// A name is tried in the forms that people write, the exact ones first; where nothing has it, the workloads and
// services that come closest are named.
#include "why/places.h"

#include <algorithm>
#include <charconv>
#include <set>
#include <vector>

#include "why/words.h"

namespace culvert::why {

using snapshot::Mesh;
using snapshot::Service;
using snapshot::Workload;

namespace {

constexpr size_t kSuggestionsMax = 3;

struct Pair {
  std::string_view name_space, name;
};
std::optional<Pair> split(std::string_view text) {
  const size_t slash = text.find('/');
  if (slash == std::string_view::npos || slash == 0 || slash + 1 == text.size()) return std::nullopt;
  return Pair{text.substr(0, slash), text.substr(slash + 1)};
}

// ": shop/a, shop/b and 3 more", or nothing.
std::string listed(const std::set<std::string>& names, std::string_view before) {
  if (names.empty()) return {};
  std::string out(before);
  size_t shown = 0;
  for (const std::string& name : names) {
    if (shown == kSuggestionsMax) break;
    out += (shown++ ? ", " : "") + name;
  }
  if (names.size() > shown) out += " and " + std::to_string(names.size() - shown) + " more";
  return out;
}

// Pods of a Deployment of that name, or pods whose name begins so; in other namespaces, pods of exactly that name.
std::set<std::string> similar_workloads(const Mesh& mesh, const Pair& wanted) {
  std::set<std::string> out;
  mesh.for_each_workload([&](const Workload& w) {
    const bool same_space = w.name_space == wanted.name_space;
    if (same_space ? w.workload_name == wanted.name || w.name.starts_with(wanted.name) : w.name == wanted.name) {
      out.insert(w.name_space + "/" + w.name);
    }
  });
  return out;
}

std::set<std::string> similar_services(const Mesh& mesh, std::string_view name) {
  std::set<std::string> out;
  mesh.for_each_service([&](const Service& s) {
    if (s.name == name || s.hostname.starts_with(std::string(name) + ".")) out.insert(s.key());
  });
  return out;
}

// By its short name; of several the one whose host name sorts first, so that the answer does not depend on a hash.
const Service* service_named(const Mesh& mesh, std::string_view name_space, std::string_view name) {
  const Service* found = nullptr;
  mesh.for_each_service([&](const Service& s) {
    if (s.name_space == name_space && s.name == name && (!found || s.hostname < found->hostname)) found = &s;
  });
  return found;
}

std::string ports_of(const Service& service) {
  std::string out;
  for (const snapshot::PortMapping& port : service.ports) {
    out += (out.empty() ? "" : ", ") + std::to_string(port.service_port);
  }
  return out;
}

std::set<uint16_t> target_ports_of(const Mesh& mesh, const Workload& workload) {
  std::set<uint16_t> out;
  for (const snapshot::ServiceMembership& membership : workload.services) {
    const Service* service = mesh.service(membership.service);
    for (const snapshot::PortMapping& port : membership.ports) {
      if (port.target_port) out.insert(port.target_port);
    }
    if (!service) continue;
    for (const snapshot::PortMapping& port : service->ports) {
      if (port.target_port && !target_port_of(membership.ports, port.service_port)) out.insert(port.target_port);
    }
  }
  return out;
}

// Prefers the family of `like`.
template <class Addresses, class Take>
std::optional<IpAddress> pick(const Addresses& addresses, const Workload& like, Take&& take) {
  std::optional<IpAddress> first;
  for (const auto& entry : addresses) {
    const std::optional<IpAddress> address = take(entry);
    if (!address) continue;
    if (like.addresses.empty() || like.addresses.front().is_v4() == address->is_v4()) return address;
    if (!first) first = address;
  }
  return first;
}

Result<Destination, std::string> service_destination(const Mesh& mesh, const Service& service, uint16_t port,
                                                     const Workload& source) {
  Destination out;
  out.service = &service;
  const auto address = pick(service.vips, source, [&](const snapshot::NetworkAddress& vip) {
    return vip.network == source.network ? std::optional<IpAddress>(vip.address) : std::nullopt;
  });
  if (!address && !service.cidr_vips.empty()) {
    return Failure{"the service " + service.key() + " has a block of addresses: ask for one of " +
                   service.cidr_vips.front().prefix.to_string()};
  }
  if (!address) {
    std::set<std::string> endpoints;
    for (const auto& e : mesh.endpoints(service)) endpoints.insert(name_of(*e.workload));
    const std::string where = source.network.empty() ? "" : " in the network " + source.network;
    return Failure{"the service " + service.key() + " has no address" + where + " that a client could dial" +
                   listed(endpoints, ": ask for one of its endpoints, ")};
  }
  if (port == 0) {
    if (service.ports.size() != 1) {
      return Failure{"the service " + service.key() + " has the ports " + ports_of(service) + ": add one, as in " +
                     service.hostname + ":" +
                     (service.ports.empty() ? "PORT" : std::to_string(service.ports.front().service_port))};
    }
    port = service.ports.front().service_port;
    out.port_assumed = true;
  }
  out.dialled = {*address, port};
  return out;
}

Result<Destination, std::string> workload_destination(const Mesh& mesh, const Workload& workload, uint16_t port,
                                                      const Workload& source) {
  Destination out;
  out.workload = &workload;
  const auto address = pick(workload.addresses, source, [](const IpAddress& a) { return std::optional<IpAddress>(a); });
  if (!address) return Failure{"the workload " + name_of(workload) + " has no address that a client could dial"};
  if (port == 0) {
    const std::set<uint16_t> known = target_ports_of(mesh, workload);
    if (known.size() != 1) {
      std::set<std::string> texts;
      for (const uint16_t p : known) texts.insert(std::to_string(p));
      return Failure{"which port of " + name_of(workload) + "? Add one, as in " + name_of(workload) + ":8080" +
                     listed(texts, "; its services use ")};
    }
    port = *known.begin();
    out.port_assumed = true;
  }
  out.dialled = {*address, port};
  return out;
}

}  // namespace

Result<const Workload*, std::string> find_source(const Mesh& mesh, std::string_view text, std::string_view network) {
  if (const Workload* found = mesh.workload(text)) return found;
  if (const auto address = IpAddress::parse(text)) {
    if (const Workload* found = mesh.workload_at(network, *address)) return found;
    return Failure{"no workload of the mesh has the address " + address->to_string() +
                   (network.empty() ? "" : " in the network " + std::string(network))};
  }
  const auto pair = split(text);
  if (!pair) {
    return Failure{"`" + printable(text) + "` is no workload: NAMESPACE/NAME, a uid or an address is accepted"};
  }
  if (const Workload* found = mesh.local_workload(pair->name_space, pair->name, "")) return found;
  return Failure{"no workload `" + printable(text) + "` in the mesh" +
                 listed(similar_workloads(mesh, *pair), ": did you mean ")};
}

Result<Destination, std::string> find_destination(const Mesh& mesh, std::string_view text, const Workload& source,
                                                  std::string_view network) {
  if (const auto endpoint = Endpoint::parse(text)) {
    if (endpoint->port == 0) return Failure{std::string("port 0: 1 to 65535 is accepted")};
    Destination out;
    out.dialled = *endpoint;
    return out;
  }
  if (const auto address = IpAddress::parse(text)) {
    if (const Service* service = mesh.service_at(source.network, *address, std::string_view(source.name_space))) {
      auto out = service_destination(mesh, *service, 0, source);
      if (out) out->dialled.address = *address;
      return out;
    }
    if (const Workload* workload = mesh.workload_at(network, *address)) {
      auto out = workload_destination(mesh, *workload, 0, source);
      if (out) out->dialled.address = *address;
      return out;
    }
    return Failure{"nothing in the mesh has the address " + address->to_string() + "; add a port to see what happens"};
  }
  // A uid may hold colons; a name may not.
  if (const Workload* workload = mesh.workload(text)) return workload_destination(mesh, *workload, 0, source);

  std::string_view name = text;
  uint16_t port = 0;
  if (const size_t colon = text.rfind(':'); colon != std::string_view::npos) {
    name = text.substr(0, colon);
    const std::string_view digits = text.substr(colon + 1);
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), port);
    if (error != std::errc{} || end != digits.data() + digits.size() || port == 0) {
      return Failure{"port `" + printable(digits) + "`: 1 to 65535 is accepted"};
    }
  }
  if (const Workload* workload = mesh.workload(name)) return workload_destination(mesh, *workload, port, source);
  if (const auto pair = split(name)) {
    if (const Workload* workload = mesh.local_workload(pair->name_space, pair->name, "")) {
      auto out = workload_destination(mesh, *workload, port, source);
      if (out) out->namesake = service_named(mesh, pair->name_space, pair->name);
      return out;
    }
    const Service* service = mesh.service(name);
    if (!service) service = service_named(mesh, pair->name_space, pair->name);
    if (service) return service_destination(mesh, *service, port, source);
    std::set<std::string> similar = similar_workloads(mesh, *pair);
    similar.merge(similar_services(mesh, pair->name));
    return Failure{"no workload or service `" + printable(name) + "` in the mesh" + listed(similar, ": did you mean ")};
  }
  const Service* service = mesh.service_by_hostname(name, source.name_space);
  if (!service) service = service_named(mesh, source.name_space, name);
  if (service) return service_destination(mesh, *service, port, source);
  return Failure{"no service has the host name `" + printable(name) + "`" +
                 listed(similar_services(mesh, name), ": did you mean ")};
}

}  // namespace culvert::why
