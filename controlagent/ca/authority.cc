// The CA itself: making its directory, opening it, signing.
#include <fcntl.h>
#include <openssl/crypto.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "ca/ca.h"
#include "ca/certificate.h"
#include "ca/files.h"

namespace culvert::ca {
namespace {

constexpr std::chrono::hours kDay{24};
constexpr auto kCaLifetime = 3650 * kDay;
constexpr std::chrono::minutes kBackdatingMax{2};

// A CA certificate is used by nodes whose clocks may be further off than a leaf may be backdated.
constexpr std::chrono::hours kCaBackdating{1};

struct Paths {
  explicit Paths(const std::string& dir)
      : root_cert(dir + "/root-cert.pem"),
        root_key(dir + "/root-key.pem"),
        ca_cert(dir + "/ca-cert.pem"),
        ca_key(dir + "/ca-key.pem") {}
  std::string root_cert, root_key, ca_cert, ca_key;
};

UnixTime wall_clock() { return std::chrono::floor<std::chrono::seconds>(std::chrono::system_clock::now()); }

// A key's text on its way to a file; wiped when it goes.
class KeyText {
 public:
  explicit KeyText(EVP_PKEY* key) : pem_(to_pem(key)) {}
  KeyText(const KeyText&) = delete;
  KeyText& operator=(const KeyText&) = delete;
  ~KeyText() { OPENSSL_cleanse(pem_.data(), pem_.size()); }
  std::string_view get() const { return pem_; }

 private:
  std::string pem_;
};

// Files made so far; removed again unless all of them came to stand.
class Undo {
 public:
  Undo() = default;
  Undo(const Undo&) = delete;
  Undo& operator=(const Undo&) = delete;
  ~Undo() {
    for (const std::string& path : made_) unlink(path.c_str());
  }
  void made(const std::string& path) { made_.push_back(path); }
  void keep() { made_.clear(); }

 private:
  std::vector<std::string> made_;
};

Result<void, std::string> check_lifetime(std::chrono::seconds lifetime) {
  if (lifetime < std::chrono::seconds{1} || lifetime > kLeafLifetimeMax) {
    return "a lifetime of " + std::to_string(lifetime.count()) + " s is not accepted (1 s to 24 h)";
  }
  return {};
}

bool leads_to_root(const std::vector<CertificatePtr>& chain, const std::vector<CertificatePtr>& roots, UnixTime now,
                   std::string& why) {
  const StorePtr store(X509_STORE_new());
  for (const CertificatePtr& root : roots) X509_STORE_add_cert(store.get(), root.get());
  STACK_OF(X509)* untrusted = sk_X509_new_null();
  for (const CertificatePtr& one : chain) sk_X509_push(untrusted, one.get());
  const StoreContextPtr context(X509_STORE_CTX_new());
  X509_STORE_CTX_init(context.get(), store.get(), chain.front().get(), untrusted);
  X509_STORE_CTX_set_time(context.get(), 0, now.time_since_epoch().count());
  const bool ok = X509_verify_cert(context.get()) == 1;
  why = X509_verify_cert_error_string(X509_STORE_CTX_get_error(context.get()));
  sk_X509_free(untrusted);
  take_openssl_error();
  return ok;
}

bool is_segment(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](unsigned char c) {
    return std::isalnum(c) != 0 || c == '-' || c == '_' || c == '.';
  });
}

}  // namespace

struct Authority::Impl {
  KeyPtr key;
  std::vector<CertificatePtr> chain;  // the issuing certificate first
  std::string chain_pem, roots_pem, ca_cert_path;

