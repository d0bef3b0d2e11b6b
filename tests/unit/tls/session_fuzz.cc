// Fuzzes an open session: the input is a program of operations by a peer that holds the keys, by the session's user and
// by the pool. Checks that data arrives as it was sealed, that a failed session stays failed, and that every buffer
// comes back.
#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>

#include "base/check.h"
#include "drivers/crypto/openssl/aead.h"
#include "tests/testkit/test_ca.h"
#include "tls/deterministic_random.h"
#include "tls/record_protection.h"
#include "tls/session.h"

namespace culvert::tls {
namespace {

using testkit::kTestNow;

constexpr CipherSuite kSuite = CipherSuite::kAes256GcmSha384;

// Taken from the client's key log: the client's secret, whose records the server opens.
struct Secret {
  TrafficSecret value;
  static void take(void* context, std::string_view line) {
    if (!line.starts_with("CLIENT_TRAFFIC_SECRET_0 ")) return;
    const std::string hex(line.substr(line.rfind(' ') + 1));
    TrafficSecret secret(hex.size() / 2);
    for (size_t i = 0; i < secret.bytes().size(); ++i) {
      secret.bytes()[i] = static_cast<uint8_t>(std::stoi(hex.substr(2 * i, 2), nullptr, 16));
    }
    static_cast<Secret*>(context)->value = std::move(secret);
  }
};

struct Bench {
  DeterministicRandom random{1};
  crypto::OpensslAead aead;
  testkit::TestCa ca;
  SessionConfig client, server;
  Bench() {
    client.credentials = ca.roots_only();
    server.role = Role::kServer;
    server.credentials = ca.credentials("spiffe://cluster.local/ns/a/sa/b");
    server.client_certificate = ClientCertificate::kNone;
    client.aead = server.aead = &aead;
  }
};

void move(ByteQueue& from, BufferPool& pool, ByteQueue& to) {
  std::string bytes(from.bytes(), '\0');
  from.copy_out(0, {reinterpret_cast<uint8_t*>(bytes.data()), bytes.size()});
  from.clear();
  if (!bytes.empty()) to.append(pool.take_copy(bytes_of(bytes)));
}

// The input, taken from its front.
class Program {
 public:
  explicit Program(ByteView bytes) : bytes_(bytes) {}
  bool empty() const { return bytes_.empty(); }
  uint8_t byte() {
    if (bytes_.empty()) return 0;
    const uint8_t value = bytes_.front();
    bytes_ = bytes_.subspan(1);
    return value;
  }
  ByteView some(size_t bytes) {
    const ByteView taken = bytes_.first(std::min(bytes, bytes_.size()));
    bytes_ = bytes_.subspan(taken.size());
    return taken;
  }

 private:
  ByteView bytes_;
};

void run(Bench& bench, Program program) {
  const auto pool = BufferPool::on_heap({.small = 256, .large = 64, .view = 256});
  const auto wire_pool = BufferPool::on_heap({.small = 1024, .large = 64, .view = 64});
  Counters counters;
  std::string error;
  Secret secret;
  SessionConfig client_config = bench.client;
  client_config.keylog = Secret::take;
  client_config.keylog_context = &secret;
  auto client = Session::make(client_config, *wire_pool, counters, kTestNow, error);
  auto session = Session::make(bench.server, *pool, counters, kTestNow, error);
  ByteQueue in;
  for (int flight = 0; flight < 2; ++flight) {
    ByteQueue to_client;
    move(client->ciphertext(), *wire_pool, in);
    session->on_ciphertext(in, 1 << 20, kTestNow);
    move(session->ciphertext(), *wire_pool, to_client);
    client->on_ciphertext(to_client, 1 << 20, kTestNow);
  }
  DP_CHECK(session->state() == State::kOpen);
  RecordSealer peer(bench.aead, kSuite, std::move(secret.value));

  std::string sent, read;
  bool honest = true;  // nothing but well-formed records of data so far
  while (!program.empty()) {
    switch (program.byte() % 9) {
      case 0: {  // bytes that nobody sealed
        const ByteView raw = program.some(program.byte());
        if (!raw.empty()) in.append(wire_pool->take_copy(raw));
        honest = honest && raw.empty();
        break;
      }
      case 1:
      case 2: {  // a record of any type
        const uint8_t kind = program.byte();
        const auto type = kind < 128 ? ContentType::kApplicationData : static_cast<ContentType>(kind % 32);
        const ByteView content = program.some(program.byte());
        Packet record = peer.seal(type, {&content, 1}, content.size(), *wire_pool);
        if (!record) break;
        in.append(std::move(record));
        if (type == ContentType::kApplicationData && honest) sent += text_of(content);
        honest = honest && type == ContentType::kApplicationData;
        break;
      }
      case 3: {  // a KeyUpdate, and its new key
        const uint8_t message[] = {24, 0, 0, 1, static_cast<uint8_t>(program.byte() & 1)};
        const ByteView content{message};
        if (Packet record = peer.seal(ContentType::kHandshake, {&content, 1}, content.size(), *wire_pool)) {
          in.append(std::move(record));
          peer.update();
        }
        break;
      }
      case 4: {  // the session writes
        const std::string text(program.byte() * 64u, 'w');
        const ByteView piece = bytes_of(text);
        (void)session->seal({&piece, 1});
        break;
      }
      case 5:
        session->request_key_update((program.byte() & 1) != 0);
        break;
      case 6:
        if (program.byte() < 32) session->close_notify();
        break;
      case 7:
        pool->fail_take(program.byte());
        break;
      case 8:
        session->ciphertext().clear();
        break;
    }
    const State before = session->state();
    session->on_ciphertext(in, program.byte() * 16u, kTestNow);
    DP_CHECK(before != State::kFailed || session->state() == State::kFailed);
    DP_CHECK(session->state() != State::kFailed || in.empty());
    ByteQueue& plaintext = session->plaintext();
    std::string piece(plaintext.bytes(), '\0');
    plaintext.copy_out(0, {reinterpret_cast<uint8_t*>(piece.data()), piece.size()});
    plaintext.clear();
    read += piece;
  }
  DP_CHECK(!honest || sent.starts_with(read));
  in.clear();
  session.reset();
  client.reset();
  DP_CHECK(pool->held(BufferKind::kSmall) == 0 && pool->held(BufferKind::kLarge) == 0);
}

}  // namespace
}  // namespace culvert::tls

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t bytes) {
  static auto* bench = new culvert::tls::Bench;  // lives as long as the process: its randomness must, too
  if (bytes > 4096) return 0;
  culvert::tls::run(*bench, culvert::tls::Program({data, bytes}));
  return 0;
}
