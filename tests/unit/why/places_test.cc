// Whom the words of a question name, and what is said when they name nobody.
#include "tests/unit/why/mesh.h"

namespace culvert::why {
namespace {

class Places : public Why {
 protected:
  Places() {
    Service api = service("api", {"fd96::1", "10.96.0.1"}, ports({{80, 8080}, {443, 8443}}));
    builder.upsert(api);
    builder.upsert(service("one", {"10.96.0.2"}, ports({{80, 8080}})));
    Workload w = pod("api-7d9f-1", {"10.0.0.2", "fd00::2"});
    w.workload_name = "api";
    builder.upsert(backing(backing(w, kApi), "shop/one.shop.svc.cluster.local"));
    builder.upsert(backing(pod("solo", {"10.0.0.3"}), "shop/one.shop.svc.cluster.local"));
    builder.upsert(pod("idle", {"10.0.0.4"}));
  }
};

TEST_F(Places, TheSourceIsNamedInThreeWays) {
  for (const char* from : {"shop/web", "Kubernetes//Pod/shop/web", "10.0.0.1", "fd00::1"}) {
    SCOPED_TRACE(from);
    const auto told = ask(from, "10.0.0.3:80");
    ASSERT_TRUE(told) << told.error();
    EXPECT_EQ(told->from, "shop/web");
  }
}

TEST_F(Places, TheDestinationIsNamedInEveryFormThatPeopleWrite) {
  const std::pair<const char*, const char*> kRows[] = {
      {"10.96.0.1:80", "10.96.0.1:80"},
      {"[fd96::1]:443", "[fd96::1]:443"},
      {"shop/api.shop.svc.cluster.local:80", "10.96.0.1:80"},  // the source's own family comes first
      {"api.shop.svc.cluster.local:443", "10.96.0.1:443"},
      {"shop/api:80", "10.96.0.1:80"},
      {"api:80", "10.96.0.1:80"},
      {"shop/api-7d9f-1:9000", "10.0.0.2:9000"},
      {"Kubernetes//Pod/shop/api-7d9f-1:9000", "10.0.0.2:9000"},
      {"10.0.0.2:1", "10.0.0.2:1"},
      {"8.8.8.8:53", "8.8.8.8:53"},
      // Without a port, where only one is possible.
      {"one", "10.96.0.2:80"},
      {"10.96.0.2", "10.96.0.2:80"},
      {"shop/solo", "10.0.0.3:8080"},
      {"10.0.0.3", "10.0.0.3:8080"},
      {"Kubernetes//Pod/shop/solo", "10.0.0.3:8080"},
  };
  for (const auto& [to, dialled] : kRows) EXPECT_EQ(answer(to).to, dialled) << to;
}

TEST_F(Places, WhatNamesNobodyIsAnsweredWithWhatMayHaveBeenMeant) {
  const std::pair<std::pair<const char*, const char*>, const char*> kRows[] = {
      {{"shop/api", "api:80"}, "no workload `shop/api` in the mesh: did you mean shop/api-7d9f-1"},
      {{"other/web", "api:80"}, "no workload `other/web` in the mesh: did you mean shop/web"},
      {{"web", "api:80"}, "`web` is no workload: NAMESPACE/NAME, a uid or an address is accepted"},
      {{"10.9.9.9", "api:80"}, "no workload of the mesh has the address 10.9.9.9"},
      {{"shop/web", "aip:80"}, "no service has the host name `aip`"},
      {{"shop/web", "other/api:80"},
       "no workload or service `other/api` in the mesh: did you mean shop/api.shop.svc.cluster.local"},
      {{"shop/web", "api"},
       "the service shop/api.shop.svc.cluster.local has the ports 80, 443: add one, as in "
       "api.shop.svc.cluster.local:80"},
      {{"shop/web", "shop/idle"}, "which port of shop/idle? Add one, as in shop/idle:8080"},
      {{"shop/web", "shop/api-7d9f-1"},
       "which port of shop/api-7d9f-1? Add one, as in shop/api-7d9f-1:8080; its services use 8080, 8443"},
      {{"shop/web", "api:http"}, "port `http`: 1 to 65535 is accepted"},
      {{"shop/web", "api:0"}, "port `0`: 1 to 65535 is accepted"},
      {{"shop/web", "10.96.0.1:0"}, "port 0: 1 to 65535 is accepted"},
      {{"shop/web", "api:70000"}, "port `70000`: 1 to 65535 is accepted"},
      {{"shop/web", "10.9.9.9"}, "nothing in the mesh has the address 10.9.9.9; add a port to see what happens"},
      {{"shop/web", ""}, "no service has the host name ``"},
      {{"a\nb", "api:80"}, "`a?b` is no workload: NAMESPACE/NAME, a uid or an address is accepted"},
  };
  for (const auto& [asked, sentence] : kRows) EXPECT_EQ(error(asked.first, asked.second), sentence);
}

TEST_F(Places, AServiceWithoutAnAddressNamesItsEndpoints) {
  builder.upsert(service("headless", {}, ports({{80, 8080}})));
  builder.upsert(backing(pod("h-1", {"10.0.0.5"}), "shop/headless.shop.svc.cluster.local"));
  EXPECT_EQ(error("shop/web", "headless:80"),
            "the service shop/headless.shop.svc.cluster.local has no address that a client could dial: ask for one of "
            "its endpoints, shop/h-1");
  Service block = service("block", {}, ports({{80, 8080}}));
  block.cidr_vips = {{"", cidr("172.16.0.0/24")}};
  builder.upsert(block);
  EXPECT_EQ(error("shop/web", "block:80"),
            "the service shop/block.shop.svc.cluster.local has a block of addresses: ask for one of 172.16.0.0/24");
}

TEST_F(Places, APodAndAServiceOfOneNameAreToldApart) {
  builder.upsert(pod("api", {"10.0.0.7"}));
  const Explanation told = answer("shop/api:80");
  EXPECT_EQ(told.to, "10.0.0.7:80");
  EXPECT_EQ(lines(told.steps, StepKind::kDestination), std::vector<std::string>{"the service of that name is " + kApi});
}

TEST_F(Places, TheClientsNamespaceDecidesAmongServicesOfOneAddressAndName) {
  Service ours = service("db", {"240.0.0.1"}, ports({{80, 8080}}));
  ours.hostname = "db.example.com";
  Service theirs = service("db", {"240.0.0.1"}, ports({{80, 9090}}), "other");
  theirs.hostname = "db.example.com";
  theirs.canonical = true;
  builder.upsert(ours);
  builder.upsert(theirs);
  EXPECT_EQ(said(answer("db.example.com:80").steps, StepKind::kDestination),
            "ok 240.0.0.1:80 is an address of the service shop/db.example.com");
  const Explanation told = answer("other/db.example.com:80");
  EXPECT_EQ(lines(told.steps, StepKind::kDestination),
            std::vector<std::string>{"asked for was other/db.example.com, which shares the address: for this client "
                                     "shop/db.example.com has it"});
}

}  // namespace
}  // namespace culvert::why
