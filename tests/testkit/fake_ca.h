// What a fake istiod answers to CreateCertificate (reference 15): a request's bytes in, a status and the answer's bytes
// out. No gRPC server and no clock here.
#pragma once

#include <string>
#include <vector>

#include "tests/testkit/fake_istiod.h"

namespace culvert::testkit {

// Root, and what signs below it; replaced as a whole when the root is.
class FakeCa {
 public:
  // `ca` signs its own servers and, with `intermediate`, through one below it, workloads.
  FakeCa(std::shared_ptr<const TestCa> ca, bool intermediate);
  // A root of its own, valid around `now`.
  static std::shared_ptr<const TestCa> make_root(bool rsa, const std::string& name, UnixTime now);

  struct Answer {
    int grpc_code = 0;
    std::string text;   // of a refusal
    std::string bytes;  // the message
    std::string identity, csr, serial;
    CaBehaviour behaviour;
  };
  // `caller`: whose token it was.
  Answer answer(const std::string& request, const FakeIstiod::Token& caller, UnixTime now) const;

  // Key and chain of the server's own certificate.
  TestLeaf server_certificate(LeafOptions names, UnixTime now) const;
  const std::string& root_pem() const { return ca_->root_pem(); }

  void replace_root(std::shared_ptr<const TestCa> ca, bool keep_old);
  void add_root(const std::string& pem) { further_roots_ += pem; }
  void set(CaBehaviour behaviour) { behaviour_ = std::move(behaviour); }
  void set_for(const std::string& identity, CaBehaviour behaviour) { of_[identity] = std::move(behaviour); }

 private:
  void make_signer(UnixTime now);

  std::shared_ptr<const TestCa> ca_;
  const bool intermediate_;
  std::shared_ptr<const TestCa> signer_;
  std::string further_roots_;
  CaBehaviour behaviour_;
  std::map<std::string, CaBehaviour> of_;
};

}  // namespace culvert::testkit
