// Private keys stay (D20): everything that crosses the contract while a certificate is brought is recorded byte by byte
// between client and server, and searched for the key in the forms in which keys are written down.
#include <gtest/gtest.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <thread>

#include "control/api/certificates.grpc.pb.h"
#include "control/api/common.grpc.pb.h"
#include "control/api/status.grpc.pb.h"
#include "tests/unit/control/served.h"

namespace culvert::control {
namespace {

// Passes bytes between one client and the server, and keeps them all.
class Recorder {
 public:
  Recorder(const std::string& listen_on, const std::string& server) {
    listener_.reset(::socket(AF_UNIX, SOCK_STREAM, 0));
    bind_to(listen_on);
    thread_ = std::thread([this, server] { run(server); });
  }
  std::string finish() {
    thread_.join();
    return recorded_;
  }

 private:
  static sockaddr_un address_of(const std::string& path) {
    sockaddr_un out{};
    out.sun_family = AF_UNIX;
    std::memcpy(out.sun_path, path.data(), path.size());
    return out;
  }
  void bind_to(const std::string& path) {
    const sockaddr_un address = address_of(path);
    ASSERT_EQ(::bind(listener_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
    ASSERT_EQ(::listen(listener_.get(), 1), 0);
  }
  void run(const std::string& path) {
    const UniqueFd client(::accept(listener_.get(), nullptr, nullptr));
    const UniqueFd server(::socket(AF_UNIX, SOCK_STREAM, 0));
    const sockaddr_un address = address_of(path);
    if (::connect(server.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) return;
    pollfd ends[2] = {{client.get(), POLLIN, 0}, {server.get(), POLLIN, 0}};
    char block[65536];
    while (true) {
      ::poll(ends, 2, -1);
      for (int i = 0; i < 2; ++i) {
        if (ends[i].revents == 0) continue;
        const ssize_t n = ::read(ends[i].fd, block, sizeof(block));
        if (n <= 0) return;
        recorded_.append(block, static_cast<size_t>(n));
        if (::write(ends[1 - i].fd, block, static_cast<size_t>(n)) != n) return;
      }
    }
  }

  UniqueFd listener_;
  std::string recorded_;
  std::thread thread_;
};

std::string of_bio(BIO* bio) {
  char* data = nullptr;
  const long length = BIO_get_mem_data(bio, &data);
  return {data, static_cast<size_t>(length)};
}

// The secret number itself, and the lines of PEM that hold it.
std::vector<std::string> forms_of(EVP_PKEY* key) {
  std::vector<std::string> out;
  BIGNUM* number = nullptr;
  EXPECT_EQ(EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_PRIV_KEY, &number), 1);
  std::string scalar(32, '\0');
  BN_bn2binpad(number, reinterpret_cast<unsigned char*>(scalar.data()), 32);
  out.push_back(scalar);
  char* hex = BN_bn2hex(number);
  out.emplace_back(hex);
  std::string lower(hex);
  for (char& c : lower) c = static_cast<char>(std::tolower(c));
  out.push_back(lower);
  OPENSSL_free(hex);
  BN_free(number);
  BIO* pem = BIO_new(BIO_s_mem());
  PEM_write_bio_PrivateKey(pem, key, nullptr, nullptr, 0, nullptr, nullptr);
  const std::string text = of_bio(pem);
  BIO_free(pem);
  // The second line of a P-256 key in PKCS#8 lies within the secret.
  const size_t first = text.find('\n') + 1;
  out.push_back(text.substr(text.find('\n', first) + 1, 48));
  BIO* der = BIO_new(BIO_s_mem());
  i2d_PrivateKey_bio(der, key);
  const std::string encoded = of_bio(der);
  BIO_free(der);
  out.push_back(encoded);
  EXPECT_NE(encoded.find(scalar), std::string::npos) << "the search would find it";
  return out;
}

TEST(PrivateKeys, NeverCrossTheContract) {
  const testkit::TestCa ca;
  Served served;
  Recorder recorder(served.folder / "recorder.sock", served.folder / "control.sock");
  api::Csr csr;
  {
    const auto channel = served.channel("recorder.sock");
    const auto stub = api::Certificates::NewStub(channel);
    api::CsrRequest request;
    request.set_identity("spiffe://cluster.local/ns/demo/sa/web");
    Call ask;
    ASSERT_TRUE(stub->CreateCsr(&ask, request, &csr).ok());
    api::InstallRequest install;
    install.set_csr_id(csr.csr_id());
    install.set_chain_pem(ca.sign_csr(csr.csr_pem()));
    install.set_roots_pem(ca.root_pem());
    api::CertificateState state;
    Call bring;
    ASSERT_TRUE(stub->Install(&bring, install, &state).ok());
    Call list;
    api::CertificateStates states;
    ASSERT_TRUE(stub->List(&list, {}, &states).ok());
    Call status;
    api::StatusReply reply;
    ASSERT_TRUE(api::Sight::NewStub(channel)->Status(&status, {}, &reply).ok());
  }
  const std::string recorded = recorder.finish();
  ASSERT_NE(recorded.find(csr.csr_pem()), std::string::npos) << "the recorder sees what passes";
  ASSERT_EQ(served.node.credentials->size(), 1u);
  for (const std::string& form : forms_of(served.node.credentials->begin()->second->key())) {
    EXPECT_EQ(recorded.find(form), std::string::npos);
  }
  EXPECT_EQ(recorded.find("PRIVATE KEY"), std::string::npos);
}

}  // namespace
}  // namespace culvert::control
