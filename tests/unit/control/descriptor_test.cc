// Attachments over gRPC with their descriptors over the other socket: real TAP queues, real SCM_RIGHTS.
#include <gtest/gtest.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include "control/api/attachments.grpc.pb.h"
#include "control/api/descriptor_socket.h"
#include "control/door.h"
#include "tests/unit/control/served.h"

namespace culvert::control {
namespace {

class DescriptorTest : public testing::Test {
 protected:
  DescriptorTest() { connect(); }
  void connect() {
    auto connected = api::connect_descriptor_socket(served.folder / "descriptors.sock");
    ASSERT_TRUE(connected.ok()) << connected.error();
    socket = std::move(*connected);
  }
  api::DescriptorPacket exchange(std::string_view bytes, const std::vector<int>& descriptors) {
    EXPECT_TRUE(api::send_packet(socket.get(), bytes, descriptors).ok());
    auto answer = api::receive_packet(socket.get());
    EXPECT_TRUE(answer.ok() && answer->has_value());
    return answer && *answer ? std::move(**answer) : api::DescriptorPacket{};
  }
  // The error, or "" for OK; the descriptors that came back are kept.
  std::string ask(api::DescriptorMessage::Kind kind, const std::string& name,
                  const std::vector<int>& descriptors = {}) {
    api::DescriptorMessage request;
    request.set_kind(kind);
    request.set_name(name);
    api::DescriptorPacket answer = exchange(request.SerializeAsString(), descriptors);
    returned = std::move(answer.descriptors);
    return error_in(answer.bytes);
  }
  static std::string error_in(const std::string& bytes) {
    api::DescriptorMessage message;
    EXPECT_TRUE(message.ParseFromString(bytes));
    EXPECT_EQ(message.kind() == api::DescriptorMessage::OK, message.error().empty());
    return message.error();
  }
  api::Attachment wanted(const std::string& id, const std::string& address = std::string("\x0a\x01\x00\x0b", 4)) {
    api::Attachment out;
    out.set_id(id);
    out.set_workload("demo/web");
    out.set_interface("eth0");
    out.add_addresses(address);
    out.set_mtu(1500);
    return out;
  }
  api::AttachmentStates reconcile(const std::vector<api::Attachment>& attachments) {
    api::Attachments request;
    for (const api::Attachment& attachment : attachments) *request.add_attachments() = attachment;
    api::AttachmentStates states;
    Call call;
    const grpc::Status status = api::AttachmentControl::NewStub(served.channel())->Reconcile(&call, request, &states);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return states;
  }

