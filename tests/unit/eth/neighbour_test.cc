// The neighbour machine as a dialogue: RFC 4861 7.2, 7.3 with the times of its section 10.
#include "tests/unit/eth/link_fixture.h"

namespace culvert::eth {
namespace {

class NeighbourTest : public LinkFixture {
 protected:
  NeighbourTest() {
    config.neighbours = {*Prefix::parse("10.0.0.0/8"), *Prefix::parse("fd00::/16")};
    config.times.reachable = 30s;
  }
  NeighbourState state(std::string_view address = "10.0.0.2") const {
    const auto n = link->find(ip(address), now);
    EXPECT_TRUE(n) << "unknown " << address;
    return n ? n->state : NeighbourState::kIncomplete;
  }
  static PacketBuilder frame_to(const wire::MacAddress& to, std::string_view destination, std::string_view text) {
    PacketBuilder b;
    b.eth(to, kOurs);
    ip(destination).is_v4() ? b.ipv4("10.9.9.9", destination) : b.ipv6("fd99::9", destination);
    return b.udp(1, 2).payload(text);
  }
  // The pod answers a question that is on its way.
  void resolve(std::string_view address = "10.0.0.2") {
    sends(address);
    out.clear();
    receives(arp_reply(kOurs, kPod, address, "10.0.0.1"));
    out.clear();
    ASSERT_EQ(state(address), NeighbourState::kReachable);
  }
  static PacketBuilder probe(const wire::MacAddress& at) {
    return arp(at, kOurs, wire::ArpMessage::Operation::kRequest, "10.0.0.1", "10.0.0.2");
  }
};

TEST_F(NeighbourTest, FirstPacketAsksAndLeavesWithTheAnswer) {
  make();
  EXPECT_EQ(sends("10.0.0.2", "first"), Encapsulated::kHeld);
  EXPECT_EQ(sends("10.0.0.2", "second"), Encapsulated::kHeld);
  expect_sent(arp_request(kOurs, "10.0.0.1", "10.0.0.2"));
  expect_nothing_sent();
  EXPECT_EQ(state(), NeighbourState::kIncomplete);
  receives(arp_reply(kOurs, kPod, "10.0.0.2", "10.0.0.1"));
  expect_sent(frame_to(kPod, "10.0.0.2", "first"));
  expect_sent(frame_to(kPod, "10.0.0.2", "second"));
  EXPECT_EQ(state(), NeighbourState::kReachable);
  EXPECT_EQ(sends("10.0.0.2", "third"), Encapsulated::kReady);
  expect_sent(frame_to(kPod, "10.0.0.2", "third"));
  EXPECT_EQ(count(Counter::kEthNeighbourResolved), 1u);
}

TEST_F(NeighbourTest, TheSameOverIpv6) {
  make();
  EXPECT_EQ(sends("fd00::2", "first"), Encapsulated::kHeld);
  expect_sent(solicitation(kOurs, "fd00::1", "fd00::2"));
  receives(advertisement(kOurs, kPod, "fd00::2", "fd00::1", false, true, true));
  expect_sent(frame_to(kPod, "fd00::2", "first"));
  EXPECT_EQ(state("fd00::2"), NeighbourState::kReachable);
}

TEST_F(NeighbourTest, WithoutAnAddressOfTheFamilyItStillAsks) {
  config.own = {};
  make();
  sends("10.0.0.2");
  expect_sent(arp_request(kOurs, "0.0.0.0", "10.0.0.2"));
  sends("fd00::2");
  expect_sent(solicitation(kOurs, "fe80::ff:fe00:1", "fd00::2"));
}

TEST_F(NeighbourTest, GivesUpAfterThreeQuestionsAndReturnsThePackets) {
  make();
  sends("10.0.0.2", "lost");
  EXPECT_EQ(link->next_deadline(), now + 1s);
  expect_sent(arp_request(kOurs, "10.0.0.1", "10.0.0.2"));
  advance(1s);
  expect_sent(arp_request(kOurs, "10.0.0.1", "10.0.0.2"));
  advance(1s);
  expect_sent(arp_request(kOurs, "10.0.0.1", "10.0.0.2"));
  advance(999ms);
  expect_nothing_sent();
  EXPECT_TRUE(link->find(ip("10.0.0.2"), now));
  advance(1ms);
  expect_nothing_sent();
  EXPECT_FALSE(link->find(ip("10.0.0.2"), now));
  EXPECT_EQ(link->next_deadline(), kNever);
  Packet back;
  ASSERT_EQ(link->take_undeliverable({&back, 1}), 1u);
  EXPECT_EQ(testkit::bytes_of_packet(back),
            PacketBuilder().ipv4("10.9.9.9", "10.0.0.2").udp(1, 2).payload("lost").bytes());
  EXPECT_EQ(drops(DropReason::kEthNeighbourUnreachable), 1u);
  EXPECT_EQ(count(Counter::kEthNeighbourFailed), 1u);
  EXPECT_EQ(count(Counter::kEthSolicitationSent), 3u);
}

TEST_F(NeighbourTest, TheOldestWaitingPacketGivesWay) {
  config.limits.held_per_neighbour_max = 2;
  make();
  sends("10.0.0.2", "1");
  sends("10.0.0.2", "2");
  sends("10.0.0.2", "3");
  out.clear();
  EXPECT_EQ(drops(DropReason::kEthNeighbourQueueFull), 1u);
  receives(arp_reply(kOurs, kPod, "10.0.0.2", "10.0.0.1"));
  expect_sent(frame_to(kPod, "10.0.0.2", "2"));
  expect_sent(frame_to(kPod, "10.0.0.2", "3"));
  expect_nothing_sent();
}

TEST_F(NeighbourTest, AllWaitingPacketsTogetherAreBounded) {
  config.limits.held_max = 2;
  make();
  EXPECT_EQ(sends("10.0.0.2", "a"), Encapsulated::kHeld);
  EXPECT_EQ(sends("10.0.0.3", "b"), Encapsulated::kHeld);
  EXPECT_EQ(sends("10.0.0.4", "c"), Encapsulated::kDropped);
  EXPECT_EQ(sends("10.0.0.2", "d"), Encapsulated::kHeld);  // its own oldest gives way
  EXPECT_EQ(drops(DropReason::kEthNeighbourQueueFull), 2u);
}

TEST_F(NeighbourTest, ReachableEndsBetweenHalfAndOneAndAHalfTimesItsBase) {
  make();
  resolve();
  advance(14s + 999ms);
  EXPECT_EQ(state(), NeighbourState::kReachable);
  advance(30s + 2ms);
  EXPECT_EQ(state(), NeighbourState::kStale);
  EXPECT_EQ(link->next_deadline(), kNever);  // nobody asks for the sake of asking
}

TEST_F(NeighbourTest, StaleIsUsedAtOnceAndProbedAfterFiveSeconds) {
  make();
  resolve();
  advance(45s);
  EXPECT_EQ(sends("10.0.0.2", "x"), Encapsulated::kReady);
  expect_sent(frame_to(kPod, "10.0.0.2", "x"));
  EXPECT_EQ(state(), NeighbourState::kDelay);
  EXPECT_EQ(link->next_deadline(), now + 5s);
  advance(5s);
  expect_sent(probe(kPod));
  EXPECT_EQ(state(), NeighbourState::kProbe);
  EXPECT_EQ(sends("10.0.0.2", "y"), Encapsulated::kReady);
  out.clear();
  advance(1s);
  expect_sent(probe(kPod));
  receives(arp_reply(kOurs, kPod, "10.0.0.2", "10.0.0.1"));
  EXPECT_EQ(state(), NeighbourState::kReachable);
  advance(10s);
  expect_nothing_sent();
}

TEST_F(NeighbourTest, SilentNeighbourIsForgottenAfterThreeProbes) {
  make();
  resolve();
  advance(45s);
  sends("10.0.0.2");
  out.clear();
  advance(5s);
  advance(1s);
  advance(1s);
  EXPECT_EQ(out.size(), 3u);
  out.clear();
  advance(1s);
  EXPECT_FALSE(link->find(ip("10.0.0.2"), now));
  expect_nothing_sent();
}

TEST_F(NeighbourTest, ForwardProgressAboveSparesTheProbe) {
  make();
  resolve();
  advance(45s);
  sends("10.0.0.2");
  out.clear();
  link->confirm(ip("10.0.0.2"), now);
  EXPECT_EQ(state(), NeighbourState::kReachable);
  advance(10s);
  expect_nothing_sent();
  link->confirm(ip("10.0.0.99"), now);  // unknown: nothing to confirm
  EXPECT_FALSE(link->find(ip("10.0.0.99"), now));
}

TEST_F(NeighbourTest, AnnouncementChangesAKnownAddressOnly) {
  make();
  receives(arp_request(kOther, "10.0.0.2", "10.0.0.2"));
  EXPECT_FALSE(link->find(ip("10.0.0.2"), now));
  resolve();
  receives(arp_request(kOther, "10.0.0.2", "10.0.0.2"));
  EXPECT_EQ(link->find(ip("10.0.0.2"), now)->mac, kOther);
  EXPECT_EQ(state(), NeighbourState::kStale);
  receives(arp_reply(wire::MacAddress::broadcast(), kPod, "10.0.0.2", "10.0.0.2"));
  EXPECT_EQ(link->find(ip("10.0.0.2"), now)->mac, kPod);
}

TEST_F(NeighbourTest, WhatSaysNothingNewLeavesTheStateAlone) {
  make();
  resolve();
  receives(arp_request(kPod, "10.0.0.2", "10.0.0.1"));
  EXPECT_EQ(state(), NeighbourState::kReachable) << "a question of its own proves no path, and disproves none";
  receives(arp_request(kPod, "10.0.0.2", "10.0.0.2"));
  EXPECT_EQ(state(), NeighbourState::kReachable) << "an announcement of the address we know";
  out.clear();
}

TEST_F(NeighbourTest, AdvertisementWithoutOverrideNeverMovesAnAddress) {
  make();
  sends("fd00::2");
  receives(advertisement(kOurs, kPod, "fd00::2", "fd00::1", false, true, false));
  EXPECT_EQ(state("fd00::2"), NeighbourState::kReachable);
  receives(advertisement(kOurs, kOther, "fd00::2", "fd00::1", false, false, false));
  EXPECT_EQ(link->find(ip("fd00::2"), now)->mac, kPod);
  EXPECT_EQ(state("fd00::2"), NeighbourState::kStale);
  receives(advertisement(kOurs, kOther, "fd00::2", "fd00::1", false, true, true));
  EXPECT_EQ(link->find(ip("fd00::2"), now)->mac, kOther);
  EXPECT_EQ(state("fd00::2"), NeighbourState::kReachable);
  out.clear();
}

TEST_F(NeighbourTest, UnsolicitedAnswerCompletesAnOpenQuestionAsStale) {
  make();
  sends("fd00::2", "x");
  out.clear();
  receives(advertisement(kOurs, kPod, "fd00::2", "fd00::1", false, false, false));
  expect_sent(frame_to(kPod, "fd00::2", "x"));
  EXPECT_EQ(state("fd00::2"), NeighbourState::kStale);
}

TEST_F(NeighbourTest, WhenTheTableIsFullTheUnusedGiveWayAndTheUnresolvedStay) {
  config.limits.neighbours_max = 4;
  make();
  for (int i = 2; i < 6; ++i) receives(arp_request(kPod, "10.0.0." + std::to_string(i), "10.0.0.1"));
  EXPECT_EQ(link->neighbours(now).size(), 4u);
  sends("10.0.0.3");
  receives(arp_request(kPod, "10.0.0.6", "10.0.0.1"));
  EXPECT_EQ(link->neighbours(now).size(), 4u);
  EXPECT_TRUE(link->find(ip("10.0.0.6"), now));
  EXPECT_TRUE(link->find(ip("10.0.0.3"), now));  // in use
  EXPECT_FALSE(link->find(ip("10.0.0.2"), now));
  // Four that nobody answers for.
  link.reset();
  make();
  for (int i = 2; i < 6; ++i) sends("10.0.0." + std::to_string(i));
  EXPECT_EQ(sends("10.0.0.6"), Encapsulated::kDropped);
  EXPECT_EQ(drops(DropReason::kEthNeighbourTableFull), 1u);
}

// A thousand steps of everybody doing anything: the table never holds more than it may, nothing leaks (the fixture
// looks), and time that is due is always announced.
TEST_F(NeighbourTest, RandomTrafficKeepsTheBounds) {
  config.limits = {.neighbours_max = 8, .held_per_neighbour_max = 2, .held_max = 10, .output_max = 16};
  make();
  Random random(7);
  for (int step = 0; step < 20'000; ++step) {
    const std::string address = "10.0.0." + std::to_string(2 + random.below(20));
    switch (random.below(6)) {
      case 0:
        receives(arp_request(kPod, address, "10.0.0.1"));
        break;
      case 1:
        receives(arp_reply(kOurs, random.below(2) ? kPod : kOther, address, "10.0.0.1"));
        break;
      case 2:
        advance(Duration{static_cast<int64_t>(random.below(3'000'000'000))});
        break;
      case 3:
        link->confirm(ip(address), now);
        break;
      default:
        sends(address);
        break;
    }
    ASSERT_LE(link->neighbours(now).size(), 8u);
    std::array<Packet, 16> back;
    link->take_undeliverable(back);
    for (const Neighbour& n : link->neighbours(now)) {
      const bool timed = n.state == NeighbourState::kIncomplete || n.state == NeighbourState::kDelay ||
                         n.state == NeighbourState::kProbe;
      if (timed) {
        ASSERT_LT(link->next_deadline(), kNever);
      }
      ASSERT_EQ(n.mac.is_zero(), n.state == NeighbourState::kIncomplete);
    }
    out.clear();
  }
}

}  // namespace
}  // namespace culvert::eth
