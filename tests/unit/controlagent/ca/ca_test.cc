// The file-based CA, judged from outside: by OpenSSL's verifier, by the `openssl` program, and by requests that a
// careful CA refuses.
#include "ca/ca.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <sys/stat.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <set>
#include <sstream>

namespace culvert::ca {
namespace {

using testing::HasSubstr;
using namespace std::chrono_literals;

constexpr char kId[] = "spiffe://cluster.local/ns/demo/sa/client";
// Inside the life of every CA these tests make, and the same in every run of one test.
UnixTime now() { return std::chrono::floor<std::chrono::seconds>(std::chrono::system_clock::now()); }

class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    std::string name = (std::filesystem::temp_directory_path() / "culvert-ca-XXXXXX").string();
    if (mkdtemp(name.data()) == nullptr) std::abort();
    path_ = name;
  }
  ~TemporaryDirectory() { std::filesystem::remove_all(path_); }
  std::string operator/(const std::string& name) const { return (path_ / name).string(); }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

std::string content(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

struct FreeKey {
  void operator()(EVP_PKEY* key) const { EVP_PKEY_free(key); }
};
using Key = std::unique_ptr<EVP_PKEY, FreeKey>;

// A request as the data plane makes them, or one that differs in a single point.
struct RequestShape {
  std::string subject_alt_name = "URI:spiffe://cluster.local/ns/demo/sa/client";
  std::string common_name;
  std::string curve = "P-256";
  bool rsa = false;
  bool key_usage_too = false;
  bool broken_signature = false;
};

std::string request_pem(const RequestShape& shape) {
  const Key key(shape.rsa ? EVP_RSA_gen(2048) : EVP_EC_gen(shape.curve.c_str()));
  X509_REQ* request = X509_REQ_new();
  X509_REQ_set_pubkey(request, key.get());
  if (!shape.common_name.empty()) {
    X509_NAME_add_entry_by_txt(X509_REQ_get_subject_name(request), "CN", MBSTRING_UTF8,
                               reinterpret_cast<const unsigned char*>(shape.common_name.c_str()), -1, -1, 0);
  }
  STACK_OF(X509_EXTENSION)* extensions = sk_X509_EXTENSION_new_null();
  if (!shape.subject_alt_name.empty()) {
    sk_X509_EXTENSION_push(extensions, X509V3_EXT_conf_nid(nullptr, nullptr, NID_subject_alt_name,
                                                           ("critical," + shape.subject_alt_name).c_str()));
  }
  if (shape.key_usage_too) {
    sk_X509_EXTENSION_push(extensions, X509V3_EXT_conf_nid(nullptr, nullptr, NID_key_usage, "keyCertSign"));
  }
  X509_REQ_add_extensions(request, extensions);
  sk_X509_EXTENSION_pop_free(extensions, X509_EXTENSION_free);
  X509_REQ_sign(request, key.get(), EVP_sha256());
  if (shape.broken_signature) {
    const Key other(EVP_EC_gen("P-256"));
    X509_REQ_set_pubkey(request, other.get());
  }
  BIO* out = BIO_new(BIO_s_mem());
  PEM_write_bio_X509_REQ(out, request);
  char* data = nullptr;
  const long size = BIO_get_mem_data(out, &data);
  std::string pem(data, static_cast<size_t>(size));
  BIO_free(out);
  X509_REQ_free(request);
  return pem;
}

std::unique_ptr<Authority> new_authority(const TemporaryDirectory& dir) {
  const auto made = init(dir / "ca");
  EXPECT_TRUE(made) << (made ? "" : made.error());
  auto opened = Authority::open(dir / "ca", now());
  EXPECT_TRUE(opened) << (opened ? "" : opened.error());
  return opened ? std::move(*opened) : nullptr;
}

// What `openssl` prints, and its exit status.
std::pair<int, std::string> run(const std::string& command) {
  FILE* pipe = popen((command + " 2>&1").c_str(), "r");
  std::string out;
  char chunk[512];
  while (fgets(chunk, sizeof(chunk), pipe) != nullptr) out += chunk;
  return {pclose(pipe), out};
}

TEST(CaInit, MakesFourFilesForTheirOwnerOnly) {
  TemporaryDirectory dir;
  ASSERT_TRUE(init(dir / "ca"));
  std::set<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(dir / "ca")) {
    names.insert(entry.path().filename());
    struct stat status {};
    ASSERT_EQ(stat(entry.path().c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 07777, 0600u) << entry.path();
  }
  EXPECT_EQ(names, (std::set<std::string>{"ca-cert.pem", "ca-key.pem", "root-cert.pem", "root-key.pem"}));
}

TEST(CaInit, DoesNotOverwriteAnythingThatStands) {
  for (const char* name : {"ca-cert.pem", "ca-key.pem", "root-cert.pem", "root-key.pem"}) {
    TemporaryDirectory dir;
    std::ofstream(dir / name) << "mine";
    const auto refused = init(dir.path());
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error(),
              dir / name + " exists: there is a CA in " + dir.path().string() + " already; it is not overwritten");
    EXPECT_EQ(content(dir / name), "mine");
    EXPECT_EQ(std::distance(std::filesystem::directory_iterator(dir.path()), {}), 1) << "nothing half-made is left";
  }
}

TEST(CaInit, SaysWhichDirectoryItCannotMake) {
  const auto refused = init("/nonexistent/place/ca");
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error(), "cannot make the directory /nonexistent/place/ca: No such file or directory");
}

