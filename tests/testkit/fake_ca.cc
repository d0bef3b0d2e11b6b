#include "tests/testkit/fake_ca.h"

#include <grpcpp/grpcpp.h>

#include <algorithm>

#include "ca/ca.h"
#include "istioca/api/istio_ca.pb.h"

namespace culvert::testkit {

namespace {

using std::chrono::seconds;

constexpr seconds kLifetimeMax{24 * 3600};
constexpr char kEndOfCertificate[] = "-----END CERTIFICATE-----\n";

std::vector<std::string> each_certificate(const std::string& pem) {
  std::vector<std::string> out;
  size_t at = 0;
  for (size_t end = pem.find(kEndOfCertificate); end != std::string::npos; end = pem.find(kEndOfCertificate, at)) {
    end += sizeof(kEndOfCertificate) - 1;
    out.push_back(pem.substr(at, end - at));
    at = end;
  }
  return out;
}

UnixTime wall_clock() { return std::chrono::floor<seconds>(std::chrono::system_clock::now()); }

}  // namespace

FakeCa::FakeCa(std::shared_ptr<const TestCa> ca, bool intermediate) : ca_(std::move(ca)), intermediate_(intermediate) {
  make_signer(wall_clock());
}

std::shared_ptr<const TestCa> FakeCa::make_root(bool rsa, const std::string& name, UnixTime now) {
  return std::make_shared<TestCa>(rsa ? KeyType::kRsa2048 : KeyType::kP256, name, now - std::chrono::hours(1),
                                  now + std::chrono::hours(24 * 365));
}

void FakeCa::make_signer(UnixTime now) {
  signer_ = intermediate_ ? std::make_shared<TestCa>(ca_->intermediate("Fake intermediate", now - std::chrono::hours(1),
                                                                       now + std::chrono::hours(24 * 30)))
                          : ca_;
}

void FakeCa::replace_root(std::shared_ptr<const TestCa> ca, bool keep_old) {
  further_roots_ = keep_old ? ca_->root_pem() + further_roots_ : "";
  ca_ = std::move(ca);
  make_signer(wall_clock());
}

TestLeaf FakeCa::server_certificate(LeafOptions names, UnixTime now) const {
  names.not_before = now - std::chrono::minutes(2);
  names.not_after = now + kLifetimeMax;
  return ca_->issue(names);
}

FakeCa::Answer FakeCa::answer(const std::string& request, const FakeIstiod::Token& caller, UnixTime now) const {
  Answer out;
  istio::v1::auth::IstioCertificateRequest asked;
  if (!asked.ParseFromString(request)) {
    out.grpc_code = grpc::StatusCode::INTERNAL;
    out.text = "the request does not parse";
    return out;
  }
  out.csr = asked.csr();
  out.identity = "spiffe://cluster.local/ns/" + caller.name_space + "/sa/" + caller.service_account;
  const auto& fields = asked.metadata().fields();
  const auto impersonated = fields.find("ImpersonatedIdentity");
  if (impersonated != fields.end() && !impersonated->second.string_value().empty()) {
    out.identity = impersonated->second.string_value();
    if (!caller.trusted || !ca::is_workload_identity(out.identity)) {
      out.grpc_code = grpc::StatusCode::UNAUTHENTICATED;
      out.text = "request impersonation authentication failure";
      return out;
    }
  }
  const auto special = of_.find(out.identity);
  out.behaviour = special == of_.end() ? behaviour_ : special->second;
  const CaBehaviour& how = out.behaviour;
  if (how.refusal != 0) {
    out.grpc_code = how.refusal;
    out.text = how.refusal_text;
    return out;
  }
  if (how.junk) {
    out.bytes = *how.junk;
    return out;
  }
  seconds life = how.lifetime.count() > 0 ? how.lifetime : seconds(asked.validity_duration());
  life = std::min(life.count() > 0 ? life : kLifetimeMax, kLifetimeMax);
  LeafOptions options;
  options.uri_sans = {how.answer_as.empty() ? out.identity : how.answer_as};
  options.not_before = now - (how.backdated.count() > 0 ? how.backdated : ca::backdating(life));
  options.not_after = now + life;
  if (how.expired) {
    options.not_before = now - std::chrono::hours(2);
    options.not_after = now - std::chrono::hours(1);
  }
  const std::vector<std::string> chain = each_certificate(signer_->sign_csr(asked.csr(), options));
  if (chain.empty()) {
    out.grpc_code = grpc::StatusCode::INVALID_ARGUMENT;
    out.text = "CSR parsing error";
    return out;
  }
  istio::v1::auth::IstioCertificateResponse reply;
  for (const std::string& certificate : chain) reply.add_cert_chain(certificate);
  if (!how.without_roots) reply.add_cert_chain(ca_->root_pem() + further_roots_);
  out.serial = std::to_string(signer_->last_serial());
  out.bytes = reply.SerializeAsString();
  return out;
}

}  // namespace culvert::testkit
