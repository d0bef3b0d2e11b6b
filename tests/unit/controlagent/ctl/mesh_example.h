// A mesh of two nodes in ztunnel's local format, for commands that read files.
#pragma once

#include <string>

#include "tests/unit/control/fake_node.h"

namespace culvert::ctl {

inline constexpr const char* kMeshFile = R"(
workloads:
- {uid: Kubernetes//Pod/shop/web, name: web, namespace: shop, workloadIps: [10.0.1.10], node: n2, protocol: HBONE,
   trustDomain: cluster.local, serviceAccount: web, services: {}}
- {uid: Kubernetes//Pod/shop/api-1, name: api-1, namespace: shop, workloadIps: [10.0.2.10], node: n3, protocol: HBONE,
   trustDomain: cluster.local, serviceAccount: api, services: {shop/api.shop.svc.cluster.local: {80: 8080}},
   authorizationPolicies: [shop/web-only, shop/gone]}
- {uid: Kubernetes//Pod/shop/api-2, name: api-2, namespace: shop, workloadIps: [10.0.2.11], node: n3,
   trustDomain: cluster.local, serviceAccount: api, services: {shop/api.shop.svc.cluster.local: {80: 8080}}}
services:
- {name: api, namespace: shop, hostname: api.shop.svc.cluster.local, vips: [/10.96.0.1], ports: {80: 8080}}
policies:
- {name: web-only, namespace: shop, scope: WorkloadSelector, action: Allow, dryRun: false,
   rules: [[[{principals: [{Exact: cluster.local/ns/shop/sa/web}]}], [{destinationPorts: [8080]}]]]}
)";

// A file of the test's folder with this text; returns its path.
inline std::string written(const control::TemporaryFolder& folder, const std::string& name, const std::string& text) {
  const std::string path = folder / name;
  std::FILE* file = std::fopen(path.c_str(), "wb");
  EXPECT_NE(file, nullptr);
  if (file) {
    std::fwrite(text.data(), 1, text.size(), file);
    std::fclose(file);
  }
  return path;
}

}  // namespace culvert::ctl