  Served served;
  UniqueFd socket;
  std::vector<UniqueFd> returned;
};

TEST_F(DescriptorTest, CarriesAQueueToTheNodeAndBackToAnAgentThatRestarted) {
  std::string device;
  {
    const UniqueFd queue = make_tap_queue();
    device = tap_name(queue.get());
    ASSERT_EQ(ask(api::DescriptorMessage::GIVE, "n1-p1", {queue.get()}), "");
  }
  const auto states = reconcile({wanted("n1-p1")});
  ASSERT_EQ(states.states_size(), 1);
  EXPECT_TRUE(states.states(0).up()) << states.states(0).error();
  EXPECT_EQ(tap_name(served.node.queues_of["n1-p1"][0].get()), device);

  // The agent that gave it is gone; the next one wants its own copy.
  socket.reset();
  connect();
  ASSERT_EQ(ask(api::DescriptorMessage::TAKE, "n1-p1"), "");
  ASSERT_EQ(returned.size(), 1u);
  EXPECT_EQ(tap_name(returned[0].get()), device);
  EXPECT_EQ(::fcntl(returned[0].get(), F_GETFD), FD_CLOEXEC);
  const size_t calls = served.node.calls.size();
  EXPECT_TRUE(reconcile({wanted("n1-p1")}).states(0).up());
  EXPECT_EQ(served.node.calls.size(), calls) << "the same state is no change";

  EXPECT_EQ(ask(api::DescriptorMessage::RELEASE, "n1-p1"), "`n1-p1` is in use: detach it first");
  reconcile({});
  EXPECT_TRUE(served.node.attached.empty());
  EXPECT_EQ(ask(api::DescriptorMessage::TAKE, "n1-p1"), "no descriptors are held for `n1-p1`");
}

TEST_F(DescriptorTest, IsAskedForAgainAfterTheDataPlaneRestarted) {
  const UniqueFd queue = make_tap_queue();
  ASSERT_EQ(ask(api::DescriptorMessage::GIVE, "a", {queue.get()}), "");
  EXPECT_TRUE(reconcile({wanted("a")}).states(0).up());
  served.start();
  connect();
  auto states = reconcile({wanted("a")});
  EXPECT_EQ(states.states(0).error(), "no descriptor was given for `a`: hand it over on the descriptor socket first");
  ASSERT_EQ(ask(api::DescriptorMessage::GIVE, "a", {queue.get()}), "");
  EXPECT_TRUE(reconcile({wanted("a")}).states(0).up());
}

TEST_F(DescriptorTest, ListsWhatIsHeldAndWanted) {
  served.node.wanted = {"uplink1", "uplink0"};
  const UniqueFd queue = make_tap_queue();
  ASSERT_EQ(ask(api::DescriptorMessage::GIVE, "a", {queue.get()}), "");
  api::ListAttachmentsReply reply;
  const auto stub = api::AttachmentControl::NewStub(served.channel());
  Call first;
  ASSERT_TRUE(stub->List(&first, {}, &reply).ok());
  ASSERT_EQ(reply.descriptors_wanted_size(), 2);
  EXPECT_EQ(reply.descriptors_wanted(0), "port:uplink0");
  ASSERT_EQ(reply.descriptors_held_size(), 1);
  ASSERT_EQ(ask(api::DescriptorMessage::GIVE, "port:uplink0", {queue.get()}), "");
  Call attach;
  api::AttachmentState state;
  ASSERT_TRUE(stub->Attach(&attach, wanted("a"), &state).ok());
  EXPECT_TRUE(state.up());
  Call second;
  ASSERT_TRUE(stub->List(&second, {}, &reply).ok());
  EXPECT_EQ(reply.descriptors_wanted_size(), 1);
  EXPECT_EQ(reply.descriptors_held_size(), 2);
  ASSERT_EQ(reply.states_size(), 1);
  EXPECT_EQ(reply.states(0).attachment().workload(), "demo/web");
  Call detach;
  api::AttachmentId id;
  id.set_id("a");
  api::DetachReply detached;
  ASSERT_TRUE(stub->Detach(&detach, id, &detached).ok());
  EXPECT_TRUE(detached.found());
}

TEST_F(DescriptorTest, RefusesAttachmentsThatAreNotWellFormed) {
  const std::string v6 = IpAddress::parse("fd00::1")->is_v4() ? "" : std::string(15, '\0') + "\1";
  std::vector<std::pair<api::Attachment, std::string>> rows;
  const auto row = [&](const std::string& error, auto change) {
    api::Attachment attachment = wanted("id" + std::to_string(rows.size()));
    change(attachment);
    rows.emplace_back(attachment, error);
  };
  const std::string bad_id = "id: 1 to 255 characters without blanks, not beginning with `port:`, are accepted";
  row(bad_id, [](auto& a) { a.set_id(""); });
  row(bad_id, [](auto& a) { a.set_id("port:uplink0"); });
  row(bad_id, [](auto& a) { a.set_id("a\nb"); });
  row(bad_id, [](auto& a) { a.set_id(std::string(256, 'x')); });
  row("workload: namespace/name is accepted", [](auto& a) { a.set_workload("web"); });
  row("workload: namespace/name is accepted", [](auto& a) { a.set_workload("a/b/c"); });
  row("addresses: at least one is accepted", [](auto& a) { a.clear_addresses(); });
  row("addresses[1]: 4 or 16 bytes are accepted, not 3", [](auto& a) { a.add_addresses("abc"); });
  row("addresses[1]: 10.1.0.11 is named twice", [](auto& a) { a.add_addresses(a.addresses(0)); });
  row("addresses[1]: an address that one host can have is accepted, not 0.0.0.0",
      [](auto& a) { a.add_addresses(std::string(4, '\0')); });
  row("addresses[1]: an address that one host can have is accepted, not ::1", [&](auto& a) { a.add_addresses(v6); });
  row("addresses: at most 16 are accepted", [](auto& a) {
    for (int i = 0; i < 16; ++i) a.add_addresses(std::string("\x0a\x02\x00", 3) + static_cast<char>(i + 1));
  });
  row("gateways[1]: one per family is accepted", [](auto& a) {
    a.add_gateways(std::string("\x0a\x01\x00\x01", 4));
    a.add_gateways(std::string("\x0a\x01\x00\x02", 4));
  });
  row("gateways: 10.1.0.11 is the pod's own address", [](auto& a) { a.add_gateways(a.addresses(0)); });
  row("mtu: 576 to 65535 is accepted, not 575", [](auto& a) { a.set_mtu(575); });
  row("mtu: 576 to 65535 is accepted, not 4294967295", [](auto& a) { a.set_mtu(4294967295u); });
  row("mtu: 1280 to 65535 is accepted, not 1279", [](auto& a) {
    a.add_addresses(std::string("\xfd", 1) + std::string(14, '\0') + "\1");
    a.set_mtu(1279);
  });
  std::vector<api::Attachment> all;
  for (const auto& [attachment, error] : rows) all.push_back(attachment);
  const api::AttachmentStates states = reconcile(all);
  ASSERT_EQ(static_cast<size_t>(states.states_size()), rows.size());
  for (size_t i = 0; i < rows.size(); ++i) {
    EXPECT_EQ(states.states(static_cast<int>(i)).error(), rows[i].second) << "row " << i;
  }
  EXPECT_TRUE(served.node.attached.empty());
}

TEST_F(DescriptorTest, RefusesWhatIsNoTapQueue) {
  const UniqueFd event(::eventfd(0, EFD_CLOEXEC));
  EXPECT_EQ(ask(api::DescriptorMessage::GIVE, "a", {event.get()}), "descriptor 0 of `a` is no TAP queue");
  EXPECT_EQ(ask(api::DescriptorMessage::GIVE, "a"), "1 to 16 descriptors are accepted for `a`, not 0");
  EXPECT_EQ(ask(api::DescriptorMessage::TAKE, "a", {event.get()}), "descriptors are accepted with GIVE only");
  EXPECT_EQ(ask(api::DescriptorMessage::UNSPECIFIED, "a"), "GIVE, TAKE or RELEASE is accepted");
  EXPECT_EQ(ask(api::DescriptorMessage::OK, "a"), "GIVE, TAKE or RELEASE is accepted");
  EXPECT_EQ(ask(api::DescriptorMessage::GIVE, ""), "a name of 1 to 255 characters without blanks is accepted");
  EXPECT_EQ(error_in(exchange("\xff\xff\xff", {}).bytes), "the packet is no DescriptorMessage");
}

TEST_F(DescriptorTest, LeaksNoDescriptorOfARefusedPacket) {
  const auto open_descriptors = [] {
    size_t n = 0;
    for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) ++n;
    return n;
  };
  const UniqueFd event(::eventfd(0, EFD_CLOEXEC));
  const std::vector<int> many(api::kDescriptorsPerMessageMax, event.get());
  EXPECT_EQ(ask(api::DescriptorMessage::GIVE, "a", many), "descriptor 0 of `a` is no TAP queue");
  const size_t before = open_descriptors();
  for (int i = 0; i < 50; ++i) {
    ask(api::DescriptorMessage::GIVE, "a", many);
    ask(api::DescriptorMessage::RELEASE, "b", many);
    exchange(std::string("\xff"), many);
  }
  EXPECT_EQ(open_descriptors(), before);

