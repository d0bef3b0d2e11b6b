// Pods that come and go with connections open.
#include <gtest/gtest.h>

#include "tests/unit/proxy/world.h"

namespace culvert::proxy {
namespace {

using namespace testkit::records;

class Attachments : public testing::Test {
 protected:
  Attachments() {
    for (PodHost* pod : {&client, &neighbour, &server}) pod->listen(80);
    world.publish();
  }
  Conn& open(PodHost& from, const char* to, PodHost& at_pod) {
    const size_t n = at_pod.accepted_count();
    Conn& c = from.connect(at(to));
    c.send(10);
    EXPECT_TRUE(world.run_until([&] { return at_pod.accepted_count() > n && at_pod.accepted(n).received == 10; }, 2s));
    return c;
  }
  World world;
  NodeHost& n1 = world.node("n1");
  NodeHost& n2 = world.node("n2");
  PodHost& client = world.pod(n1, "client", {"10.0.1.1"});
  PodHost& neighbour = world.pod(n1, "neighbour", {"10.0.1.2"});
  PodHost& server = world.pod(n2, "server", {"10.0.2.1"});
};

TEST_F(Attachments, AServerPodThatGoesAwayResetsItsClientsElsewhereAndHere) {
  Conn& local = open(client, "10.0.1.2:80", neighbour);
  Conn& kept = open(client, "10.0.2.1:80", server);
  Conn& back = open(server, "10.0.1.2:80", neighbour);
  world.detach(neighbour);
  ASSERT_TRUE(world.run_until([&] { return local.got_reset && back.got_reset; }, 1s));
  EXPECT_FALSE(local.got_fin || back.got_fin || kept.got_reset);
  kept.send(1000);
  world.run(1s);
  EXPECT_EQ(server.accepted(0).received, 1010u);
  EXPECT_EQ(n1.lines_with({"error=\"connection closed: the pod's attachment was removed\""}), 2u);
  EXPECT_EQ(n1.proxy.attachment_of(ip("10.0.1.2")), kNoInterface);
}

TEST_F(Attachments, AClientPodThatGoesAwayResetsItsServers) {
  open(client, "10.0.2.1:80", server);
  open(client, "10.0.1.2:80", neighbour);
  world.detach(client);
  ASSERT_TRUE(world.run_until([&] { return server.accepted(0).got_reset && neighbour.accepted(0).got_reset; }, 1s));
  EXPECT_FALSE(server.accepted(0).got_fin || neighbour.accepted(0).got_fin);
  ASSERT_TRUE(world.run_until([&] { return world.quiet(); }, 1s));
}

TEST_F(Attachments, APodMayComeBackUnderAnotherInterface) {
  open(client, "10.0.2.1:80", server);
  world.detach(client);
  world.run(1s);
  PodHost& again = world.pod(n1, "client", {"10.0.1.1"});
  world.publish();
  Conn& c = open(again, "10.0.2.1:80", server);
  EXPECT_FALSE(c.got_reset);
  EXPECT_EQ(n1.proxy.attachment_of(ip("10.0.1.1")), again.interface);
}

TEST_F(Attachments, AConnectionThatWaitsForItsRecordEndsWithItsPod) {
  world.mesh.remove_workload("Kubernetes//Pod/shop/client");
  world.publish();
  client.connect(at("10.0.2.1:80"));
  world.run(1s);
  ASSERT_EQ(n1.proxy.sessions(), 1u);
  world.detach(client);
  EXPECT_EQ(n1.proxy.sessions(), 0u);
  world.publish();
  world.run(10s);
}

TEST_F(Attachments, NewCredentialsDoNotTouchOpenTunnels) {
  Conn& c = open(client, "10.0.2.1:80", server);
  world.give_credentials(n1, "client", {});
  world.give_credentials(n2, "server", {});
  c.send(1000);
  world.run(1s);
  EXPECT_FALSE(c.got_reset);
  EXPECT_EQ(server.accepted(0).received, 1010u);
}

}  // namespace
}  // namespace culvert::proxy