  // For a public key whose holder has proven possession, or that was made here.
  Result<IssuedChain, std::string> issue(EVP_PKEY* subject_key, const std::string& uri, std::chrono::seconds lifetime,
                                         UnixTime now) const {
    if (auto ok = check_lifetime(lifetime); !ok) return ok.error();
    const UnixTime limit = ca::not_after(chain.front().get());
    if (now >= limit) {
      return ca_cert_path + " expired on " + rfc3339(limit) + "; make a new CA in another directory";
    }
    const Template leaf{.kind = Kind::kLeaf,
                        .common_name = "",
                        .uri = uri,
                        .not_before = now - backdating(lifetime),
                        .not_after = std::min(now + lifetime, limit)};
    auto certificate = make_certificate(leaf, subject_key, chain.front().get(), key.get());
    if (!certificate) return certificate.error();
    return IssuedChain{.chain_pem = to_pem(certificate->get()) + chain_pem,
                       .roots_pem = roots_pem,
                       .not_before = leaf.not_before,
                       .not_after = leaf.not_after,
                       .serial = serial_hex(certificate->get())};
  }
};

std::chrono::seconds backdating(std::chrono::seconds lifetime) {
  return std::min<std::chrono::seconds>(kBackdatingMax, lifetime / 5);
}

bool is_workload_identity(std::string_view uri) {
  constexpr std::string_view kScheme = "spiffe://";
  if (!uri.starts_with(kScheme) || uri.size() > 2048) return false;
  std::vector<std::string_view> parts;
  std::string_view rest = uri.substr(kScheme.size());
  for (size_t slash = 0; slash != std::string_view::npos && parts.size() <= 5;) {
    slash = rest.find('/');
    parts.push_back(rest.substr(0, slash));
    if (slash != std::string_view::npos) rest.remove_prefix(slash + 1);
  }
  return parts.size() == 5 && parts[1] == "ns" && parts[3] == "sa" &&
         std::all_of(parts.begin(), parts.end(), is_segment);
}

Result<void, std::string> init(const std::string& dir) {
  if (mkdir(dir.c_str(), 0700) != 0 && errno != EEXIST) {
    return "cannot make the directory " + dir + ": " + std::strerror(errno);
  }
  const Paths paths(dir);
  for (const std::string* path : {&paths.root_cert, &paths.root_key, &paths.ca_cert, &paths.ca_key}) {
    struct stat status {};
    if (lstat(path->c_str(), &status) == 0) {
      return *path + " exists: there is a CA in " + dir + " already; it is not overwritten";
    }
  }
  const KeyPtr root_key = generate_p256_key();
  const KeyPtr ca_key = generate_p256_key();
  if (root_key == nullptr || ca_key == nullptr) return "could not make a key: " + take_openssl_error();

  Template what{.kind = Kind::kRoot,
                .common_name = "Culvert mesh root",
                .uri = "",
                .not_before = wall_clock() - kCaBackdating,
                .not_after = wall_clock() + kCaLifetime};
  auto root = make_certificate(what, root_key.get(), nullptr, root_key.get());
  if (!root) return root.error();
  what.kind = Kind::kIntermediate;
  what.common_name = "Culvert mesh issuing CA";
  auto issuing = make_certificate(what, ca_key.get(), root->get(), root_key.get());
  if (!issuing) return issuing.error();

  const KeyText root_key_text(root_key.get()), ca_key_text(ca_key.get());
  const std::string root_text = to_pem(root->get()), issuing_text = to_pem(issuing->get());
  Undo undo;
  const std::pair<const std::string*, std::string_view> files[] = {{&paths.root_key, root_key_text.get()},
                                                                   {&paths.root_cert, root_text},
                                                                   {&paths.ca_key, ca_key_text.get()},
                                                                   {&paths.ca_cert, issuing_text}};
  for (const auto& [path, content] : files) {
    if (auto written = write_private_file(*path, content, Existing::kRefuse); !written) return written;
    undo.made(*path);
  }
  undo.keep();
  return {};
}

