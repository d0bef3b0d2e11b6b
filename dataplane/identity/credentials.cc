#include "identity/credentials.h"

#include <openssl/bn.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <algorithm>
#include <mutex>

#include "identity/certificate.h"

namespace culvert::identity {

namespace {

// Which anchor has issued `certificate`. While a mesh changes its root the bundle has two of one name, and OpenSSL
// takes the first of them unless the certificate says by a key identifier which it means: here the signature says it.
int find_anchor(X509** issuer, X509_STORE_CTX* context, X509* certificate) {
  STACK_OF(X509)* named = X509_STORE_CTX_get1_certs(context, X509_get_issuer_name(certificate));
  X509* found = nullptr;
  if (sk_X509_num(named) > 1) {
    const UnixTime now{std::chrono::seconds{X509_VERIFY_PARAM_get_time(X509_STORE_CTX_get0_param(context))}};
    for (int i = 0; i < sk_X509_num(named); ++i) {
      X509* candidate = sk_X509_value(named, i);
      EVP_PKEY* key = X509_get0_pubkey(candidate);
      if (X509_check_issued(candidate, certificate) != X509_V_OK || !key || X509_verify(certificate, key) != 1)
        continue;
      // Renewed certificates of one key: one that is valid now, else any, whose dates are then judged.
      const bool valid = not_before(candidate) <= now && now < not_after(candidate);
      if (valid || !found) found = candidate;
      if (valid) break;
    }
    ERR_clear_error();
  }
  if (found) X509_up_ref(found);
  sk_X509_pop_free(named, X509_free);
  if (!found) return X509_STORE_CTX_get1_issuer(issuer, context, certificate);
  *issuer = found;
  return 1;
}

}  // namespace

struct Credentials::Impl {
  std::shared_ptr<const PrivateKey> key;
  std::vector<Certificate> chain;
  std::vector<Certificate> anchors;
  std::vector<x509_st*> intermediates;  // into `chain`
  std::vector<x509_st*> roots;          // into `anchors`
  X509_STORE* store = nullptr;
  std::vector<SpiffeId> identities;
  UnixTime not_before{};
  UnixTime not_after{};
  std::once_flag derive_once;
  std::shared_ptr<void> derived;

  ~Impl() { X509_STORE_free(store); }
};

Credentials::Credentials(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Credentials::~Credentials() = default;

Result<std::shared_ptr<const Credentials>, std::string> Credentials::make(std::shared_ptr<const PrivateKey> key,
                                                                          std::string_view chain_pem,
                                                                          std::string_view roots_pem) {
  auto chain = parse_pem_certificates(chain_pem);
  if (!chain) return "certificate chain: " + chain.error();
  auto roots = parse_pem_certificates(roots_pem);
  if (!roots) return "root certificates: " + roots.error();
  if (roots->empty()) return std::string("root certificates: there is none, so no peer could be trusted");
  if (key && chain->empty()) return std::string("certificate chain: there is no certificate for the private key");
  if (!key && !chain->empty()) return std::string("private key: there is none for the certificate chain");

  auto impl = std::make_unique<Impl>();
  impl->chain = std::move(*chain);
  impl->anchors = std::move(*roots);
  if (key) {
    if (X509_check_private_key(impl->chain.front().get(), key->get()) != 1) {
      ERR_clear_error();
      return std::string("private key: it does not belong to the first certificate of the chain");
    }
    impl->identities = spiffe_ids(impl->chain.front().get());
    impl->not_before = identity::not_before(impl->chain.front().get());
    impl->not_after = identity::not_after(impl->chain.front().get());
    for (const Certificate& certificate : impl->chain) {
      impl->not_before = std::max(impl->not_before, identity::not_before(certificate.get()));
      impl->not_after = std::min(impl->not_after, identity::not_after(certificate.get()));
      if (certificate != impl->chain.front()) impl->intermediates.push_back(certificate.get());
    }
  }
  impl->key = std::move(key);
  impl->store = X509_STORE_new();
  if (!impl->store) return std::string("out of memory");
  if (impl->anchors.size() > 1) X509_STORE_set_get_issuer(impl->store, find_anchor);
  for (const Certificate& root : impl->anchors) {
    X509_STORE_add_cert(impl->store, root.get());
    impl->roots.push_back(root.get());
  }
  return std::shared_ptr<const Credentials>(new Credentials(std::move(impl)));
}

const std::vector<SpiffeId>& Credentials::identities() const { return impl_->identities; }
UnixTime Credentials::not_before() const { return impl_->not_before; }
UnixTime Credentials::not_after() const { return impl_->not_after; }

std::string Credentials::serial_decimal() const {
  if (impl_->chain.empty()) return {};
  BIGNUM* number = ASN1_INTEGER_to_BN(X509_get0_serialNumber(leaf()), nullptr);
  if (!number) return {};
  char* decimal = BN_bn2dec(number);
  std::string text = decimal ? decimal : "";
  OPENSSL_free(decimal);
  BN_free(number);
  return text;
}

std::string Credentials::chain_pem() const {
  std::vector<const x509_st*> all;
  for (const Certificate& certificate : impl_->chain) all.push_back(certificate.get());
  return pem_of(all);
}

std::string Credentials::roots_pem() const {
  return pem_of(std::vector<const x509_st*>(impl_->roots.begin(), impl_->roots.end()));
}

evp_pkey_st* Credentials::key() const { return impl_->key ? impl_->key->get() : nullptr; }
x509_st* Credentials::leaf() const { return impl_->chain.empty() ? nullptr : impl_->chain.front().get(); }
const std::vector<x509_st*>& Credentials::intermediates() const { return impl_->intermediates; }
x509_store_st* Credentials::roots() const { return impl_->store; }
const std::vector<x509_st*>& Credentials::root_certificates() const { return impl_->roots; }

const std::shared_ptr<void>& Credentials::derived(std::shared_ptr<void> (*derive)(const Credentials&)) const {
  std::call_once(impl_->derive_once, [&] { impl_->derived = derive(*this); });
  return impl_->derived;
}

}  // namespace culvert::identity
