// What happens when a pool or nghttp2's memory is empty: nothing is lost, nothing leaks, nothing hangs.
#include <gtest/gtest.h>

#include "tests/unit/http2/wire.h"

namespace culvert::http2::test {
namespace {

struct Holdings {
  uint32_t small, large, view;
  friend bool operator==(const Holdings&, const Holdings&) = default;
};
Holdings held(const BufferPool& pool) {
  return {pool.held(BufferKind::kSmall), pool.held(BufferKind::kLarge), pool.held(BufferKind::kView)};
}

TEST(Scarcity, TheNthTakeFailsAndEveryByteStillArrives) {
  // Takes inside a session only: the wire between the two hands buffers over as they are.
  for (uint64_t nth = 1; nth < 60; ++nth) {
    auto pool = BufferPool::on_heap(roomy());
    {
      CoreMemory memory{64u << 20};
      Instant now{};
      End client(Role::kClient, *pool, client_limits(), memory, now);
      End server(Role::kServer, *pool, {}, memory, now);
      ASSERT_TRUE(client.session && server.session);
      ByteQueue to_server;
      ByteQueue to_client;
      auto run = [&] {
        for (int i = 0; i < 10; ++i) {
          now += 1ms;
          client->poll(now);
          server->poll(now);
          while (Packet record = client->take_record(now)) to_server.append(std::move(record));
          server->on_bytes(to_server, now);
          while (Packet record = server->take_record(now)) to_client.append(std::move(record));
          client->on_bytes(to_client, now);
        }
      };
      std::vector<Packet> payloads;
      for (uint32_t i = 0; i < 30; ++i) payloads.push_back(pool->take_copy(bytes_of(pattern(5'000, i * 5'000))));
      const auto here = client->request(view(kConnect), 0, now);
      pool->fail_take(nth);
      run();
      server.events();
      ASSERT_EQ(server.refs.size(), 1u) << nth;
      server->respond(server.refs[0], view(kOk), false);
      std::string got;
      for (Packet& payload : payloads) {
        client->write(*here, std::move(payload));
        run();
        got += server.read_all(server.refs[0], now);
      }
      client->finish(*here);
      for (int i = 0; i < 10; ++i) {
        run();
        got += server.read_all(server.refs[0], now);
      }
      pool->fail_take(0);
      EXPECT_TRUE(got == pattern(150'000)) << nth << ": " << got.size();
      EXPECT_TRUE(server->ended(server.refs[0])) << nth;
    }
    EXPECT_EQ(held(*pool), (Holdings{0, 0, 0})) << nth;
  }
}

TEST(Scarcity, WithoutViewsTheSessionStopsReadingAndGoesOnLater) {
  auto pool = BufferPool::on_heap({.small = 1'000, .large = 1'000, .view = 1});
  CoreMemory memory{64u << 20};
  Instant now{};
  End server(Role::kServer, *pool, {}, memory, now);
  ByteQueue in;
  in.append(pool->take_copy(bytes_of(kMagic + frame(4, 0, 0, "") + frame(4, kAck, 0, "") +
                                     frame(1, kEndHeaders, 1, hpack(kConnect)) + frame(0, 0, 1, "first") +
                                     frame(0, 0, 1, "second") + frame(0, kEndStream, 1, "third") +
                                     frame(6, 0, 0, "12345678"))));
  in.append(pool->take_copy(bytes_of(frame(6, 0, 0, "12345678"))));
  server->on_bytes(in, now);
  EXPECT_TRUE(server->blocked());
  EXPECT_FALSE(in.empty());
  EXPECT_EQ(server->next_deadline(), now + 1ms);
  server.events();
  EXPECT_EQ(server.read_all(server.refs[0], now), "first");
  server->on_bytes(in, now);
  EXPECT_EQ(server.read_all(server.refs[0], now), "second");
  EXPECT_FALSE(server->ended(server.refs[0]));
  server->on_bytes(in, now);
  EXPECT_EQ(server.read_all(server.refs[0], now), "third");
  EXPECT_TRUE(server->ended(server.refs[0]));
  EXPECT_TRUE(in.empty());
  EXPECT_FALSE(server->blocked());
}

TEST(Scarcity, AStreamThatIsReleasedWhileItsBytesWaitForAViewBlocksNobody) {
  auto pool = BufferPool::on_heap({.small = 1'000, .large = 1'000, .view = 0});
  CoreMemory memory{64u << 20};
  Instant now{};
  End server(Role::kServer, *pool, {}, memory, now);
  ByteQueue in;
  in.append(pool->take_copy(bytes_of(kMagic + frame(4, 0, 0, "") + frame(4, kAck, 0, "") +
                                     frame(1, kEndHeaders, 1, hpack(kConnect)) + frame(0, 0, 1, "first") +
                                     frame(1, kEndHeaders, 3, hpack(kConnect)))));
  server->on_bytes(in, now);
  EXPECT_TRUE(server->blocked());
  EXPECT_EQ(server.events(), (std::vector<std::string>{"1 headers"}));
  server->release(server.refs[0]);
  server->on_bytes(in, now);
  EXPECT_EQ(server.events(), (std::vector<std::string>{"3 headers"}));
}

TEST(Scarcity, Nghttp2sMemoryIsBoundedPerSessionAndPerCore) {
  auto pool = BufferPool::on_heap(roomy());
  CoreMemory memory{64u << 20};
  Counters counters;
  Limits limits;
  limits.memory_bytes_max = 1'000;
  EXPECT_EQ(Session::make(Role::kServer, limits, memory, *pool, counters, 1, {}), nullptr);
  EXPECT_EQ(counters.value(DropReason::kHttp2NoMemory), 1u);
  EXPECT_GT(memory.refused, 0u);
  EXPECT_EQ(memory.bytes, 0u);

  CoreMemory tight{200u << 10};
  std::vector<std::unique_ptr<Session>> sessions;
  for (int i = 0; i < 100; ++i) {
    auto session = Session::make(Role::kServer, Limits{}, tight, *pool, counters, 1, {});
    if (!session) break;
    sessions.push_back(std::move(session));
  }
  EXPECT_GT(sessions.size(), 1u);
  EXPECT_LT(sessions.size(), 20u);
  sessions.clear();
  EXPECT_EQ(tight.bytes, 0u);
  EXPECT_EQ(held(*pool), (Holdings{0, 0, 0}));
}

TEST(Scarcity, EveryAllocationOfNghttp2MayFail) {
  auto pool = BufferPool::on_heap(roomy());
  for (uint64_t budget = 30'000; budget < 60'000; budget += 97) {
    CoreMemory memory{budget};
    CoreMemory plenty{64u << 20};
    Instant now{};
    End server(Role::kServer, *pool, {}, memory, now);
    if (!server.session) continue;
    End client(Role::kClient, *pool, client_limits(), plenty, now);
    ByteQueue to_server;
    ByteQueue to_client;
    auto run = [&] {
      for (int i = 0; i < 3; ++i) {
        while (Packet record = client->take_record(now)) to_server.append(std::move(record));
        server->on_bytes(to_server, now);
        while (Packet record = server->take_record(now)) to_client.append(std::move(record));
        client->on_bytes(to_client, now);
      }
    };
    for (int i = 0; i < 20; ++i) client->request(view(kConnect), 0, now).ok();
    run();
    server.events();
    for (const StreamRef ref : server.refs) {
      server->respond(ref, view(kOk), false);
      server.write(ref, "hello");
    }
    run();
    server.events();
    for (const StreamRef ref : server.refs) server->release(ref);
    run();
    if (server->state() == State::kEnded) {
      EXPECT_NE(server->failure().kind, FailureKind::kNone);
    }
    server.session.reset();
    EXPECT_EQ(memory.bytes, 0u);
  }
  EXPECT_EQ(held(*pool), (Holdings{0, 0, 0}));
}

}  // namespace
}  // namespace culvert::http2::test