Result<void, std::string> issue(const std::string& dir, const std::string& spiffe_id, std::chrono::seconds lifetime,
                                const std::string& out_prefix) {
  if (!is_workload_identity(spiffe_id)) {
    return "\"" + spiffe_id + "\" is not an identity (accepted: spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/SERVICE-ACCOUNT)";
  }
  auto authority = Authority::open(dir, wall_clock());
  if (!authority) return authority.error();
  return (*authority)->issue_to_files(spiffe_id, lifetime, wall_clock(), out_prefix);
}

Authority::Authority(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Authority::~Authority() = default;

Result<std::unique_ptr<Authority>, std::string> Authority::open(const std::string& dir, UnixTime now) {
  const Paths paths(dir);
  auto impl = std::make_unique<Impl>();
  impl->ca_cert_path = paths.ca_cert;
  auto ca_cert = read_file(paths.ca_cert, false);
  if (!ca_cert) return ca_cert.error() + "; make a CA with: culvertctl ca init " + dir;
  auto ca_key = read_file(paths.ca_key, true);
  if (!ca_key) return ca_key.error();
  auto root_cert = read_file(paths.root_cert, false);
  if (!root_cert) return root_cert.error();

  impl->chain = certificates_from_pem(*ca_cert);
  if (impl->chain.empty()) return paths.ca_cert + " holds no readable certificate";
  const std::vector<CertificatePtr> roots = certificates_from_pem(*root_cert);
  if (roots.empty()) return paths.root_cert + " holds no readable certificate";
  impl->key = key_from_pem(*ca_key);
  OPENSSL_cleanse(ca_key->data(), ca_key->size());
  if (impl->key == nullptr) return paths.ca_key + " holds no readable, unencrypted private key";
  if (X509_check_private_key(impl->chain.front().get(), impl->key.get()) != 1) {
    take_openssl_error();
    return paths.ca_key + " is not the key of " + paths.ca_cert;
  }
  if (X509_check_ca(impl->chain.front().get()) != 1) return paths.ca_cert + " is not the certificate of a CA";
  if (std::string why; !leads_to_root(impl->chain, roots, now, why)) {
    return paths.ca_cert + " does not lead to " + paths.root_cert + ": " + why;
  }
  // A self-signed issuer is a root itself, and roots are not presented.
  for (const CertificatePtr& one : impl->chain) {
    if (X509_check_issued(one.get(), one.get()) != X509_V_OK) impl->chain_pem += to_pem(one.get());
  }
  for (const CertificatePtr& root : roots) impl->roots_pem += to_pem(root.get());
  return std::unique_ptr<Authority>(new Authority(std::move(impl)));
}

Result<IssuedChain, std::string> Authority::sign(std::string_view csr_pem, std::string_view expected_id,
                                                 std::chrono::seconds lifetime, UnixTime now) const {
  const std::string id(expected_id);
  if (!is_workload_identity(id)) return "\"" + id + "\" is not a workload identity";
  auto request = checked_request(csr_pem, id);
  if (!request) return "the request for " + id + " is refused: " + request.error();
  return impl_->issue(X509_REQ_get0_pubkey(request->get()), id, lifetime, now);
}

Result<void, std::string> Authority::issue_to_files(const std::string& spiffe_id, std::chrono::seconds lifetime,
                                                    UnixTime now, const std::string& out_prefix) const {
  const KeyPtr key = generate_p256_key();
  if (key == nullptr) return "could not make a key: " + take_openssl_error();
  auto chain = impl_->issue(key.get(), spiffe_id, lifetime, now);
  if (!chain) return chain.error();
  if (auto ok = write_private_file(out_prefix + "-key.pem", KeyText(key.get()).get(), Existing::kReplace); !ok) {
    return ok;
  }
  return write_private_file(out_prefix + "-chain.pem", chain->chain_pem, Existing::kReplace);
}

UnixTime Authority::not_after() const { return ca::not_after(impl_->chain.front().get()); }
const std::string& Authority::roots_pem() const { return impl_->roots_pem; }

}  // namespace culvert::ca
