// Two ends of a TLS connection in memory: a Session with its own pool and counters, and what carries bytes between
// ends.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "drivers/crypto/ipsec_mb/aead.h"
#include "drivers/crypto/openssl/aead.h"
#include "packet/packet.h"
#include "telemetry/counters.h"
#include "tests/testkit/test_ca.h"
#include "tls/session.h"

namespace culvert::tls {

using testkit::kTestNow;

inline constexpr char kClientId[] = "spiffe://cluster.local/ns/apps/sa/client";
inline constexpr char kServerId[] = "spiffe://cluster.local/ns/apps/sa/server";

inline std::string text_of(const ByteQueue& queue) {
  std::string text(queue.bytes(), '\0');
  queue.copy_out(0, {reinterpret_cast<uint8_t*>(text.data()), text.size()});
  return text;
}

// One Session and everything it is handed.
class End {
 public:
  explicit End(const SessionConfig& config, UnixTime now = kTestNow) : now_(now) {
    pool_ = BufferPool::on_heap({.small = 512, .large = 256, .view = 1024});
    std::string error;
    session_ = Session::make(config, *pool_, counters_, now, error);
    EXPECT_TRUE(session_) << error;
  }
  ~End() {
    in_.clear();
    session_.reset();
    EXPECT_EQ(pool_->held(BufferKind::kSmall), 0u);
    EXPECT_EQ(pool_->held(BufferKind::kLarge), 0u);
    EXPECT_EQ(pool_->held(BufferKind::kView), 0u);
  }

  Session* operator->() { return session_.get(); }
  Session& operator*() { return *session_; }
  BufferPool& pool() { return *pool_; }
  Counters& counters() { return counters_; }
  ByteQueue& in() { return in_; }

  // Bytes from the wire, in buffers of their own exact length.
  void receives(ByteView bytes, uint64_t plaintext_limit = 1 << 20) {
    while (!bytes.empty()) {
      const size_t take = std::min<size_t>(bytes.size(), kLargeRoom);
      Packet packet = pool_->take_exact_copy(bytes.first(take));
      ASSERT_TRUE(packet);
      in_.append(std::move(packet));
      bytes = bytes.subspan(take);
    }
    session_->on_ciphertext(in_, plaintext_limit, now_);
  }
  // What it wants to send, taken off.
  std::string sends() {
    ByteQueue& out = session_->ciphertext();
    std::string bytes = text_of(out);
    out.clear();
    return bytes;
  }
  // What it has read, taken off.
  std::string reads() {
    std::string bytes = text_of(session_->plaintext());
    session_->plaintext().clear();
    return bytes;
  }
  bool writes(std::string_view text) {
    const ByteView piece = bytes_of(text);
    return session_->seal({&piece, 1});
  }
  std::optional<uint8_t> alert_sent() { return session_->failure().alert_sent; }
  std::optional<uint8_t> alert_received() { return session_->failure().alert_received; }

 private:
  UnixTime now_;
  std::unique_ptr<BufferPool> pool_;
  Counters counters_;
  ByteQueue in_;
  std::unique_ptr<Session> session_;
};

// Carries what both have to say until neither says more; true when anything moved.
template <class A, class B>
bool carry(A& a, B& b) {
  bool moved = false;
  for (;;) {
    const std::string to_b = a.sends();
    if (!to_b.empty()) b.receives(bytes_of(to_b));
    const std::string to_a = b.sends();
    if (!to_a.empty()) a.receives(bytes_of(to_a));
    if (to_a.empty() && to_b.empty()) return moved;
    moved = true;
  }
}

class TlsTest : public testing::Test {
 protected:
  SessionConfig client_config() {
    SessionConfig config;
    config.role = Role::kClient;
    config.credentials = ca.credentials(kClientId);
    config.expected_peers = {*identity::SpiffeId::parse(kServerId)};
    config.aead = &backend();
    return config;
  }
  SessionConfig server_config() {
    SessionConfig config;
    config.role = Role::kServer;
    config.credentials = ca.credentials(kServerId);
    config.required_trust_domain = "cluster.local";
    config.aead = &backend();
    return config;
  }
  // The backend that this CPU can run; both are compared in tests/unit/crypto.
  AeadBackend& backend() {
    if (ipsec_mb_) return *ipsec_mb_;
    return openssl_;
  }
  AeadBackend& openssl_backend() { return openssl_; }

  testkit::TestCa ca;

 private:
  std::string no_ipsec_mb_;
  std::unique_ptr<crypto::IpsecMbAead> ipsec_mb_ = crypto::IpsecMbAead::make(no_ipsec_mb_);
  crypto::OpensslAead openssl_;
};

}  // namespace culvert::tls
