// Links of pods and ports, made in real network namespaces (as root) and looked at with `ip`.
#include "node/pod_link.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sys/ioctl.h>

#include "node/interface.h"
#include "node/tap_queue.h"
#include "tests/unit/controlagent/node/temporary_namespace.h"

namespace culvert::node {
namespace {

using testing::ContainsRegex;
using testing::HasSubstr;
using testing::Not;

LinkSpec spec_in(const TemporaryNamespace& space) {
  return {.name = "n1-p1",
          .netns = space.path(),
          .interface = "eth0",
          .mtu = 1450,
          .pod = true,
          .addresses = {*IpAddress::parse("10.1.0.11"), *IpAddress::parse("fd01::11")},
          .gateways = {*IpAddress::parse("10.1.0.1"), *IpAddress::parse("fd01::1")}};
}

UniqueFd made(KernelLinks& links, const LinkSpec& spec, UniqueFd queue = {}) {
  const auto opened = links.make(spec, queue);
  EXPECT_TRUE(opened) << (opened ? "" : opened.error());
  return queue;
}

std::string error_of(KernelLinks& links, const LinkSpec& spec) {
  UniqueFd none;
  const auto opened = links.make(spec, none);
  EXPECT_FALSE(none);
  return opened ? "(made)" : opened.error();
}

TEST(PodLink, GivesThePodAnInterfaceWithAddressesAndDefaultRoutes) {
  TemporaryNamespace pod;
  KernelLinks links;
  const UniqueFd queue = made(links, spec_in(pod));
  const std::string link = pod.run("ip -d link show eth0");
  EXPECT_THAT(link, HasSubstr("<BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1450"));
  EXPECT_THAT(link, HasSubstr("tun type tap pi off vnet_hdr on persist on"));
  EXPECT_THAT(pod.run("ip -br -4 address show eth0"), HasSubstr("10.1.0.11/32"));
  const std::string v6 = pod.run("ip -6 address show eth0");
  EXPECT_THAT(v6, HasSubstr("inet6 fd01::11/128 scope global nodad"));
  EXPECT_THAT(v6, Not(HasSubstr("fd01::11/128 scope global tentative")));
  EXPECT_THAT(pod.run("ip route"), testing::StrEq("default via 10.1.0.1 dev eth0 proto static onlink \n"));
  EXPECT_THAT(pod.run("ip -6 route show default"), ContainsRegex("default via fd01::1 dev eth0 proto static .*onlink"));
}

TEST(PodLink, HandsOutAQueueWithTheVirtioNetHeaderThatReadsThePodsPackets) {
  TemporaryNamespace pod;
  KernelLinks links;
  const UniqueFd queue = made(links, spec_in(pod));
  ifreq request{};
  ASSERT_EQ(ioctl(queue.get(), TUNGETIFF, &request), 0);
  EXPECT_EQ(request.ifr_flags & (IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | IFF_MULTI_QUEUE),
            IFF_TAP | IFF_NO_PI | IFF_VNET_HDR);
  EXPECT_NE(fcntl(queue.get(), F_GETFL) & O_NONBLOCK, 0);
  // The first thing the pod does is to ask for its gateway: ARP, 14 + 28 bytes behind the header.
  pod.run("timeout 0.3 ping -c 1 -W 1 10.1.0.1");
  bool arp_seen = false;
  uint8_t frame[2048];
  for (ssize_t n; (n = read(queue.get(), frame, sizeof(frame))) > 0;) {
    arp_seen = arp_seen || (n >= 10 + 42 && frame[10 + 12] == 0x08 && frame[10 + 13] == 0x06);
  }
  EXPECT_TRUE(arp_seen);
}

TEST(PodLink, IsLeftAsItIsByASecondAgentThatHasTheQueue) {
  TemporaryNamespace pod;
  KernelLinks links;
  UniqueFd queue = made(links, spec_in(pod));
  const std::string before = pod.run("ip address show eth0") + pod.run("ip route") + pod.run("ip -6 route");
  const int number = queue.get();
  queue = made(links, spec_in(pod), std::move(queue));
  EXPECT_EQ(queue.get(), number) << "the same queue goes on";
  EXPECT_EQ(pod.run("ip address show eth0") + pod.run("ip route") + pod.run("ip -6 route"), before);
}

TEST(PodLink, OutlivesItsQueueAndIsOpenedAgain) {
  TemporaryNamespace pod;
  KernelLinks links;
  UniqueFd queue = made(links, spec_in(pod));
  const std::string mac = pod.run("cat /sys/class/net/eth0/address");
  const std::string link = pod.run("ip -o link show eth0");
  queue.reset();
  EXPECT_THAT(pod.run("ip -br -4 address show eth0"), HasSubstr("10.1.0.11/32")) << "nobody holds it, and it is there";
  EXPECT_THAT(pod.run("ip route"), HasSubstr("default via 10.1.0.1 dev eth0"));
  queue = made(links, spec_in(pod));
  EXPECT_EQ(pod.run("cat /sys/class/net/eth0/address"), mac);
  EXPECT_EQ(pod.run("ip -o link show eth0").substr(0, 8), link.substr(0, 8)) << "the same device, by its index";
}

TEST(PodLink, FollowsAChangedSpecAndTakesOnlyItsOwnThingsAway) {
  TemporaryNamespace pod;
  KernelLinks links;
  pod.run("ip link add other type bridge");
  pod.run("ip address add 10.9.9.9/24 dev other");
  pod.run("ip link set other up");
  pod.run("ip route add default via 10.9.9.1 dev other metric 500");
  LinkSpec spec = spec_in(pod);
  UniqueFd queue = made(links, spec);
  spec.addresses = {*IpAddress::parse("10.1.0.12")};
  spec.gateways = {*IpAddress::parse("10.1.0.2")};
  spec.mtu = 9000;
  queue = made(links, spec, std::move(queue));
  EXPECT_THAT(pod.run("ip -o link show eth0"), HasSubstr("mtu 9000"));
  EXPECT_EQ(pod.run("ip -br -4 address show eth0").find("10.1.0.11"), std::string::npos);
  EXPECT_THAT(pod.run("ip -br -4 address show eth0"), HasSubstr("10.1.0.12/32"));
  EXPECT_THAT(pod.run("ip -6 address show eth0 scope global"), testing::StrEq(""));
  EXPECT_THAT(pod.run("ip -6 route show default"), testing::StrEq(""));
  const std::string routes = pod.run("ip route");
  EXPECT_THAT(routes, HasSubstr("default via 10.1.0.2 dev eth0"));
  EXPECT_THAT(routes, Not(HasSubstr("10.1.0.1 ")));
  EXPECT_THAT(routes, HasSubstr("default via 10.9.9.1 dev other metric 500"));
  EXPECT_THAT(pod.run("ip -br -4 address show other"), HasSubstr("10.9.9.9/24"));
}

TEST(PodLink, AnAddressWithAnotherPrefixLengthIsReplaced) {
  TemporaryNamespace pod;
  KernelLinks links;
  const LinkSpec spec = spec_in(pod);
  UniqueFd queue = made(links, spec);
  pod.run("ip address del 10.1.0.11/32 dev eth0");
  pod.run("ip address add 10.1.0.11/24 dev eth0");
  queue = made(links, spec, std::move(queue));
  const std::string addresses = pod.run("ip -br -4 address show eth0");
  EXPECT_THAT(addresses, HasSubstr("10.1.0.11/32"));
  EXPECT_THAT(addresses, Not(HasSubstr("/24"))) << "the pod would look for its neighbours on its own link";
}

TEST(PodLink, TurnsIpv6OnWhereTheNamespaceHasItOff) {
  TemporaryNamespace pod;
  pod.run("sh -c 'echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6'");
  KernelLinks links;
  const UniqueFd queue = made(links, spec_in(pod));
  EXPECT_THAT(pod.run("ip -6 address show eth0"), HasSubstr("fd01::11/128"));
}

TEST(PodLink, OfAPortHasNeitherAddressesNorRoutes) {
  TemporaryNamespace wire;
  KernelLinks links;
  LinkSpec spec = spec_in(wire);
  spec.pod = false;
  const UniqueFd queue = made(links, spec);
  EXPECT_THAT(wire.run("ip -o link show eth0"), HasSubstr("UP,LOWER_UP> mtu 1450"));
  EXPECT_THAT(wire.run("ip -br address show eth0 scope global"), Not(HasSubstr("10.1.0.11")));
  EXPECT_THAT(wire.run("ip route"), testing::StrEq(""));
}

TEST(PodLink, RemovesTheDeviceWhereverTheQueueLeads) {
  TemporaryNamespace pod;
  KernelLinks links;
  UniqueFd queue = made(links, spec_in(pod));
  pod.run("ip link add other type bridge");
  auto copy = copy_of(queue.get());
  ASSERT_TRUE(copy);
  pod.remove();  // no path leads there any more
  EXPECT_TRUE(links.alive(copy->get()));
  const auto removed = links.remove(queue.get());
  ASSERT_TRUE(removed) << removed.error();
  EXPECT_FALSE(links.alive(copy->get()));
  EXPECT_TRUE(links.remove(queue.get())) << "gone already";
}

TEST(PodLink, NoticesADeviceThatSomebodyElseRemoved) {
  TemporaryNamespace pod;
  KernelLinks links;
  UniqueFd queue = made(links, spec_in(pod));
  EXPECT_TRUE(links.alive(queue.get()));
  pod.run("ip link delete eth0");
  EXPECT_FALSE(links.alive(queue.get()));
  queue = made(links, spec_in(pod), std::move(queue));
  EXPECT_TRUE(links.alive(queue.get())) << "made anew";
  EXPECT_THAT(pod.run("ip route"), HasSubstr("default via 10.1.0.1"));
}

TEST(PodLink, KnowsWhetherAPathStillNamesTheSameNamespace) {
  TemporaryNamespace pod;
  KernelLinks links;
  const auto before = links.namespace_at(pod.path());
  ASSERT_TRUE(before);
  EXPECT_EQ(links.namespace_at(pod.path()), before);
  EXPECT_NE(links.namespace_at(""), before);
  const UniqueFd queue = made(links, spec_in(pod));  // holds the namespace, and so its number
  pod.remove();
  EXPECT_EQ(links.namespace_at(pod.path()), std::nullopt);
  pod.add();
  EXPECT_NE(links.namespace_at(pod.path()), std::nullopt);
  EXPECT_NE(links.namespace_at(pod.path()), before);
}

TEST(PodLink, AQueueOfAnotherNamespaceIsNotGoneOnWith) {
  TemporaryNamespace old_pod, pod;
  KernelLinks links;
  UniqueFd queue = made(links, spec_in(old_pod));
  queue = made(links, spec_in(pod), std::move(queue));
  auto space = namespace_of_device(queue.get());
  ASSERT_TRUE(space);
  EXPECT_EQ(namespace_of(space->get()), links.namespace_at(pod.path()));
}

TEST(PodLink, SaysInOneSentenceWhatItCannotDo) {
  TemporaryNamespace pod;
  KernelLinks links;
  LinkSpec spec = spec_in(pod);
  const UniqueFd queue = made(links, spec);
  EXPECT_EQ(error_of(links, spec), "n1-p1: the queue of TAP device eth0 is open elsewhere");
  pod.run("ip link add eth1 type bridge");
  spec.interface = "eth1";
  EXPECT_EQ(error_of(links, spec), "n1-p1: there is an interface eth1 that is no TAP device of one queue");
  EXPECT_THAT(pod.run("ip link show eth1"), HasSubstr("eth1")) << "and it is left alone";
  spec.interface = "a-name-that-is-too-long";
  EXPECT_EQ(error_of(links, spec), "n1-p1: `a-name-that-is-too-long` is not an interface name (1 to 15 bytes)");
  spec.netns = "/nonexistent";
  EXPECT_EQ(error_of(links, spec), "n1-p1: cannot open the network namespace /nonexistent: No such file or directory");
  spec.netns = "/etc/hostname";
  EXPECT_EQ(error_of(links, spec), "n1-p1: /etc/hostname is not a network namespace");
}

TEST(PodLink, AQueueThatWorksIsKeptWhenItsSettingsCannotBeMade) {
  TemporaryNamespace pod;
  KernelLinks links;
  LinkSpec spec = spec_in(pod);
  UniqueFd queue = made(links, spec);
  spec.mtu = 20;  // below what Ethernet devices take
  const auto refused = links.make(spec, queue);
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error(), HasSubstr("n1-p1: interface eth0: cannot set MAC, MTU and up: "));
  ASSERT_TRUE(queue);
  EXPECT_TRUE(links.alive(queue.get()));
}

TEST(StableMac, IsLocalUnicastAndDependsOnTheWholeName) {
  EXPECT_EQ(stable_mac("n1-p1@eth0"), stable_mac("n1-p1@eth0"));
  std::set<MacAddress> all;
  for (int i = 0; i < 1000; i++) {
    const MacAddress mac = stable_mac("pod-" + std::to_string(i));
    EXPECT_EQ(mac[0] & 3, 2);
    all.insert(mac);
  }
  EXPECT_EQ(all.size(), 1000u);
}

}  // namespace
}  // namespace culvert::node