TEST(CaSign, TheOpensslProgramAcceptsTheChainInBothRoles) {
  TemporaryDirectory dir;
  const auto authority = new_authority(dir);
  const auto issued = authority->sign(request_pem({}), kId, 10min, now());
  ASSERT_TRUE(issued) << issued.error();
  std::ofstream(dir / "chain.pem") << issued->chain_pem;
  std::ofstream(dir / "roots.pem") << issued->roots_pem;
  for (const char* purpose : {"sslclient", "sslserver"}) {
    const auto [status, out] =
        run("openssl verify -x509_strict -purpose " + std::string(purpose) + " -CAfile " + (dir / "roots.pem") +
            " -untrusted " + (dir / "chain.pem") + " " + (dir / "chain.pem"));
    EXPECT_EQ(status, 0) << out;
  }
  const auto [status, text] = run("openssl x509 -noout -text -in " + (dir / "chain.pem"));
  EXPECT_EQ(status, 0);
  EXPECT_THAT(text, HasSubstr("X509v3 Subject Alternative Name: critical\n                URI:" + std::string(kId)));
  EXPECT_THAT(text, HasSubstr("TLS Web Server Authentication, TLS Web Client Authentication"));
  EXPECT_THAT(text, HasSubstr("X509v3 Key Usage: critical\n                Digital Signature\n"));
  EXPECT_THAT(text, HasSubstr("CA:FALSE"));
  EXPECT_THAT(text, HasSubstr("ecdsa-with-SHA256"));
  EXPECT_THAT(text, testing::ContainsRegex("Subject: *\n"));
}

TEST(CaSign, ALeafIsBackdatedByAFifthOfItsLifeAndAtMostTwoMinutes) {
  EXPECT_EQ(backdating(10min), 2min);
  EXPECT_EQ(backdating(24h), 2min);
  EXPECT_EQ(backdating(20s), 4s);
  TemporaryDirectory dir;
  const auto authority = new_authority(dir);
  const UnixTime t = now();
  const auto issued = authority->sign(request_pem({}), kId, 10min, t);
  ASSERT_TRUE(issued) << issued.error();
  EXPECT_EQ(issued->not_before, t - 2min);
  EXPECT_EQ(issued->not_after, t + 10min);
}

TEST(CaSign, ALeafNeverOutlivesItsIssuer) {
  TemporaryDirectory dir;
  const auto authority = new_authority(dir);
  const UnixTime end = authority->not_after();
  const auto issued = authority->sign(request_pem({}), kId, 10min, end - 1min);
  ASSERT_TRUE(issued) << issued.error();
  EXPECT_EQ(issued->not_after, end);
  const auto refused = authority->sign(request_pem({}), kId, 10min, end);
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error(), HasSubstr("ca-cert.pem expired on "));
}

TEST(CaSign, SerialsAreLongAndDiffer) {
  TemporaryDirectory dir;
  const auto authority = new_authority(dir);
  std::set<std::string> serials;
  for (int i = 0; i < 20; i++) serials.insert(authority->sign(request_pem({}), kId, 10min, now())->serial);
  EXPECT_EQ(serials.size(), 20u);
  for (const std::string& serial : serials) EXPECT_EQ(serial.size(), 32u) << serial;
}