  // More descriptors than a packet may carry, sent past our own check.
  std::vector<int> too_many(40, event.get());
  std::vector<char> control(CMSG_SPACE(too_many.size() * sizeof(int)));
  char byte = 'x';
  iovec data{&byte, 1};
  msghdr message{};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  cmsghdr* c = CMSG_FIRSTHDR(&message);
  c->cmsg_level = SOL_SOCKET;
  c->cmsg_type = SCM_RIGHTS;
  c->cmsg_len = CMSG_LEN(too_many.size() * sizeof(int));
  std::memcpy(CMSG_DATA(c), too_many.data(), too_many.size() * sizeof(int));
  ASSERT_EQ(::sendmsg(socket.get(), &message, 0), 1);
  auto answer = api::receive_packet(socket.get());
  ASSERT_TRUE(answer.ok());
  EXPECT_NE(error_in((*answer)->bytes).find("more than 16 descriptors"), std::string::npos);
  EXPECT_EQ(open_descriptors(), before);
  const std::string huge(api::kDescriptorMessageBytesMax + 1, 'x');
  ASSERT_EQ(::send(socket.get(), huge.data(), huge.size(), 0), static_cast<ssize_t>(huge.size()));
  answer = api::receive_packet(socket.get());
  ASSERT_TRUE(answer.ok());
  EXPECT_EQ(error_in((*answer)->bytes), "descriptor packet longer than 4096 bytes");
}

TEST_F(DescriptorTest, MakesRoomForANewConnectionByClosingTheOldest) {
  std::vector<UniqueFd> others;
  for (size_t i = 0; i < Door::kDescriptorConnectionsMax; ++i) {
    auto connected = api::connect_descriptor_socket(served.folder / "descriptors.sock");
    ASSERT_TRUE(connected.ok());
    others.push_back(std::move(*connected));
  }
  auto answer = api::receive_packet(socket.get());
  ASSERT_TRUE(answer.ok());
  EXPECT_FALSE(answer->has_value()) << "the first one is closed";
  socket = std::move(others.back());
  EXPECT_EQ(ask(api::DescriptorMessage::TAKE, "a"), "no descriptors are held for `a`");
}

TEST(DescriptorSocket, SaysWhichPathItCannotReach) {
  const TemporaryFolder folder;
  EXPECT_EQ(api::connect_descriptor_socket(folder / "s").error(),
            "cannot connect to " + (folder / "s") + ": No such file or directory");
}

}  // namespace
}  // namespace culvert::control
