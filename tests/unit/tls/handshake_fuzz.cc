// Fuzzes the handshake: the input's first byte chooses the role, the rest is what the peer sends. A server gets it as
// the client's first flight; a client gets it behind its own hello.
#include <cstdint>
#include <memory>
#include <string>

#include "base/check.h"
#include "drivers/crypto/openssl/aead.h"
#include "tests/testkit/test_ca.h"
#include "tls/deterministic_random.h"
#include "tls/session.h"

namespace culvert::tls {
namespace {

struct Bench {
  DeterministicRandom random{1};
  crypto::OpensslAead aead;
  testkit::TestCa ca;
  SessionConfig client, server;
  Bench() {
    server.role = Role::kServer;
    server.credentials = client.credentials = ca.credentials("spiffe://cluster.local/ns/a/sa/b");
    client.aead = server.aead = &aead;
    // The first session makes what the credentials share, and draws for it: not in a run.
    const auto pool = BufferPool::on_heap({});
    Counters counters;
    std::string error;
    (void)Session::make(client, *pool, counters, testkit::kTestNow, error);
  }
};

void run(Bench& bench, ByteView bytes) {
  bench.random.reseed(1);  // so that a client's random and key share are what a kept input was made for
  const bool server = (bytes.front() & 1) != 0;
  const bool cut = (bytes.front() & 2) != 0;
  bytes = bytes.subspan(1);
  const auto pool = BufferPool::on_heap({.small = 256, .large = 64, .view = 64});
  Counters counters;
  std::string error;
  auto session = Session::make(server ? bench.server : bench.client, *pool, counters, testkit::kTestNow, error);
  DP_CHECK(session);
  ByteQueue in;
  while (!bytes.empty()) {
    const size_t take = cut ? std::min<size_t>(bytes.size(), 1 + bytes.front() % 100) : bytes.size();
    in.append(pool->take_copy(bytes.first(take)));
    session->on_ciphertext(in, 1 << 20, testkit::kTestNow);
    bytes = bytes.subspan(take);
  }
  // Without the keys nobody gets this far as a server's client.
  DP_CHECK(!server || session->state() != State::kOpen);
  DP_CHECK(session->plaintext().empty());
  DP_CHECK(session->state() != State::kFailed || !session->failure().reason.empty());
  in.clear();
  session.reset();
  DP_CHECK(pool->held(BufferKind::kSmall) == 0 && pool->held(BufferKind::kLarge) == 0);
}

}  // namespace
}  // namespace culvert::tls

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t bytes) {
  static auto* bench = new culvert::tls::Bench;  // lives as long as the process: its randomness must, too
  if (bytes == 0 || bytes > 20'000) return 0;
  culvert::tls::run(*bench, {data, bytes});
  return 0;
}
