// Short ways to write mesh records in tests. What a test does not mention is what istiod would fill for an ordinary pod
// or service of the namespace "shop".
#pragma once

#include <initializer_list>
#include <string>
#include <utility>

#include "base/check.h"
#include "base/ip_address.h"
#include "snapshot/records.h"

namespace culvert::testkit::records {

inline IpAddress ip(std::string_view text) {
  const auto address = IpAddress::parse(text);
  DP_CHECK(address.has_value());
  return *address;
}

inline Prefix cidr(std::string_view text) {
  const auto prefix = Prefix::parse(text);
  DP_CHECK(prefix.has_value());
  return *prefix;
}

inline Endpoint at(std::string_view text) {
  const auto endpoint = Endpoint::parse(text);
  DP_CHECK(endpoint.has_value());
  return *endpoint;
}

// A captured pod: its service account bears its own name.
inline snapshot::Workload pod(const std::string& name, std::initializer_list<std::string_view> addresses,
                              const std::string& name_space = "shop") {
  snapshot::Workload w;
  w.uid = "Kubernetes//Pod/" + name_space + "/" + name;
  w.name = name;
  w.name_space = name_space;
  for (const std::string_view address : addresses) w.addresses.push_back(ip(address));
  w.tunnel_protocol = snapshot::TunnelProtocol::kHbone;
  w.trust_domain = "cluster.local";
  w.service_account = name;
  w.cluster_id = "Kubernetes";
  w.workload_name = name;
  w.workload_type = snapshot::WorkloadType::kPod;
  w.canonical_name = name;
  w.canonical_revision = "v1";
  return w;
}

inline snapshot::PortMap ports(std::initializer_list<std::pair<int, int>> list) {
  snapshot::PortMap out;
  for (const auto& [service_port, target_port] : list) {
    out.push_back({static_cast<uint16_t>(service_port), static_cast<uint16_t>(target_port)});
  }
  return out;
}

inline snapshot::Workload backing(snapshot::Workload w, const std::string& service, snapshot::PortMap map = {}) {
  w.services.push_back({service, std::move(map)});
  return w;
}

inline snapshot::Service service(const std::string& name, std::initializer_list<std::string_view> vips,
                                 snapshot::PortMap map, const std::string& name_space = "shop") {
  snapshot::Service s;
  s.name = name;
  s.name_space = name_space;
  s.hostname = name + "." + name_space + ".svc.cluster.local";
  for (const std::string_view vip : vips) s.vips.push_back({"", ip(vip)});
  s.ports = std::move(map);
  return s;
}

}  // namespace culvert::testkit::records
