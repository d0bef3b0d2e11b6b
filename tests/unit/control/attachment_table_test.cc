// The wanted set of attachments against what the node has. Descriptors are real TAP queues.
#include "control/attachment_table.h"

#include <gtest/gtest.h>

#include "tests/unit/control/fake_node.h"

namespace culvert::control {
namespace {

constexpr UnixTime kNow = testkit::kTestNow;
using Calls = std::vector<std::string>;

class Attachments : public testing::Test {
 protected:
  void give(const std::string& name) { ASSERT_TRUE(descriptors.give(name, one(make_tap_queue())).ok()); }
  static WantedAttachment want(Attachment a) { return {std::move(a), {}}; }
  Calls calls() { return std::exchange(node.calls, {}); }

  FakeNode node;
  DescriptorTable descriptors;
  AttachmentTable table{node, descriptors};
};

TEST_F(Attachments, ComeUpOnTheDescriptorTheyWereGiven) {
  const AttachmentState without = table.attach(want(attachment("a")), kNow);
  EXPECT_FALSE(without.up);
  EXPECT_EQ(without.error, "no descriptor was given for `a`: hand it over on the descriptor socket first");
  give("a");
  EXPECT_TRUE(table.attach(want(attachment("a")), kNow).up);
  EXPECT_EQ(calls(), Calls{"attach a"});
  EXPECT_TRUE(descriptors.in_use("a"));
  const auto events = table.take_events();
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0].kind, Event::Kind::kAttachmentUp);
  EXPECT_EQ(tap_name(node.queues_of["a"][0].get()), tap_name((*descriptors.copies("a"))[0].get()));
}

TEST_F(Attachments, AreLeftAloneWhenNothingChanged) {
  give("a");
  table.attach(want(attachment("a")), kNow);
  calls();
  EXPECT_TRUE(table.reconcile({want(attachment("a"))}, kNow)[0].up);
  EXPECT_EQ(calls(), Calls{});
}

TEST_F(Attachments, GoDownAndUpAgainWithOtherValuesOnTheSameDescriptor) {
  give("a");
  table.attach(want(attachment("a")), kNow);
  table.take_events();
  calls();
  EXPECT_TRUE(table.attach(want(attachment("a", {"10.1.0.12"})), kNow).up);
  EXPECT_EQ(calls(), (Calls{"detach a", "attach a"}));
  const auto events = table.take_events();
  ASSERT_EQ(events.size(), 2u);
  EXPECT_EQ(events[0].text, "its values changed");
}

TEST_F(Attachments, AreDetachedWhenTheWantedSetLacksThem) {
  give("a");
  give("b");
  give("c");
  table.reconcile({want(attachment("a")), want(attachment("b", {"10.1.0.12"}))}, kNow);
  EXPECT_FALSE(descriptors.holds("c")) << "nobody wants it";
  calls();
  const auto states = table.reconcile({want(attachment("b", {"10.1.0.12"}))}, kNow);
  ASSERT_EQ(states.size(), 1u);
  EXPECT_EQ(calls(), Calls{"detach a"});
  EXPECT_FALSE(descriptors.holds("a"));
  EXPECT_TRUE(descriptors.holds("b"));
}

TEST_F(Attachments, MayExchangeTheirAddresses) {
  give("a");
  give("b");
  table.reconcile({want(attachment("a", {"10.1.0.1"})), want(attachment("b", {"10.1.0.2"}))}, kNow);
  calls();
  const auto states = table.reconcile({want(attachment("a", {"10.1.0.2"})), want(attachment("b", {"10.1.0.1"}))}, kNow);
  EXPECT_TRUE(states[0].up);
  EXPECT_TRUE(states[1].up);
  EXPECT_EQ(calls(), (Calls{"detach a", "detach b", "attach a", "attach b"}));
}

TEST_F(Attachments, AreRefusedAnAddressOfAnother) {
  give("a");
  give("b");
  table.attach(want(attachment("a")), kNow);
  const AttachmentState state = table.attach(want(attachment("b", {"fd01::1", "10.1.0.11"})), kNow);
  EXPECT_FALSE(state.up);
  EXPECT_EQ(state.error, "address 10.1.0.11 belongs to attachment `a`");
}

