#include "tls/handshake.h"

#include <openssl/err.h>
#include <openssl/x509.h>
#include <openssl/x509_vfy.h>

#include <algorithm>
#include <ctime>

#include "base/check.h"
#include "identity/certificate.h"
#include "identity/verification.h"
#include "tls/alert.h"
#include "tls/record.h"

namespace culvert::tls {

namespace {

// Counts the CPU time between its making and its end.
class CpuMeter {
 public:
  explicit CpuMeter(Duration& total) : total_(total), start_(read()) {}
  ~CpuMeter() { total_ += read() - start_; }
  CpuMeter(const CpuMeter&) = delete;
  CpuMeter& operator=(const CpuMeter&) = delete;

 private:
  static Duration read() {
    timespec t{};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return std::chrono::seconds{t.tv_sec} + Duration{t.tv_nsec};
  }
  Duration& total_;
  Duration start_;
};

// Bytes at the front of `in` that are whole records. What does not look like a record at all is offered too: OpenSSL
// knows the alert for it.
uint64_t whole_records(const ByteQueue& in) {
  uint64_t at = 0;
  while (in.bytes() - at >= kRecordHeaderBytes) {
    uint8_t bytes[kRecordHeaderBytes];
    in.copy_out(at, bytes);
    const RecordHeader header = RecordHeader::parse(bytes);
    const bool sane = header.type >= ContentType::kChangeCipherSpec && header.type <= ContentType::kApplicationData &&
                      header.length <= kCiphertextBytesMax;
    if (!sane) return in.bytes();
    if (in.bytes() - at < kRecordHeaderBytes + header.length) break;
    at += kRecordHeaderBytes + header.length;
  }
  return at;
}

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

// One line of the key log is "LABEL <client random, hex> <secret, hex>".
TrafficSecret secret_of(std::string_view line) {
  const size_t space = line.rfind(' ');
  const std::string_view hex = space == std::string_view::npos ? std::string_view{} : line.substr(space + 1);
  DP_CHECK(hex.size() == 64 || hex.size() == 96);
  TrafficSecret secret(hex.size() / 2);
  for (size_t i = 0; i < secret.bytes().size(); ++i) {
    secret.bytes()[i] = static_cast<uint8_t>(hex_digit(hex[2 * i]) << 4 | hex_digit(hex[2 * i + 1]));
  }
  return secret;
}

std::string_view name_of_group(int nid) {
  switch (nid) {
    case NID_X25519:
      return "x25519";
    case NID_X9_62_prime256v1:
      return "secp256r1";
    case NID_secp384r1:
      return "secp384r1";
    default:
      return "unknown";
  }
}

}  // namespace

std::shared_ptr<void> Handshake::derive_context(const identity::Credentials& credentials) {
  std::shared_ptr<Context> context = make_context(credentials);
  if (!context->ssl) return context;
  BIO_meth_set_read(context->transport, read);
  BIO_meth_set_write(context->transport, write);
  BIO_meth_set_ctrl(context->transport, control);
  SSL_CTX_set_cert_verify_callback(context->ssl, verify, nullptr);
  SSL_CTX_set_alpn_select_cb(context->ssl, select_alpn, nullptr);
  SSL_CTX_set_keylog_callback(context->ssl, on_keylog);
  SSL_CTX_set_info_callback(context->ssl, on_info);
  SSL_CTX_set_msg_callback(context->ssl, on_message);
  return context;
}

std::unique_ptr<Handshake> Handshake::make(const SessionConfig& config, std::string& error) {
  if (!config.credentials) {
    error = "there are no credentials, so no peer could be trusted";
    return nullptr;
  }
  if (config.role == Role::kServer && !config.credentials->has_certificate()) {
    error = "a server needs a certificate";
    return nullptr;
  }
  std::unique_ptr<Handshake> handshake(new Handshake(config));
  const CpuMeter meter(handshake->cpu_);
  if (!handshake->start(error)) return nullptr;
  return handshake;
}

bool Handshake::start(std::string& error) {
  const auto* context = static_cast<const Context*>(config_.credentials->derived(derive_context).get());
  if (!context->ssl) {
    error = context->error;
    return false;
  }
  ERR_clear_error();
  ssl_ = SSL_new(context->ssl);
  BIO* bio = ssl_ ? BIO_new(context->transport) : nullptr;
  if (!bio) {
    error = "OpenSSL could not start a handshake: " + take_openssl_error();
    return false;
  }
  BIO_set_data(bio, this);
  BIO_set_init(bio, 1);
  SSL_set_bio(ssl_, bio, bio);
  SSL_set_app_data(ssl_, this);
  if (config_.role == Role::kServer) {
    int mode = SSL_VERIFY_NONE;
    if (config_.client_certificate != ClientCertificate::kNone) mode = SSL_VERIFY_PEER;
    if (config_.client_certificate == ClientCertificate::kRequired) mode |= SSL_VERIFY_FAIL_IF_NO_PEER_CERT;
    SSL_set_verify(ssl_, mode, nullptr);
    SSL_set_accept_state(ssl_);
    return true;
  }
  SSL_set_verify(ssl_, SSL_VERIFY_PEER, nullptr);
  SSL_set_connect_state(ssl_);
  if (!config_.alpn.empty()) {
    DP_CHECK(config_.alpn.size() < 256);
    std::vector<uint8_t> protocols;
    protocols.push_back(static_cast<uint8_t>(config_.alpn.size()));
    protocols.insert(protocols.end(), config_.alpn.begin(), config_.alpn.end());
    // Zero is success here, unlike everywhere else.
    DP_CHECK(SSL_set_alpn_protos(ssl_, protocols.data(), static_cast<unsigned>(protocols.size())) == 0);
  }
  return true;
}

Handshake::~Handshake() {
  // OpenSSL then frees the session as one that may not be resumed; nothing is written.
  if (ssl_) SSL_set_quiet_shutdown(ssl_, 1);
  SSL_free(ssl_);
}

Handshake::Progress Handshake::advance(ByteQueue& in, UnixTime now) {
  const CpuMeter meter(cpu_);
  input_ = &in;
  readable_ = whole_records(in);
  now_ = now;
  ERR_clear_error();
  const int result = SSL_do_handshake(ssl_);
  const int error = result == 1 ? SSL_ERROR_NONE : SSL_get_error(ssl_, result);
  input_ = nullptr;
  if (error == SSL_ERROR_WANT_READ) return Progress::kNeedsInput;
  if (error == SSL_ERROR_NONE) {
    DP_CHECK(!client_secret_.empty() && !server_secret_.empty());
    return Progress::kDone;
  }
  fail();
  return Progress::kFailed;
}

void Handshake::fail() {
  const std::string openssl_reason = take_openssl_error();
  if (identity_error_) {
    failure_.reason = *identity_error_;
  } else if (verify_error_ && *verify_error_ != X509_V_OK) {
    failure_.reason =
        "tls handshake error: invalid peer certificate: " + identity::text_of_verify_error(*verify_error_);
  } else if (failure_.alert_received) {
    failure_.reason = "tls handshake error: " + text_of_received(*failure_.alert_received);
  } else {
    failure_.reason = "tls handshake error: " + openssl_reason;
  }
}

Handshake::Outcome Handshake::take_outcome() {
  Outcome outcome;
  const uint32_t id = SSL_CIPHER_get_protocol_id(SSL_get_current_cipher(ssl_));
  outcome.suite = static_cast<CipherSuite>(id);
  DP_CHECK(outcome.suite == CipherSuite::kAes128GcmSha256 || outcome.suite == CipherSuite::kAes256GcmSha384);
  outcome.client_secret = std::move(client_secret_);
  outcome.server_secret = std::move(server_secret_);
  outcome.peer_identities = std::move(peer_identities_);
  outcome.peer_chain = std::move(peer_chain_);
  const unsigned char* alpn = nullptr;
  unsigned int alpn_bytes = 0;
  SSL_get0_alpn_selected(ssl_, &alpn, &alpn_bytes);
  if (alpn_bytes > 0) outcome.alpn = text_of({alpn, alpn_bytes});
  outcome.group = name_of_group(static_cast<int>(SSL_get_negotiated_group(ssl_)));
  return outcome;
}

int Handshake::read(BIO* bio, char* to, int bytes) {
  auto& self = *static_cast<Handshake*>(BIO_get_data(bio));
  BIO_clear_retry_flags(bio);
  if (!self.input_ || self.readable_ == 0 || bytes <= 0) {
    BIO_set_retry_read(bio);
    return -1;
  }
  const size_t take = std::min<uint64_t>(self.readable_, static_cast<uint64_t>(bytes));
  self.input_->copy_out(0, {reinterpret_cast<uint8_t*>(to), take});
  self.input_->drop_front(take);
  self.readable_ -= take;
  return static_cast<int>(take);
}

int Handshake::write(BIO* bio, const char* from, int bytes) {
  auto& self = *static_cast<Handshake*>(BIO_get_data(bio));
  BIO_clear_retry_flags(bio);
  self.output_.insert(self.output_.end(), from, from + bytes);
  return bytes;
}

long Handshake::control(BIO*, int command, long, void*) { return command == BIO_CTRL_FLUSH ? 1 : 0; }

int Handshake::verify(X509_STORE_CTX* chain, void*) {
  auto& self = of(static_cast<const SSL*>(X509_STORE_CTX_get_ex_data(chain, SSL_get_ex_data_X509_STORE_CTX_idx())));
  const bool server = self.config_.role == Role::kServer;
  const auto purpose = server ? identity::Purpose::kClient : identity::Purpose::kServer;
  self.verify_error_ = identity::verify_chain(chain, purpose, self.now_);
  if (*self.verify_error_ == X509_V_OK && self.config_.revocation) {
    const auto verdict = self.config_.revocation->judge(X509_STORE_CTX_get0_chain(chain), self.peer_chain_.mark);
    self.peer_chain_.tracked = verdict != identity::ChainVerdict::kUntracked;
    if (verdict == identity::ChainVerdict::kRevoked) {
      self.failure_.revoked = true;
      self.verify_error_ = X509_V_ERR_CERT_REVOKED;  // sent as certificate_revoked (44)
      X509_STORE_CTX_set_error(chain, X509_V_ERR_CERT_REVOKED);
    }
  }
  if (*self.verify_error_ != X509_V_OK) return 0;

  // The SPIFFE rules here, not after the handshake, so that the peer gets its alert: this error is sent as
  // bad_certificate (42).
  const X509* leaf = X509_STORE_CTX_get0_cert(chain);
  const std::vector<std::string> sans = identity::uri_sans(leaf);
  self.identity_error_ = identity::check_expected_peer(sans, self.config_.expected_peers);
  if (!self.identity_error_ && server) {
    self.identity_error_ = identity::check_trust_domain(sans, self.config_.required_trust_domain);
  }
  if (self.identity_error_) {
    X509_STORE_CTX_set_error(chain, X509_V_ERR_CERT_REJECTED);
    return 0;
  }
  self.peer_identities_ = identity::spiffe_ids(leaf);
  return 1;
}

int Handshake::select_alpn(SSL* ssl, const unsigned char** out, unsigned char* out_bytes, const unsigned char* in,
                           unsigned int in_bytes, void*) {
  const std::string& ours = of(ssl).config_.alpn;
  if (ours.empty()) return SSL_TLSEXT_ERR_NOACK;
  // OpenSSL has checked the list's form.
  for (unsigned int at = 0; at < in_bytes; at += 1u + in[at]) {
    if (text_of({in + at + 1, in[at]}) != ours) continue;
    *out = in + at + 1;
    *out_bytes = in[at];
    return SSL_TLSEXT_ERR_OK;
  }
  return SSL_TLSEXT_ERR_ALERT_FATAL;  // no_application_protocol (120)
}

void Handshake::on_keylog(const SSL* ssl, const char* text) {
  Handshake& self = of(ssl);
  const std::string_view line = text;
  if (line.starts_with("CLIENT_TRAFFIC_SECRET_0 ")) self.client_secret_ = secret_of(line);
  if (line.starts_with("SERVER_TRAFFIC_SECRET_0 ")) self.server_secret_ = secret_of(line);
  if (self.config_.keylog) self.config_.keylog(self.config_.keylog_context, line);
}

void Handshake::on_info(const SSL* ssl, int where, int value) {
  if ((where & SSL_CB_ALERT) == 0) return;
  Failure& failure = of(ssl).failure_;
  const auto alert = static_cast<uint8_t>(value & 0xff);
  // RFC 8446 6.1: user_canceled only announces what follows it.
  if (alert == static_cast<uint8_t>(Alert::kUserCanceled)) return;
  ((where & SSL_CB_READ) != 0 ? failure.alert_received : failure.alert_sent) = alert;
}

void Handshake::on_message(int, int, int type, const void* data, size_t bytes, SSL* ssl, void*) {
  const bool client_hello =
      type == SSL3_RT_HANDSHAKE && bytes > 0 && *static_cast<const uint8_t*>(data) == SSL3_MT_CLIENT_HELLO;
  if (client_hello) ++of(ssl).client_hellos_;
}

}  // namespace culvert::tls
