// A peer that holds the session's keys and seals whatever a test wants, allowed or not. The handshake is OpenSSL's; the
// secrets come from the Session's key log; records from then on are made here.
#pragma once

#include <string>
#include <vector>

#include "tests/unit/tls/openssl_peer.h"
#include "tls/record_protection.h"

namespace culvert::tls {

struct LoggedSecrets {
  TrafficSecret client, server;
  static void take(void* context, std::string_view line) {
    auto& self = *static_cast<LoggedSecrets*>(context);
    if (line.starts_with("CLIENT_TRAFFIC_SECRET_0 ")) self.client = parse(line);
    if (line.starts_with("SERVER_TRAFFIC_SECRET_0 ")) self.server = parse(line);
  }
  static TrafficSecret parse(std::string_view line) {
    const std::string hex(line.substr(line.rfind(' ') + 1));
    TrafficSecret secret(hex.size() / 2);
    for (size_t i = 0; i < secret.bytes().size(); ++i) {
      secret.bytes()[i] = static_cast<uint8_t>(std::stoi(hex.substr(2 * i, 2), nullptr, 16));
    }
    return secret;
  }
};

class RawPeer {
 public:
  // The peer's keys: the server's when the Session under test is a client.
  RawPeer(AeadBackend& backend, LoggedSecrets& secrets, bool session_is_client)
      : backend_(backend),
        pool_(BufferPool::on_heap({})),
        sealer_(backend, kSuite, copy(session_is_client ? secrets.server : secrets.client)),
        opener_(backend, kSuite, copy(session_is_client ? secrets.client : secrets.server)),
        secret_(copy(session_is_client ? secrets.server : secrets.client)) {}

  // One record of an allowed size.
  std::string record(ContentType type, std::string_view content) {
    const ByteView piece = bytes_of(content);
    Packet packet = sealer_.seal(type, {&piece, 1}, content.size(), *pool_);
    return std::string(culvert::text_of(packet.front()));
  }
  // A record with exactly this inside: content, type byte and padding are the test's.
  std::string record_of_inner(std::string_view inner) {
    const size_t length = inner.size() + kAeadTagBytes;
    std::string record(kRecordHeaderBytes + length, '\0');
    auto* at = reinterpret_cast<uint8_t*>(record.data());
    RecordHeader{ContentType::kApplicationData, static_cast<uint16_t>(length)}.emit(at);
    // Its own key and the sealer's place in the sequence.
    auto nonce = traffic_iv(kSuite, secret_);
    for (size_t i = 0; i < 8; ++i) {
      nonce[11 - i] = static_cast<uint8_t>(nonce[11 - i] ^ (sealer_.sequence() >> (8 * i)));
    }
    const auto key = backend_.make_key(kSuite, traffic_key(kSuite, secret_).view());
    const ByteView piece = bytes_of(inner);
    key->seal(nonce.data(), {at, kRecordHeaderBytes}, {&piece, 1}, {at + kRecordHeaderBytes, inner.size()},
              at + kRecordHeaderBytes + inner.size());
    // The sealer counts it as its own.
    (void)this->record(ContentType::kApplicationData, "");
    return record;
  }
  void update_key() {
    sealer_.update();
    secret_ = next_traffic_secret(kSuite, secret_);
  }
  void update_read_key() { opener_.update(); }

  struct Content {
    ContentType type;
    std::string bytes;
  };
  // Opens what the session sent.
  std::vector<Content> open(std::string_view wire) {
    std::vector<Content> contents;
    ByteQueue in;
    in.append(pool_->take_copy(bytes_of(wire)));
    while (in.bytes() > kRecordHeaderBytes) {
      uint8_t header[kRecordHeaderBytes];
      in.copy_out(0, header);
      const uint16_t length = RecordHeader::parse(header).length;
      auto opened = opener_.open(in, length, *pool_);
      EXPECT_EQ(opened.outcome, RecordOpener::Outcome::kOpened);
      contents.push_back({opened.type, std::string(culvert::text_of(opened.content.front()))});
      in.drop_front(kRecordHeaderBytes + length);
    }
    return contents;
  }

 private:
  static constexpr CipherSuite kSuite = CipherSuite::kAes256GcmSha384;
  static TrafficSecret copy(const TrafficSecret& from) {
    TrafficSecret to(from.view().size());
    std::copy(from.view().begin(), from.view().end(), to.bytes().begin());
    return to;
  }

  AeadBackend& backend_;
  std::unique_ptr<BufferPool> pool_;
  RecordSealer sealer_;
  RecordOpener opener_;
  TrafficSecret secret_;
};

}  // namespace culvert::tls