TEST_F(Attachments, KeepWhatTheyHaveWhenTheNewValuesAreRefused) {
  give("a");
  table.attach(want(attachment("a")), kNow);
  calls();
  WantedAttachment bad = want(attachment("a"));
  bad.refused = "mtu: no";
  const auto states = table.reconcile({bad}, kNow);
  EXPECT_EQ(states[0].error, "mtu: no");
  EXPECT_EQ(calls(), Calls{});
  EXPECT_TRUE(table.states()[0].up);
}

TEST_F(Attachments, NamedTwiceAreRefusedTheSecondTime) {
  give("a");
  const auto states = table.reconcile({want(attachment("a")), want(attachment("a"))}, kNow);
  EXPECT_TRUE(states[0].up);
  EXPECT_EQ(states[1].error, "attachment `a` is named twice");
}

TEST_F(Attachments, TellWhatTheNodeRefuses) {
  give("a");
  node.refuse_attach = "no memory for another port";
  EXPECT_EQ(table.attach(want(attachment("a")), kNow).error, "no memory for another port");
  EXPECT_FALSE(descriptors.in_use("a"));
  node.refuse_attach.clear();
  EXPECT_TRUE(table.attach(want(attachment("a")), kNow).up) << "and it can be tried again";
}

TEST_F(Attachments, AreDetachedAtOnceWhenTheirDeviceIsGone) {
  // A persistent TAP that is deleted under its queue, as the kernel does when a namespace goes.
  UniqueFd queue = make_tap_queue();
  const std::string name = tap_name(queue.get());
  ASSERT_TRUE(descriptors.give("a", one(std::move(queue))).ok());
  table.attach(want(attachment("a")), kNow);
  table.take_events();
  table.tick(kNow);
  EXPECT_TRUE(table.states()[0].up);
  ASSERT_EQ(std::system(("ip link delete " + name).c_str()), 0);
  calls();
  table.tick(kNow);
  EXPECT_EQ(calls(), Calls{"detach a"});
  EXPECT_FALSE(table.states()[0].up);
  EXPECT_EQ(table.states()[0].error, "its device is gone");
  EXPECT_EQ(table.take_events()[0].text, "its device is gone");
  EXPECT_FALSE(descriptors.holds("a"));
}

TEST_F(Attachments, HoldTheirDescriptorsWhileInUse) {
  give("a");
  table.attach(want(attachment("a")), kNow);
  EXPECT_EQ(descriptors.give("a", one(make_tap_queue())).error(),
            "`a` is in use with the descriptors it has: detach it first");
  EXPECT_TRUE(table.detach("a", kNow));
  EXPECT_FALSE(table.detach("a", kNow));
  give("a");
}

TEST(Descriptors, AreTapQueuesWithTheirHeaderOrRefused) {
  DescriptorTable table;
  EXPECT_EQ(table.give("a", one(UniqueFd(::open("/dev/null", O_RDWR)))).error(), "descriptor 0 of `a` is no TAP queue");
  EXPECT_EQ(table.give("a", one(make_tap_queue(IFF_TUN | IFF_NO_PI))).error(),
            "descriptor 0 of `a` is a TUN device, not a TAP");
  EXPECT_EQ(table.give("a", one(make_tap_queue(IFF_TAP | IFF_NO_PI))).error(),
            "descriptor 0 of `a` is a TAP queue opened without IFF_NO_PI and IFF_VNET_HDR");
  EXPECT_EQ(table.give("a", one(UniqueFd(::open("/dev/net/tun", O_RDWR)))).error(),
            "descriptor 0 of `a` is a TAP queue whose device is gone");
  EXPECT_EQ(table.give("a", {}).error(), "1 to 16 descriptors are accepted for `a`, not 0");
  EXPECT_EQ(table.copies("a").error(), "no descriptors are held for `a`");
}

}  // namespace
}  // namespace culvert::control
