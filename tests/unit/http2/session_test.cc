// A session against another: what users see.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/http2/wire.h"

namespace culvert::http2::test {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

TEST(Session, CarriesAStreamBothWaysAndEndsIt) {
  Pair p;
  const auto request = p.client->request(view(kConnect), 7, p.now);
  ASSERT_TRUE(request);
  p.run();
  EXPECT_EQ(p.client->state(), State::kOpen);
  EXPECT_EQ(p.server->state(), State::kOpen);
  EXPECT_THAT(p.server.events(), ElementsAre("1 headers"));
  const StreamRef there = p.server.refs.at(0);
  EXPECT_EQ(copy(p.server->headers(there)), kConnect);
  ASSERT_TRUE(p.server->respond(there, view(kOk), false));
  p.run();
  EXPECT_THAT(p.client.events(), ElementsAre("1 headers"));
  EXPECT_EQ(copy(p.client->headers(*request)), kOk);

  EXPECT_TRUE(p.client.write(*request, "hello"));
  p.run();
  EXPECT_THAT(p.server.events(), ElementsAre("1 readable"));
  EXPECT_EQ(p.server.read_all(there, p.now), "hello");
  EXPECT_TRUE(p.server.write(there, "world"));
  p.server->finish(there);
  p.run();
  EXPECT_THAT(p.client.events(), ElementsAre("1 readable", "1 end"));
  EXPECT_FALSE(p.client->ended(*request));
  EXPECT_EQ(p.client.read_all(*request, p.now), "world");
  EXPECT_TRUE(p.client->ended(*request));

  // The other half runs on.
  EXPECT_TRUE(p.client.write(*request, "more"));
  p.client->finish(*request);
  EXPECT_FALSE(p.client.write(*request, "too late"));
  p.run();
  EXPECT_THAT(p.server.events(), ElementsAre("1 readable", "1 end"));
  EXPECT_EQ(p.server.read_all(there, p.now), "more");
  EXPECT_EQ(p.client->streams_open(), 0u);
  EXPECT_EQ(p.server->streams_open(), 0u);
  p.client->release(*request);
  p.server->release(there);
  EXPECT_THAT(p.client.events(), IsEmpty());
}

TEST(Session, BytesWrittenBeforeTheAnswerWaitForIt) {
  Pair p;
  const auto request = p.client->request(view(kConnect), 0, p.now);
  p.client.write(*request, "early");
  p.run();
  EXPECT_THAT(p.server.events(), ElementsAre("1 headers"));
  EXPECT_EQ(p.client->unsent_bytes(*request), 5u);
  p.server->respond(p.server.refs[0], view(kOk), false);
  p.run();
  EXPECT_THAT(p.server.events(), ElementsAre("1 readable"));
  EXPECT_EQ(p.client->unsent_bytes(*request), 0u);
}

TEST(Session, ARefusalEndsTheStreamAfterReleaseByBoth) {
  Pair p;
  const auto request = p.client->request(view(kConnect), 0, p.now);
  p.run();
  p.server.events();
  EXPECT_TRUE(p.server->respond(p.server.refs[0], view({{":status", "401"}}), true));
  EXPECT_FALSE(p.server->respond(p.server.refs[0], view(kOk), false));  // once
  p.server->release(p.server.refs[0]);                                  // at once: the answer still leaves
  p.run();
  EXPECT_THAT(p.client.events(), ElementsAre("1 headers", "1 end", "1 stopped NO_ERROR"));
  EXPECT_EQ(copy(p.client->headers(*request)), (Fields{{":status", "401"}}));
  p.client->release(*request);
  EXPECT_EQ(p.client->streams_open(), 0u);
  EXPECT_EQ(p.server->streams_open(), 0u);
}

TEST(Session, AResetIsNeverAnEnd) {
  Pair p;
  const auto [here, there] = p.open();
  p.client.write(here, "unread");
  p.run();
  p.client->reset(here, ErrorCode::kCancel);
  p.run();
  EXPECT_THAT(p.server.events(), ElementsAre("1 reset CANCEL"));
  EXPECT_EQ(p.server->readable_bytes(there), 0u);
  EXPECT_FALSE(p.server->ended(there));
  EXPECT_FALSE(p.server.write(there, "x"));
  EXPECT_THAT(p.client.events(), IsEmpty());
}

TEST(Session, AResetBehindTheEndLeavesWhatCameReadable) {
  Pair p;
  const auto [here, there] = p.open();
  p.server.write(there, "all of it");
  p.server->finish(there);
  p.server->release(there);  // still open towards the server: told to stop
  p.run();
  EXPECT_THAT(p.client.events(), ElementsAre("1 readable", "1 end", "1 stopped NO_ERROR"));
  EXPECT_EQ(p.client.read_all(here, p.now), "all of it");
  EXPECT_TRUE(p.client->ended(here));
}

TEST(Session, ResetWhileAFrameWaitsForRoomSendsNoneOfIt) {
  Pair p;
  const auto [here, there] = p.open();
  p.client.write(here, pattern(200'000));
  // One record out: nghttp2 holds the next frame's length already.
  Packet first = p.client->take_record(p.now);
  EXPECT_EQ(first.bytes(), kRecordBytesMax);
  p.client->reset(here, ErrorCode::kCancel);
  p.to_server.append(std::move(first));
  p.run();
  EXPECT_THAT(p.server.events(), ElementsAre("1 reset CANCEL"));
  EXPECT_EQ(p.client->counts().data_bytes_sent, kDataBytesMax);
  EXPECT_EQ(p.client->counts().resets_sent, 1u);
}

TEST(Session, FullFramesFillFullRecordsWithoutACopy) {
  Pair p;
  const auto [here, there] = p.open();
  Packet payload = p.pool->take_copy(bytes_of(pattern(10 * kDataBytesMax)));
  const uint64_t copied = p.pool->bytes_copied();
  p.client->write(here, std::move(payload));
  std::vector<uint32_t> sizes;
  ByteQueue wire;
  while (Packet record = p.client->take_record(p.now)) {
    sizes.push_back(record.bytes());
    wire.append(std::move(record));
  }
  // The stream's first window is 64 KB: four frames.
  EXPECT_THAT(sizes, ElementsAre(16'384, 16'384, 16'384, 16'384, 65'536 - 4 * kDataBytesMax + 9));
  p.server->on_bytes(wire, p.now);
  EXPECT_EQ(p.pool->bytes_copied(), copied);
  EXPECT_TRUE(p.server.read_all(there, p.now) == pattern(65'536));
}

TEST(Session, SmallFramesOfSeveralStreamsShareARecord) {
  Pair p;
  const auto [a, a2] = p.open();
  const auto [b, b2] = p.open();
  p.client.write(a, "aaa");
  p.client.write(b, "bbb");
  p.client->finish(b);
  Packet record = p.client->take_record(p.now);
  EXPECT_EQ(record.bytes(), 3u + 3 + 2 * 9);
  EXPECT_FALSE(p.client->take_record(p.now));
  p.to_server.append(std::move(record));
  p.run();
  EXPECT_EQ(p.server.read_all(a2, p.now), "aaa");
  EXPECT_EQ(p.server.read_all(b2, p.now), "bbb");
}

TEST(Session, StreamsTakeTurnsFrameByFrame) {
  Pair p;
  std::vector<StreamRef> here;
  std::vector<StreamRef> there;
  for (int i = 0; i < 3; ++i) {
    const auto [c, s] = p.open();
    here.push_back(c);
    there.push_back(s);
  }
  for (const StreamRef ref : here) p.client.write(ref, pattern(3 * kDataBytesMax));
  for (int round = 1; round <= 3; ++round) {
    for (size_t i = 0; i < 3; ++i) {
      p.to_server.append(p.client->take_record(p.now));
      p.server->on_bytes(p.to_server, p.now);
    }
    for (const StreamRef ref : there) EXPECT_EQ(p.server->readable_bytes(ref), round * uint64_t{kDataBytesMax});
  }
}

TEST(Session, AStalledStreamStopsAloneAndItsNeighbourRuns) {
  Pair p;
  const auto [stalled, stalled2] = p.open();
  const auto [running, running2] = p.open();
  p.client.write(stalled, pattern(1 << 20));
  uint64_t sent = 0;
  std::string got;
  while (got.size() < (32u << 20)) {  // twice the connection window
    p.client.write(running, pattern(100'000, sent));
    sent += 100'000;
    p.run();
    const std::string piece = p.server.read_all(running2, p.now);
    ASSERT_FALSE(piece.empty());
    ASSERT_TRUE(piece == pattern(piece.size(), got.size()));
    got += piece;
  }
  EXPECT_EQ(p.server->readable_bytes(stalled2), 65'536u);
  EXPECT_TRUE(p.server.read_all(stalled2, p.now) == pattern(65'536));
  p.run();
  EXPECT_GT(p.server->readable_bytes(stalled2), 0u);  // credit came back with delivery
}

TEST(Session, AWindowGrowsWithAFastReaderAndNotWithASlowOne) {
  Pair p;
  const auto [fast, fast2] = p.open();
  const auto [slow, slow2] = p.open();
  auto in_flight = [&](StreamRef here, StreamRef there) {
    // Everything the window lets through without a read.
    p.client.write(here, pattern(8 << 20));
    p.run();
    const uint64_t bytes = p.server->readable_bytes(there);
    return bytes;
  };
  for (int i = 0; i < 2'000; ++i) {
    if (p.client->unsent_bytes(fast) < 100'000) p.client.write(fast, pattern(100'000));
    p.run();
    p.server.read_all(fast2, p.now);
  }
  for (int i = 0; i < 20; ++i) {
    p.client.write(slow, pattern(40'000));
    p.now += 1s;
    p.run();
    p.server.read_all(slow2, p.now);
  }
  EXPECT_GT(p.server.counters.value(Counter::kHttp2WindowGrown), 5u);
  EXPECT_GT(in_flight(fast, fast2), 3u << 20);
  EXPECT_LE(in_flight(slow, slow2), 65'536u);
}

TEST(Session, GrowthOfAllWindowsTogetherIsBounded) {
  Limits server;
  server.window_growth_bytes_max = 256u << 10;
  Pair p(client_limits(), server);
  uint64_t total = 0;
  for (int s = 0; s < 4; ++s) {
    const auto [here, there] = p.open();
    for (int i = 0; i < 100; ++i) {
      p.client.write(here, pattern(100'000));
      p.run();
      p.server.read_all(there, p.now);
    }
    p.client.write(here, pattern(4 << 20));
    p.run();
    total += p.server->readable_bytes(there);
  }
  EXPECT_LE(total, 4 * 65'536u + (256u << 10));
}

TEST(Session, TheSendQueueHasALimitAndTellsWhenRoomCameBack) {
  Pair p;
  const auto [here, there] = p.open();
  p.client_may_send = false;
  EXPECT_EQ(p.client->writable_bytes(here), 256u << 10);
  p.client.write(here, pattern(300'000));
  EXPECT_EQ(p.client->writable_bytes(here), 0u);
  p.client_may_send = true;
  while (p.client->writable_bytes(here) == 0) {
    p.run();
    ASSERT_FALSE(p.server.read_all(there, p.now).empty());
  }
  EXPECT_THAT(p.client.events(), IsEmpty());  // not before half of it is free
  for (int i = 0; i < 8; ++i) {
    p.run();
    p.server.read_all(there, p.now);
  }
  EXPECT_THAT(p.client.events(), ElementsAre("1 writable"));
}

TEST(Session, TwoHundredStreamsAndNotOneMore) {
  Limits client = client_limits();
  client.streams_max = 1'000;
  Pair p(client);
  p.run();
  EXPECT_EQ(p.client->peer_streams_max(), 200u);
  std::vector<StreamRef> refs;
  for (int i = 0; i < 200; ++i) refs.push_back(*p.client->request(view(kConnect), 0, p.now));
  EXPECT_EQ(p.client->request(view(kConnect), 0, p.now).error(), RequestError::kFull);
  p.run();
  p.server.events();
  ASSERT_EQ(p.server.refs.size(), 200u);
  for (const StreamRef ref : p.server.refs) p.server->respond(ref, view(kOk), false);
  p.run();
  for (const StreamRef ref : refs) p.client.write(ref, "x");
  p.run();
  for (const StreamRef ref : p.server.refs) {
    EXPECT_EQ(p.server.read_all(ref, p.now), "x");
    p.server->finish(ref);
    p.server->release(ref);
  }
  p.run();
  for (const StreamRef ref : refs) p.client->release(ref);
  EXPECT_EQ(p.client->streams_left(), 200u);
  EXPECT_TRUE(p.client->request(view(kConnect), 0, p.now));
}

TEST(Session, PingsEveryTenSecondsAndMeasuresTheRoundTrip) {
  Pair p;
  p.run();
  p.advance(9s);
  EXPECT_EQ(p.client->counts().pings_acknowledged, 0u);
  p.advance(1s);
  EXPECT_EQ(p.client->counts().pings_acknowledged, 1u);
  EXPECT_EQ(p.server->counts().pings_acknowledged, 1u);
  p.advance(10s);
  EXPECT_EQ(p.client->counts().pings_acknowledged, 2u);
  EXPECT_EQ(p.client->state(), State::kOpen);
}

TEST(Session, ASilentPeerIsGivenUpAfterTwentySeconds) {
  Pair p;
  p.open();
  p.server_may_send = false;
  p.advance(10s);
  p.advance(19s);
  EXPECT_EQ(p.client->state(), State::kOpen);
  p.advance(1s);
  EXPECT_EQ(p.client->state(), State::kEnded);
  EXPECT_EQ(p.client->failure().kind, FailureKind::kPingTimeout);
  EXPECT_EQ(p.client.counters.value(DropReason::kHttp2PingTimeout), 1u);
  EXPECT_EQ(p.client.counters.value(Counter::kHttp2GoawaySent), 1u);
}

TEST(Session, DrainSaysGoodbyeTwiceAndLetsStreamsFinish) {
  Pair p;
  const auto [here, there] = p.open();
  p.server->drain(p.now);
  p.run();
  EXPECT_TRUE(p.client->goaway().received);
  EXPECT_EQ(p.client->goaway().last_stream, 1);
  EXPECT_EQ(p.client->streams_left(), 0u);
  EXPECT_EQ(p.client->request(view(kConnect), 0, p.now).error(), RequestError::kGoaway);
  EXPECT_FALSE(p.server->drained());
  p.client.write(here, "still here");
  p.client->finish(here);
  p.run();
  EXPECT_EQ(p.server.read_all(there, p.now), "still here");
  p.server->finish(there);
  p.run();
  EXPECT_TRUE(p.server->drained());
}

TEST(Session, AReleasedStreamIsSentToItsEnd) {
  Pair p;
  const auto [here, there] = p.open();
  p.server->finish(there);
  p.run();
  p.client.write(here, pattern(200'000));
  p.client->finish(here);
  p.client->release(here);
  std::string got;
  for (int i = 0; i < 20; ++i) {
    p.run();
    got += p.server.read_all(there, p.now);
  }
  EXPECT_TRUE(got == pattern(200'000)) << got.size();
  EXPECT_TRUE(p.server->ended(there));
  EXPECT_EQ(p.client->streams_open(), 0u);
}

TEST(Session, AReleasedOpenStreamIsReset) {
  Pair p;
  const auto [here, there] = p.open();
  p.client->release(here);
  p.run();
  EXPECT_THAT(p.server.events(), ElementsAre("1 reset CANCEL"));
  EXPECT_FALSE(p.client.write(here, "x"));  // the handle is stale
}

TEST(Session, ARequestWithdrawnBeforeItLeftIsNeverSeen) {
  Pair p;
  p.run();
  const auto here = p.client->request(view(kConnect), 0, p.now);
  p.client->reset(*here, ErrorCode::kCancel);
  p.client->release(*here);
  p.run();
  EXPECT_THAT(p.server.events(), IsEmpty());
  EXPECT_EQ(p.client->streams_open(), 0u);
  EXPECT_EQ(p.client->state(), State::kOpen);
}

TEST(Session, FieldsBeyondThePeersLimitAreNotSent) {
  Pair p;
  p.run();
  Fields fields = kConnect;
  fields.emplace_back("baggage", std::string(65'500, 'b'));
  EXPECT_EQ(p.client->request(view(fields), 0, p.now).error(), RequestError::kTooLarge);
}

TEST(Session, WhatAPeerHadEndedStaysReadableAfterTheSession) {
  Pair p;
  const auto [here, there] = p.open();
  const auto [cut, cut2] = p.open();
  p.server.write(there, "complete");
  p.server->finish(there);
  p.server.write(cut2, "not complete");
  p.run();
  p.client->close(ErrorCode::kNoError, "detached", p.now);
  EXPECT_TRUE(p.client->end_received(here));
  EXPECT_EQ(p.client.read_all(here, p.now), "complete");
  EXPECT_TRUE(p.client->ended(here));
  EXPECT_EQ(p.client->readable_bytes(cut), 0u);
  EXPECT_FALSE(p.client->end_received(cut));
}

TEST(Session, ClosingTellsThePeerAndDropsStreams) {
  Pair p;
  const auto [here, there] = p.open();
  p.client.write(here, "lost");
  p.client->close(ErrorCode::kNoError, "detached", p.now);
  p.run();
  EXPECT_EQ(p.client->state(), State::kEnded);
  EXPECT_THAT(p.client.events(), IsEmpty());
  EXPECT_TRUE(p.server->goaway().received);
  EXPECT_EQ(p.server->goaway().code, ErrorCode::kNoError);
  EXPECT_EQ(p.client->counts().data_bytes_sent, 0u);
  EXPECT_FALSE(p.client->wants_write());
}

}  // namespace
}  // namespace culvert::http2::test
