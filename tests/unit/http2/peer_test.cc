// A session against frames written by hand: what a peer may do, and what it gets when it may not.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/http2/wire.h"

namespace culvert::http2::test {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

uint32_t setting(const Frame& frame, uint16_t id) {
  for (size_t at = 0; at + 6 <= frame.payload.size(); at += 6) {
    const auto* p = reinterpret_cast<const uint8_t*>(frame.payload.data()) + at;
    if (load_be16(p) == id) return load_be32(p + 2);
  }
  return 0xdead;
}

uint32_t number(const std::string& payload, size_t at = 0) {
  return load_be32(reinterpret_cast<const uint8_t*>(payload.data()) + at);
}

std::string window_update(int32_t stream, uint32_t by) { return frame(8, 0, stream, be(by, 4)); }
std::string headers(int32_t stream, const Fields& fields, uint8_t flags = kEndHeaders) {
  return frame(1, flags, stream, hpack(fields));
}
std::string data(int32_t stream, const std::string& payload, uint8_t flags = 0) {
  return frame(0, flags, stream, payload);
}

// A server session with stream 1 open and answered.
struct OpenServer : RawPeer {
  OpenServer() : RawPeer(Role::kServer) {
    settle();
    send(headers(1, kConnect));
    end.events();
    end->respond(end.refs.at(0), view(kOk), false);
    collect();
    frames.clear();
  }
  StreamRef stream() { return end.refs.at(0); }
};

TEST(Peer, ClientOpensWithPrefaceAndItsSettings) {
  RawPeer peer(Role::kClient, client_limits());
  peer.collect();
  EXPECT_TRUE(peer.magic_seen());
  const auto settings = peer.take(4);
  ASSERT_TRUE(settings);
  EXPECT_EQ(setting(*settings, 1), 0u);       // HEADER_TABLE_SIZE
  EXPECT_EQ(setting(*settings, 2), 0u);       // ENABLE_PUSH
  EXPECT_EQ(setting(*settings, 3), 0xdeadu);  // MAX_CONCURRENT_STREAMS: not sent
  EXPECT_EQ(setting(*settings, 4), 65'536u);  // INITIAL_WINDOW_SIZE
  EXPECT_EQ(setting(*settings, 5), 16'384u);  // MAX_FRAME_SIZE
  EXPECT_EQ(setting(*settings, 6), 16'384u);  // MAX_HEADER_LIST_SIZE
  EXPECT_EQ(setting(*settings, 8), 0xdeadu);  // ENABLE_CONNECT_PROTOCOL: not sent
  const auto update = peer.take(8);
  ASSERT_TRUE(update);
  EXPECT_EQ(update->stream, 0);
  EXPECT_EQ(number(update->payload), (16u << 20) - 65'535);
}

TEST(Peer, ServerSettings) {
  RawPeer peer(Role::kServer);
  peer.collect();
  const auto settings = peer.take(4);
  ASSERT_TRUE(settings);
  EXPECT_EQ(setting(*settings, 1), 0u);
  EXPECT_EQ(setting(*settings, 2), 0xdeadu);
  EXPECT_EQ(setting(*settings, 3), 200u);
  EXPECT_EQ(setting(*settings, 6), 65'536u);
}

TEST(Peer, HeadersNeedNoDynamicTable) {
  RawPeer peer(Role::kClient, client_limits());
  peer.settle();
  for (int i = 0; i < 3; ++i) {
    Fields fields = kConnect;
    fields.emplace_back("baggage", "k8s.namespace.name=shop");
    ASSERT_TRUE(peer.end->request(view(fields), 0, peer.now));
    peer.collect();
    const auto block = peer.take(1);
    ASSERT_TRUE(block);
    EXPECT_EQ(block->flags, kEndHeaders);
    EXPECT_EQ(peer.decode(block->payload), fields);
  }
}

TEST(Peer, AServerWithoutPrefaceIsLeft) {
  RawPeer peer(Role::kServer);
  peer.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_EQ(peer.end->state(), State::kEnded);
  EXPECT_EQ(peer.end->failure().kind, FailureKind::kPeerFault);
  EXPECT_EQ(peer.end.counters.value(DropReason::kHttp2PeerFault), 1u);
}

TEST(Peer, PaddedAndOneByteAndEmptyDataAreAccepted) {
  OpenServer peer;
  peer.send(data(1, std::string("\x05") + "hello" + std::string(5, '\0'), kPadded) + data(1, "") + data(1, "!") +
            data(1, std::string("\x03") + std::string(3, '\0'), kPadded) + data(1, "?"));
  EXPECT_THAT(peer.end.events(), ElementsAre("1 readable"));
  EXPECT_EQ(peer.end.read_all(peer.stream(), peer.now), "hello!?");
  peer.send(data(1, "", kEndStream));
  EXPECT_THAT(peer.end.events(), ElementsAre("1 end"));
  EXPECT_TRUE(peer.end->ended(peer.stream()));
}

TEST(Peer, DataCutAnywhereArrivesWhole) {
  OpenServer peer;
  const std::string bytes = data(1, pattern(3'000)) + data(1, "") + data(1, pattern(100, 3'000), kEndStream);
  for (const char byte : bytes) peer.send(std::string(1, byte));
  EXPECT_TRUE(peer.end.read_all(peer.stream(), peer.now) == pattern(3'100));
  EXPECT_TRUE(peer.end->ended(peer.stream()));
}

TEST(Peer, SparseBuffersAreCopiedTogether) {
  OpenServer peer;
  for (uint32_t i = 0; i < 10'000; ++i) peer.send(data(1, pattern(1, i)));
  // One small buffer per byte would be 22 MB.
  EXPECT_LT(peer.pool->held(BufferKind::kSmall), 100u);
  EXPECT_GT(peer.end.counters.value(Counter::kHttp2QueueCompacted), 10u);
  EXPECT_TRUE(peer.end.read_all(peer.stream(), peer.now) == pattern(10'000));
}

TEST(Peer, ConnectWithSchemeOrPathIsReset) {
  RawPeer peer(Role::kServer);
  peer.settle();
  peer.send(headers(1, {{":method", "CONNECT"}, {":authority", "a:1"}, {":scheme", "https"}, {":path", "/"}}));
  EXPECT_EQ(peer.take_reset(), "1 PROTOCOL_ERROR");
  peer.send(headers(3, {{":method", "CONNECT"}}));
  EXPECT_EQ(peer.take_reset(), "3 PROTOCOL_ERROR");
  // Extended CONNECT (RFC 8441) was not offered.
  peer.send(headers(
      5, {{":method", "CONNECT"}, {":protocol", "x"}, {":scheme", "https"}, {":path", "/"}, {":authority", "a:1"}}));
  EXPECT_EQ(peer.take_reset(), "5 PROTOCOL_ERROR");
  EXPECT_THAT(peer.end.events(), IsEmpty());
  EXPECT_EQ(peer.end->streams_open(), 0u);
  EXPECT_EQ(peer.end.counters.value(DropReason::kHttp2InvalidFrame), 3u);
  EXPECT_EQ(peer.end->state(), State::kOpen);
}

TEST(Peer, OtherMethodsReachTheUser) {
  RawPeer peer(Role::kServer);
  peer.settle();
  const Fields get = {{":method", "GET"}, {":scheme", "https"}, {":path", "/"}, {":authority", "a:1"}};
  peer.send(headers(1, get));
  EXPECT_THAT(peer.end.events(), ElementsAre("1 headers"));
  EXPECT_EQ(copy(peer.end->headers(peer.end.refs[0])), get);
}

TEST(Peer, TheStreamBeyondTheLimitIsRefusedAndNoOther) {
  RawPeer peer(Role::kServer);
  peer.settle();
  for (int i = 0; i < 200; ++i) peer.send(headers(2 * i + 1, kConnect));
  EXPECT_THAT(peer.take_reset(), IsEmpty());
  peer.send(headers(401, kConnect));
  EXPECT_EQ(peer.take_reset(), "401 REFUSED_STREAM");
  EXPECT_EQ(peer.end.counters.value(DropReason::kHttp2StreamRefused), 1u);
  peer.send(frame(3, 0, 1, be(8, 4)));
  peer.send(headers(403, kConnect));
  EXPECT_THAT(peer.take_reset(), IsEmpty());
  EXPECT_EQ(peer.end->state(), State::kOpen);
}

TEST(Peer, ATooLongHeaderListIs431AndRefused) {
  RawPeer peer(Role::kServer);
  peer.settle();
  Fields fields = kConnect;
  for (int i = 0; i < 6; ++i) fields.emplace_back("baggage", std::string(12'000, 'b'));
  const std::string block = hpack(fields);
  std::string bytes = frame(1, 0, 1, block.substr(0, 16'384));
  for (size_t at = 16'384; at < block.size(); at += 16'384) {
    bytes += frame(9, at + 16'384 >= block.size() ? kEndHeaders : 0, 1, block.substr(at, 16'384));
  }
  peer.send(bytes);
  const auto answer = peer.take(1);
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->flags, kEndHeaders | kEndStream);
  EXPECT_EQ(peer.decode(answer->payload), (Fields{{":status", "431"}}));
  EXPECT_EQ(peer.take_reset(), "1 REFUSED_STREAM");
  EXPECT_THAT(peer.end.events(), IsEmpty());
  EXPECT_EQ(peer.end.counters.value(DropReason::kHttp2HeaderListTooLarge), 1u);
  // The connection goes on.
  peer.send(headers(3, kConnect));
  EXPECT_THAT(peer.end.events(), ElementsAre("3 headers"));
}

TEST(Peer, AHeaderListIsMeasuredWith32BytesPerField) {  // RFC 9113 6.5.2
  Limits limits;
  limits.header_list_bytes_max = 500;
  size_t used = 0;
  for (const auto& [name, value] : kConnect) used += name.size() + value.size() + 32;
  const auto with = [&](size_t list_bytes) {
    RawPeer peer(Role::kServer, limits);
    peer.settle();
    Fields fields = kConnect;
    fields.emplace_back("x", std::string(list_bytes - used - 32 - 1, 'x'));
    peer.send(headers(1, fields));
    return peer.end.counters.value(DropReason::kHttp2HeaderListTooLarge);
  };
  EXPECT_EQ(with(500), 0u);
  EXPECT_EQ(with(501), 1u);
}

TEST(Peer, AClientRefusesATooLongResponse) {
  RawPeer peer(Role::kClient, client_limits());
  peer.settle();
  ASSERT_TRUE(peer.end->request(view(kConnect), 0, peer.now));
  peer.collect();
  const std::string block = hpack({{":status", "200"}, {"baggage", std::string(16'380, 'b')}});
  peer.send(frame(1, 0, 1, block.substr(0, 16'384)) + frame(9, kEndHeaders, 1, block.substr(16'384)));
  EXPECT_EQ(peer.take_reset(), "1 REFUSED_STREAM");
  EXPECT_THAT(peer.end.events(), ElementsAre("1 reset REFUSED_STREAM"));
}

TEST(Peer, InterimResponsesAndTrailersAreIgnored) {
  RawPeer peer(Role::kClient, client_limits());
  peer.settle();
  const auto here = peer.end->request(view(kConnect), 0, peer.now);
  peer.collect();
  peer.send(headers(1, {{":status", "103"}, {"link", "x"}}));
  EXPECT_THAT(peer.end.events(), IsEmpty());
  peer.send(headers(1, {{":status", "200"}, {"baggage", "service.name=a"}}));
  EXPECT_THAT(peer.end.events(), ElementsAre("1 headers"));
  EXPECT_EQ(copy(peer.end->headers(*here)), (Fields{{":status", "200"}, {"baggage", "service.name=a"}}));
  peer.send(data(1, "x") + headers(1, {{"grpc-status", "0"}}, kEndHeaders | kEndStream));
  EXPECT_THAT(peer.end.events(), ElementsAre("1 readable", "1 end"));
}

TEST(Peer, PriorityIsIgnored) {
  OpenServer peer;
  peer.send(frame(2, 0, 1, be(0, 4) + be(200, 1)) + frame(2, 0, 7, be(1, 4) + be(3, 1)));
  peer.send(frame(1, kEndHeaders | 0x20, 9, be(0x80000001, 4) + be(7, 1) + hpack(kConnect)));
  EXPECT_THAT(peer.end.events(), ElementsAre("9 headers"));
  EXPECT_EQ(peer.end->state(), State::kOpen);
}

TEST(Peer, PushPromiseEndsTheConnection) {
  RawPeer peer(Role::kClient, client_limits());
  peer.settle();
  ASSERT_TRUE(peer.end->request(view(kConnect), 0, peer.now));
  peer.collect();
  peer.send(frame(5, kEndHeaders, 1, be(2, 4) + hpack(kConnect)));
  EXPECT_EQ(peer.take_goaway(), "0 PROTOCOL_ERROR");
  EXPECT_EQ(peer.end->failure().kind, FailureKind::kPeerFault);
}

TEST(Peer, AnOversizeFrameEndsTheConnection) {
  OpenServer peer;
  peer.send(data(1, std::string(16'385, 'x')));
  EXPECT_EQ(peer.take_goaway(), "1 FRAME_SIZE_ERROR");
  EXPECT_EQ(peer.end->failure().code, ErrorCode::kFrameSizeError);
  EXPECT_EQ(peer.end->state(), State::kEnded);
}

TEST(Peer, DataBeyondTheStreamWindowEndsTheConnectionOrStream) {
  OpenServer peer;
  std::string bytes;
  for (int i = 0; i < 5; ++i) bytes += data(1, std::string(16'000, 'x'));
  peer.send(bytes);
  EXPECT_TRUE(peer.take_goaway() == "1 FLOW_CONTROL_ERROR" || peer.take_reset() == "1 FLOW_CONTROL_ERROR");
}

TEST(Peer, DataOnAnIdleStreamEndsTheConnection) {
  OpenServer peer;
  peer.send(data(5, "x"));
  EXPECT_EQ(peer.take_goaway(), "1 PROTOCOL_ERROR");
}

TEST(Peer, DataOfAResetStreamIsDroppedAndItsConnectionCreditReturned) {
  OpenServer peer;
  peer.end->reset(peer.stream(), ErrorCode::kCancel);
  peer.collect();
  EXPECT_EQ(peer.take_reset(), "1 CANCEL");
  uint64_t returned = 0;
  for (int i = 0; i < 1'200; ++i) {
    peer.send(data(1, std::string(16'000, 'x')));
    while (const auto update = peer.take(8)) {
      if (update->stream == 0) returned += number(update->payload);
    }
  }
  EXPECT_GE(returned, 8u << 20);
  EXPECT_EQ(peer.end->state(), State::kOpen);
}

TEST(Peer, ConnectionCreditComesBackOnReceiptAndStreamCreditOnDelivery) {
  OpenServer peer;
  for (int i = 0; i < 4; ++i) peer.send(data(1, std::string(16'000, 'x')));
  EXPECT_FALSE(peer.take(8));
  EXPECT_EQ(peer.end.read_all(peer.stream(), peer.now).size(), 64'000u);
  peer.collect();
  const auto update = peer.take(8);
  ASSERT_TRUE(update);
  EXPECT_EQ(update->stream, 1);
}

TEST(Peer, PingIsAnsweredAndSettingsAcknowledged) {
  RawPeer peer(Role::kServer);
  peer.send(kMagic + frame(4, 0, 0, be(4, 2) + be(1'000, 4)) + frame(6, 0, 0, "12345678"));
  const auto ping = peer.take(6);
  ASSERT_TRUE(ping);
  EXPECT_EQ(ping->flags, kAck);
  EXPECT_EQ(ping->payload, "12345678");
  bool acknowledged = false;
  while (const auto settings = peer.take(4)) acknowledged |= settings->flags == kAck;
  EXPECT_TRUE(acknowledged);
}

TEST(Peer, WindowsOfThePeerAreKept) {
  RawPeer peer(Role::kClient, client_limits());
  peer.settle(be(4, 2) + be(10, 4));  // INITIAL_WINDOW_SIZE 10
  const auto here = peer.end->request(view(kConnect), 0, peer.now);
  peer.end.write(*here, pattern(100));
  peer.collect();
  peer.send(headers(1, kOk));
  auto sent = peer.take(0);
  ASSERT_TRUE(sent);
  EXPECT_EQ(sent->payload, pattern(10));
  EXPECT_FALSE(peer.take(0));
  peer.send(window_update(1, 5));
  sent = peer.take(0);
  ASSERT_TRUE(sent);
  EXPECT_EQ(sent->payload, pattern(5, 10));
  peer.end->finish(*here);
  peer.send(window_update(1, 1'000));
  sent = peer.take(0);
  ASSERT_TRUE(sent);
  EXPECT_EQ(sent->payload, pattern(85, 15));
  EXPECT_EQ(sent->flags, kEndStream);
}

TEST(Peer, GoawayResetsStreamsItDidNotTake) {
  RawPeer peer(Role::kClient, client_limits());
  peer.settle();
  const auto first = peer.end->request(view(kConnect), 0, peer.now);
  const auto second = peer.end->request(view(kConnect), 0, peer.now);
  peer.collect();
  peer.send(frame(7, 0, 0, be(1, 4) + be(0, 4)));
  EXPECT_THAT(peer.end.events(), ElementsAre("3 reset REFUSED_STREAM"));
  EXPECT_TRUE(peer.end->goaway().received);
  EXPECT_EQ(peer.end->goaway().last_stream, 1);
  peer.send(headers(1, kOk) + data(1, "on it goes"));
  EXPECT_EQ(peer.end.read_all(*first, peer.now), "on it goes");
  EXPECT_EQ(peer.end->request(view(kConnect), 0, peer.now).error(), RequestError::kGoaway);
  peer.end->release(*second);
}

TEST(Peer, DrainingServesStreamsThatCrossTheFirstGoaway) {
  OpenServer peer;
  peer.end->drain(peer.now);
  peer.collect();
  EXPECT_EQ(peer.take_goaway(), "2147483647 NO_ERROR");
  peer.send(headers(3, kConnect));
  EXPECT_THAT(peer.end.events(), ElementsAre("3 headers"));
  const auto ping = peer.take(6);
  ASSERT_TRUE(ping);
  peer.send(frame(6, kAck, 0, ping->payload));
  EXPECT_EQ(peer.take_goaway(), "3 NO_ERROR");
}

TEST(Peer, DrainingTakesNoStreamsAfterTheFinalGoaway) {
  OpenServer peer;
  peer.end->drain(peer.now);
  peer.collect();
  EXPECT_EQ(peer.take_goaway(), "2147483647 NO_ERROR");
  const auto ping = peer.take(6);
  ASSERT_TRUE(ping);
  peer.send(frame(6, kAck, 0, ping->payload));
  EXPECT_EQ(peer.take_goaway(), "1 NO_ERROR");
  peer.send(headers(3, kConnect));
  EXPECT_THAT(peer.end.events(), IsEmpty());
  peer.send(data(1, "x"));
  EXPECT_THAT(peer.end.events(), ElementsAre("1 readable"));
}

TEST(Peer, SettingsThatAreNeverAcknowledgedEndTheConnection) {
  RawPeer peer(Role::kServer);
  peer.send(kMagic + frame(4, 0, 0, ""));
  EXPECT_EQ(peer.end->next_deadline(), Instant{} + 10s);
  peer.now += 10s;
  peer.end->poll(peer.now);
  peer.collect();
  EXPECT_EQ(peer.take_goaway(), "0 SETTINGS_TIMEOUT");
  EXPECT_EQ(peer.end->failure().kind, FailureKind::kSettingsTimeout);
  EXPECT_EQ(peer.end.counters.value(DropReason::kHttp2SettingsTimeout), 1u);
}

TEST(Peer, EveryCutAndEveryFlippedByteOfADialogueIsSurvived) {
  const std::string dialogue = kMagic + frame(4, 0, 0, be(4, 2) + be(70'000, 4)) + frame(4, kAck, 0, "") +
                               headers(1, kConnect) + window_update(0, 1'000) + data(1, "hello") +
                               data(1, std::string("\x02") + "ab" + std::string(2, '\0'), kPadded) +
                               frame(6, 0, 0, "12345678") + data(1, "", kEndStream) + frame(7, 0, 0, be(0, 8));
  for (size_t at = 0; at < dialogue.size(); ++at) {
    for (const int flip : {0x01, 0x80, 0xff}) {
      std::string bytes = dialogue;
      bytes[at] = static_cast<char>(bytes[at] ^ flip);
      RawPeer peer(Role::kServer);
      peer.send(bytes.substr(0, at));
      peer.send(bytes.substr(at));
      peer.end.events();
      for (const StreamRef ref : peer.end.refs) {
        peer.end.read_all(ref, peer.now);
        peer.end->release(ref);
      }
      peer.collect();
    }
  }
}

}  // namespace
}  // namespace culvert::http2::test
