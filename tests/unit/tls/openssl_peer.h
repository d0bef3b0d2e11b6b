// The other side by OpenSSL alone, with parameters of its own: what Sessions are tested against.
#pragma once

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>

#include <optional>
#include <string>
#include <vector>

#include "tests/unit/tls/tls_fixture.h"

namespace culvert::tls {

struct PeerOptions {
  bool server = false;
  std::optional<testkit::TestLeaf> leaf = {};
  std::string roots_pem = {};  // empty: the peer is not verified
  int min_version = TLS1_2_VERSION;
  int max_version = TLS1_3_VERSION;
  std::string groups = "X25519:P-256:P-384";
  std::string suites = "TLS_AES_256_GCM_SHA384:TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256";
  std::string alpn = "h2";  // empty: none
  size_t tickets = 0;
  bool ask_client_certificate = true;  // server
  UnixTime now = testkit::kTestNow;
};

class OpensslPeer {
 public:
  explicit OpensslPeer(const PeerOptions& options) : options_(options) {
    context_ = SSL_CTX_new(TLS_method());
    SSL_CTX_set_min_proto_version(context_, options.min_version);
    SSL_CTX_set_max_proto_version(context_, options.max_version);
    EXPECT_EQ(SSL_CTX_set1_groups_list(context_, options.groups.c_str()), 1);
    EXPECT_EQ(SSL_CTX_set_ciphersuites(context_, options.suites.c_str()), 1);
    SSL_CTX_set_num_tickets(context_, options.tickets);
    SSL_CTX_set_info_callback(context_, on_info);
    SSL_CTX_set_alpn_select_cb(context_, select_alpn, this);
    if (options.leaf) use(*options.leaf);
    if (!options.roots_pem.empty()) trust(options.roots_pem);
    ssl_ = SSL_new(context_);
    SSL_set_app_data(ssl_, this);
    rbio_ = BIO_new(BIO_s_mem());
    wbio_ = BIO_new(BIO_s_mem());
    BIO_set_mem_eof_return(rbio_, -1);
    SSL_set_bio(ssl_, rbio_, wbio_);
    if (options.server) {
      if (options.ask_client_certificate) SSL_set_verify(ssl_, SSL_VERIFY_PEER, nullptr);
      SSL_set_accept_state(ssl_);
      return;
    }
    SSL_set_connect_state(ssl_);
    if (!options.alpn.empty()) {
      const std::string list = static_cast<char>(options.alpn.size()) + options.alpn;
      SSL_set_alpn_protos(ssl_, reinterpret_cast<const unsigned char*>(list.data()),
                          static_cast<unsigned>(list.size()));
    }
    drive();
  }
  ~OpensslPeer() {
    SSL_free(ssl_);
    SSL_CTX_free(context_);
    ERR_clear_error();
  }
  OpensslPeer(const OpensslPeer&) = delete;
  OpensslPeer& operator=(const OpensslPeer&) = delete;

  SSL* ssl() { return ssl_; }
  bool open() const { return SSL_is_init_finished(ssl_) == 1; }

  void receives(ByteView bytes) {
    BIO_write(rbio_, bytes.data(), static_cast<int>(bytes.size()));
    drive();
  }
  std::string sends() {
    char* at = nullptr;
    const long bytes = BIO_get_mem_data(wbio_, &at);
    std::string text(at, static_cast<size_t>(bytes));
    (void)BIO_reset(wbio_);
    return text;
  }
  void writes(std::string_view text) {
    ERR_clear_error();
    EXPECT_EQ(SSL_write(ssl_, text.data(), static_cast<int>(text.size())), static_cast<int>(text.size()));
  }
  std::string reads() { return std::exchange(read_, {}); }
  void closes() { SSL_shutdown(ssl_); }
  bool peer_closed() const { return (SSL_get_shutdown(ssl_) & SSL_RECEIVED_SHUTDOWN) != 0; }
  void updates_key(bool ask) {
    EXPECT_EQ(SSL_key_update(ssl_, ask ? SSL_KEY_UPDATE_REQUESTED : SSL_KEY_UPDATE_NOT_REQUESTED), 1);
    EXPECT_EQ(SSL_do_handshake(ssl_), 1);
  }
  std::optional<uint8_t> alert_sent() const { return alert_sent_; }
  std::optional<uint8_t> alert_received() const { return alert_received_; }

 private:
  void use(const testkit::TestLeaf& leaf) {
    BIO* bio = BIO_new_mem_buf(leaf.chain_pem.data(), static_cast<int>(leaf.chain_pem.size()));
    X509* certificate = PEM_read_bio_X509(bio, nullptr, nullptr, nullptr);
    EXPECT_EQ(SSL_CTX_use_certificate(context_, certificate), 1);
    X509_free(certificate);
    while (X509* issuer = PEM_read_bio_X509(bio, nullptr, nullptr, nullptr)) SSL_CTX_add0_chain_cert(context_, issuer);
    BIO_free(bio);
    bio = BIO_new_mem_buf(leaf.key_pem.data(), static_cast<int>(leaf.key_pem.size()));
    EVP_PKEY* key = PEM_read_bio_PrivateKey(bio, nullptr, nullptr, nullptr);
    EXPECT_EQ(SSL_CTX_use_PrivateKey(context_, key), 1);
    EVP_PKEY_free(key);
    BIO_free(bio);
  }
  void trust(const std::string& pem) {
    BIO* bio = BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size()));
    while (X509* root = PEM_read_bio_X509(bio, nullptr, nullptr, nullptr)) {
      X509_STORE_add_cert(SSL_CTX_get_cert_store(context_), root);
      X509_free(root);
    }
    BIO_free(bio);
    X509_VERIFY_PARAM_set_time(SSL_CTX_get0_param(context_), options_.now.time_since_epoch().count());
    SSL_CTX_set_verify(context_, SSL_VERIFY_PEER, nullptr);
  }
  void drive() {
    ERR_clear_error();
    if (!open() && SSL_do_handshake(ssl_) != 1) return;
    char buffer[20'000];
    for (;;) {
      const int bytes = SSL_read(ssl_, buffer, sizeof buffer);
      if (bytes <= 0) return;
      read_.append(buffer, static_cast<size_t>(bytes));
    }
  }
  static void on_info(const SSL* ssl, int where, int value) {
    auto& self = *static_cast<OpensslPeer*>(SSL_get_app_data(ssl));
    if (where == SSL_CB_READ_ALERT) self.alert_received_ = static_cast<uint8_t>(value);
    if (where == SSL_CB_WRITE_ALERT) self.alert_sent_ = static_cast<uint8_t>(value);
  }
  static int select_alpn(SSL*, const unsigned char** out, unsigned char* out_bytes, const unsigned char* in,
                         unsigned int in_bytes, void* self) {
    const std::string& ours = static_cast<OpensslPeer*>(self)->options_.alpn;
    if (ours.empty()) return SSL_TLSEXT_ERR_NOACK;
    for (unsigned int at = 0; at < in_bytes; at += 1u + in[at]) {
      if (culvert::text_of({in + at + 1, in[at]}) != ours) continue;
      *out = in + at + 1;
      *out_bytes = in[at];
      return SSL_TLSEXT_ERR_OK;
    }
    return SSL_TLSEXT_ERR_ALERT_FATAL;
  }

  PeerOptions options_;
  SSL_CTX* context_ = nullptr;
  SSL* ssl_ = nullptr;
  BIO* rbio_ = nullptr;
  BIO* wbio_ = nullptr;
  std::string read_;
  std::optional<uint8_t> alert_sent_, alert_received_;
};

}  // namespace culvert::tls