TEST(CaSign, TakesP384Too) {
  TemporaryDirectory dir;
  RequestShape shape;
  shape.curve = "P-384";
  EXPECT_TRUE(new_authority(dir)->sign(request_pem(shape), kId, 10min, now()));
}

struct Refusal {
  std::string name;
  std::function<void(RequestShape&)> change;
  std::string sentence;
  friend void PrintTo(const Refusal& refusal, std::ostream* out) { *out << refusal.name; }
};

class CaRefuses : public testing::TestWithParam<Refusal> {};

TEST_P(CaRefuses, TheRequestAndSaysWhy) {
  TemporaryDirectory dir;
  RequestShape shape;
  GetParam().change(shape);
  const auto refused = new_authority(dir)->sign(request_pem(shape), kId, 10min, now());
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error(), "the request for " + std::string(kId) + " is refused: " + GetParam().sentence);
}

INSTANTIATE_TEST_SUITE_P(
    Csr, CaRefuses,
    testing::Values(
        Refusal{"rsa", [](RequestShape& s) { s.rsa = true; }, "its key is not an ECDSA key (accepted: P-256, P-384)"},
        Refusal{"p521", [](RequestShape& s) { s.curve = "P-521"; },
                "its key is on curve secp521r1 (accepted: P-256, P-384)"},
        Refusal{"signature", [](RequestShape& s) { s.broken_signature = true; }, "its signature is wrong"},
        Refusal{"subject", [](RequestShape& s) { s.common_name = "admin"; }, "its subject is not empty"},
        Refusal{"no_extension", [](RequestShape& s) { s.subject_alt_name = ""; },
                "it asks for 0 extensions; exactly one is accepted, a URI subject alternative name"},
        Refusal{"key_usage", [](RequestShape& s) { s.key_usage_too = true; },
                "it asks for 2 extensions; exactly one is accepted, a URI subject alternative name"},
        Refusal{"two_names",
                [](RequestShape& s) { s.subject_alt_name += ",URI:spiffe://cluster.local/ns/demo/sa/other"; },
                "it does not ask for exactly one subject alternative name"},
        Refusal{"dns", [](RequestShape& s) { s.subject_alt_name = "DNS:demo.local"; },
                "its subject alternative name is not a URI"},
        Refusal{"another_identity",
                [](RequestShape& s) { s.subject_alt_name = "URI:spiffe://cluster.local/ns/demo/sa/other"; },
                "it asks for \"spiffe://cluster.local/ns/demo/sa/other\", not for "
                "spiffe://cluster.local/ns/demo/sa/client"}),
    [](const auto& row) { return row.param.name; });

TEST(CaRefusesText, ThatIsNoRequest) {
  TemporaryDirectory dir;
  const auto authority = new_authority(dir);
  for (const std::string& text : {std::string(), std::string("hello"), content(dir / "ca/ca-cert.pem")}) {
    const auto refused = authority->sign(text, kId, 10min, now());
    ASSERT_FALSE(refused);
    EXPECT_THAT(refused.error(), HasSubstr("it is not a PEM certificate request"));
  }
  EXPECT_THAT(authority->sign(std::string(20000, 'x'), kId, 10min, now()).error(), HasSubstr("longer than 16 KiB"));
}

TEST(CaRefusesLifetime, OutsideOfASecondToADay) {
  TemporaryDirectory dir;
  const auto authority = new_authority(dir);
  for (const std::chrono::seconds lifetime : {0s, -5s, 86401s}) {
    EXPECT_EQ(authority->sign(request_pem({}), kId, lifetime, now()).error(),
              "a lifetime of " + std::to_string(lifetime.count()) + " s is not accepted (1 s to 24 h)");
  }
}

TEST(CaIdentity, HasFivePartsAndItsLiterals) {
  EXPECT_TRUE(is_workload_identity(kId));
  for (const char* bad : {"", "spiffe://", "spiffe://td/ns/a/sa/", "spiffe:///ns/a/sa/b", "spiffe://td/ns/a/sa/b/c",
                          "spiffe://td/ns/a/sa", "spiffe://td/sa/a/ns/b", "https://td/ns/a/sa/b",
                          "spiffe://td/ns/a/sa/b,DNS:x", "spiffe://td/ns//sa/b"}) {
    EXPECT_FALSE(is_workload_identity(bad)) << bad;
  }
}

