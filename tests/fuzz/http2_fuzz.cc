// An HTTP/2 session over any bytes, as server (behind a good preface) and as client: it ends or goes on, spins never,
// and gives every buffer back.
//
// The first byte chooses the role, the second how the rest is cut into records.
#include <array>
#include <cstdint>

#include "base/check.h"
#include "http2/session.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace culvert;
  if (size < 2) return 0;
  const bool server = (data[0] & 1) != 0;
  const size_t piece = 1 + data[1] * 8u;
  ByteView rest{data + 2, size - 2};

  const auto pool = BufferPool::on_heap({.small = 512, .large = 256, .view = 2048});
  {
    Counters counters;
    http2::CoreMemory memory(8 << 20);
    Instant now{Duration{1s}};
    const auto session =
        http2::Session::make(server ? http2::Role::kServer : http2::Role::kClient, {}, memory, *pool, counters, 1, now);
    DP_CHECK(session);
    ByteQueue in;
    const auto turn = [&] {
      now += 1ms;
      session->on_bytes(in, now);
      std::array<http2::Event, 32> events;
      while (const size_t n = session->take_events(events)) {
        for (size_t i = 0; i < n; ++i) {
          while (session->read(events[i].stream, 1 << 16, now)) {
          }
          if (events[i].kind == http2::EventKind::kHeaders && server) {
            const std::array<http2::Header, 1> ok{{{":status", "200"}}};
            session->respond(events[i].stream, ok, false);
          }
        }
      }
      // What one turn sends is bounded: a peer's frame never makes more than a few of ours.
      for (int i = 0; i < 10'000 && session->take_record(now); ++i) {
        DP_CHECK(i < 9'999);
      }
      session->poll(now);
    };
    if (server) {
      in.append(pool->take_copy(bytes_of("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")));
    } else {
      const std::array<http2::Header, 2> request{{{":method", "CONNECT"}, {":authority", "10.0.0.1:80"}}};
      (void)session->request(request, 0, now).ok();
    }
    while (!rest.empty()) {
      const size_t n = std::min(rest.size(), piece);
      Packet packet = pool->take_copy(rest.first(n));
      if (!packet) break;
      in.append(std::move(packet));
      rest = rest.subspan(n);
      turn();
    }
    turn();
  }
  DP_CHECK(pool->held(BufferKind::kSmall) == 0 && pool->held(BufferKind::kLarge) == 0 &&
           pool->held(BufferKind::kView) == 0);
  return 0;
}
