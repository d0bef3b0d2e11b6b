// The handshake: OpenSSL over memory, until both traffic secrets are known and the peer has been judged. Then what the
// connection needs further is taken out as values and this object, with OpenSSL's 20 KB and more, goes away (D6).
//
// Input is offered in whole records only and OpenSSL reads exactly the record it wants (read-ahead off), so bytes
// behind the last handshake record stay in the caller's queue. Output gathers in a vector: it is bounded by the length
// of a flight, and a full packet pool then delays it instead of losing an alert.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "identity/spiffe_id.h"
#include "packet/packet.h"
#include "tls/context.h"
#include "tls/key_schedule.h"
#include "tls/session.h"

namespace culvert::tls {

class Handshake {
 public:
  // Null when OpenSSL refuses (sentence in `error`).
  static std::unique_ptr<Handshake> make(const SessionConfig& config, std::string& error);
  ~Handshake();
  Handshake(const Handshake&) = delete;
  Handshake& operator=(const Handshake&) = delete;

  enum class Progress : uint8_t { kNeedsInput, kDone, kFailed };
  // Goes on with the whole records at the front of `in` and takes them off. `now` judges certificates.
  Progress advance(ByteQueue& in, UnixTime now);

  // What has to be sent; the caller clears it when it has been taken over.
  std::vector<uint8_t>& output() { return output_; }

  // After kFailed.
  const Failure& failure() const { return failure_; }
  bool failed_on_identity() const { return identity_error_.has_value(); }

  // After kDone.
  struct Outcome {
    CipherSuite suite = CipherSuite::kAes256GcmSha384;
    TrafficSecret client_secret, server_secret;
    std::vector<identity::SpiffeId> peer_identities;
    Session::PeerChain peer_chain;
    std::string alpn;
    std::string_view group;
  };
  Outcome take_outcome();

  bool hello_retry() const { return client_hellos_ > 1; }
  // CPU time of this thread inside OpenSSL so far. Reported, never decided on.
  Duration cpu() const { return cpu_; }

 private:
  explicit Handshake(const SessionConfig& config) : config_(config) {}
  bool start(std::string& error);
  void fail();

  static std::shared_ptr<void> derive_context(const identity::Credentials& credentials);
  static Handshake& of(const SSL* ssl) { return *static_cast<Handshake*>(SSL_get_app_data(ssl)); }
  // OpenSSL's callbacks.
  static int read(BIO* bio, char* to, int bytes);
  static int write(BIO* bio, const char* from, int bytes);
  static long control(BIO* bio, int command, long number, void* pointer);
  static int verify(X509_STORE_CTX* chain, void*);
  static int select_alpn(SSL* ssl, const unsigned char** out, unsigned char* out_bytes, const unsigned char* in,
                         unsigned int in_bytes, void*);
  static void on_keylog(const SSL* ssl, const char* line);
  static void on_info(const SSL* ssl, int where, int value);
  static void on_message(int write, int version, int type, const void* data, size_t bytes, SSL* ssl, void*);

  SessionConfig config_;
  SSL* ssl_ = nullptr;
  ByteQueue* input_ = nullptr;  // during advance() only
  uint64_t readable_ = 0;       // bytes of it that OpenSSL may read
  UnixTime now_{};
  std::vector<uint8_t> output_;
  TrafficSecret client_secret_, server_secret_;
  std::vector<identity::SpiffeId> peer_identities_;
  Session::PeerChain peer_chain_;
  std::optional<int> verify_error_;
  std::optional<std::string> identity_error_;
  Failure failure_;
  uint32_t client_hellos_ = 0;
  Duration cpu_{};
};

}  // namespace culvert::tls