TEST(CaOpen, RefusesAKeyThatOthersMayRead) {
  TemporaryDirectory dir;
  ASSERT_TRUE(init(dir / "ca"));
  ASSERT_EQ(chmod((dir / "ca/ca-key.pem").c_str(), 0640), 0);
  const auto refused = Authority::open(dir / "ca", now());
  ASSERT_FALSE(refused);
  const std::string key = dir / "ca/ca-key.pem";
  EXPECT_EQ(refused.error(), key + " holds a private key and may be read by others; run: chmod 600 " + key);
}

TEST(CaOpen, RefusesAKeyOfAnotherCertificateAndAChainOfAnotherRoot) {
  TemporaryDirectory dir;
  ASSERT_TRUE(init(dir / "a"));
  ASSERT_TRUE(init(dir / "b"));
  const auto copy = [&](const char* name) {
    std::filesystem::copy_file(dir / "b/" + name, dir / "a/" + name, std::filesystem::copy_options::overwrite_existing);
  };
  copy("ca-key.pem");
  EXPECT_THAT(Authority::open(dir / "a", now()).error(), HasSubstr("ca-key.pem is not the key of "));
  copy("ca-cert.pem");
  EXPECT_THAT(Authority::open(dir / "a", now()).error(), HasSubstr("ca-cert.pem does not lead to "));
  copy("root-cert.pem");
  EXPECT_TRUE(Authority::open(dir / "a", now()));
}

TEST(CaOpen, TellsHowToMakeOneThatIsMissing) {
  TemporaryDirectory dir;
  EXPECT_EQ(Authority::open(dir / "ca", now()).error(), "cannot read " + (dir / "ca/ca-cert.pem") +
                                                            ": No such file or directory; make a CA with: culvertctl "
                                                            "ca init " +
                                                            (dir / "ca"));
}

TEST(CaOpen, SignsWithARootOfItsOwnWhenThereIsNoIntermediate) {
  TemporaryDirectory dir;
  ASSERT_TRUE(init(dir / "ca"));
  std::filesystem::copy_file(dir / "ca/root-cert.pem", dir / "ca/ca-cert.pem",
                             std::filesystem::copy_options::overwrite_existing);
  std::filesystem::copy_file(dir / "ca/root-key.pem", dir / "ca/ca-key.pem",
                             std::filesystem::copy_options::overwrite_existing);
  auto authority = Authority::open(dir / "ca", now());
  ASSERT_TRUE(authority) << authority.error();
  const auto issued = (*authority)->sign(request_pem({}), kId, 10min, now());
  ASSERT_TRUE(issued);
  EXPECT_EQ(issued->chain_pem.find("BEGIN CERTIFICATE", issued->chain_pem.find("END CERTIFICATE")), std::string::npos)
      << "a root is not presented";
}

TEST(CaIssue, WritesKeyAndChainForAnOutsidePeerThatFitTogether) {
  TemporaryDirectory dir;
  ASSERT_TRUE(init(dir / "ca"));
  const std::string prefix = dir / "envoy";
  std::ofstream(prefix + "-key.pem") << "older, and readable by all";
  const auto issued = issue(dir / "ca", kId, 1h, prefix);
  ASSERT_TRUE(issued) << issued.error();
  for (const char* name : {"envoy-key.pem", "envoy-chain.pem"}) {
    struct stat status {};
    ASSERT_EQ(stat((dir / name).c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 07777, 0600u) << name;
  }
  EXPECT_EQ(run("openssl pkey -pubout -in " + prefix + "-key.pem").second,
            run("openssl x509 -noout -pubkey -in " + prefix + "-chain.pem").second);
  EXPECT_EQ(run("openssl verify -CAfile " + (dir / "ca/root-cert.pem") + " -untrusted " + prefix + "-chain.pem " +
                prefix + "-chain.pem")
                .first,
            0);
}

TEST(CaIssue, RefusesWhatIsNoIdentity) {
  TemporaryDirectory dir;
  ASSERT_TRUE(init(dir / "ca"));
  EXPECT_EQ(issue(dir / "ca", "spiffe://x", 1h, dir / "out").error(),
            "\"spiffe://x\" is not an identity (accepted: spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/SERVICE-ACCOUNT)");
  EXPECT_FALSE(std::filesystem::exists(dir / "out-key.pem"));
}

}  // namespace
}  // namespace culvert::ca
