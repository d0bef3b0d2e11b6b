#include "southbound/certificate_keeper.h"

namespace culvert::southbound {
namespace {

using reconcile::CertificateStatus;
using reconcile::WallClock;

// The data plane tells what changes; this only bounds what a lost event costs.
constexpr Duration kLookEvery = 30s;

WallClock wall_clock() { return std::chrono::floor<std::chrono::milliseconds>(std::chrono::system_clock::now()); }
WallClock from_ms(int64_t ms) { return WallClock(std::chrono::milliseconds(ms)); }

std::string seconds_text(std::chrono::milliseconds span) {
  return std::to_string(std::chrono::duration_cast<std::chrono::seconds>(span).count()) + " s";
}

CertificateStatus status_of(const api::CertificateState& state) {
  return {.identity = state.identity(),
          .valid = state.state() == api::CertificateState::VALID,
          .attached = state.attached(),
          .not_before = from_ms(state.not_before_ms()),
          .not_after = from_ms(state.not_after_ms()),
          .serial = state.serial()};
}

}  // namespace

Instant CertificateKeeper::turn(const SessionPtr& session, Instant now) {
  if (session == nullptr) return kNever;
  const auto stub = api::Certificates::NewStub(session->channel);
  const auto known = list(*session, *stub);
  if (!known) return now + 1s;
  std::function<bool(const std::string&)> meshed;
  if (mesh_.is_known()) meshed = [this](const std::string& identity) { return mesh_.is_meshed(identity); };
  const reconcile::CertificatePlan plan = reconcile::plan(*known, meshed, retries_, wall_clock());
  for (const std::string& identity : plan.forget) forget(*session, *stub, identity);
  for (const std::string& identity : plan.request) {
    if (calls().cancelled()) return kNever;
    renew(*session, *stub, identity);
  }
  if (!plan.request.empty()) return now;  // again, for the times that the new certificates bring
  const Instant look = monotonic_now() + kLookEvery;
  if (!plan.next) return look;
  const Duration until = std::max(*plan.next - wall_clock(), WallClock::duration(1));
  return std::min(look, monotonic_now() + until);
}

std::optional<std::vector<CertificateStatus>> CertificateKeeper::list(const Session& session,
                                                                      api::Certificates::Stub& stub) {
  api::CertificateStates reply;
  const grpc::Status status = calls().run(session, [&](grpc::ClientContext& context) {
    return stub.List(&context, api::ListCertificatesRequest(), &reply);
  });
  if (!status.ok()) {
    if (!is_lost(status)) log_.warn("cannot list certificates: " + status.error_message());
    return std::nullopt;
  }
  std::vector<CertificateStatus> out;
  for (const api::CertificateState& state : reply.states()) out.push_back(status_of(state));
  return out;
}

void CertificateKeeper::renew(const Session& session, api::Certificates::Stub& stub, const std::string& identity) {
  auto state = fetch(session, stub, identity);
  if (!state) {
    retries_.failed(identity, wall_clock(), random_.next());
    if (!state.error().empty()) log_.error("no certificate for " + identity + ", trying again: " + state.error());
    return;
  }
  retries_.succeeded(identity);
  installed_++;
  const CertificateStatus status = status_of(*state);
  log_.info("certificate of " + identity + ": serial " + status.serial + ", ends in " +
            seconds_text(status.not_after - wall_clock()) + ", renewed in " +
            seconds_text(reconcile::renewal(status) - wall_clock()));
}

Result<api::CertificateState, std::string> CertificateKeeper::fetch(const Session& session,
                                                                    api::Certificates::Stub& stub,
                                                                    const std::string& identity) {
  if (!sign_) return std::string("there is no CA: set ca.dir in culvert.yaml");
  api::CsrRequest request;
  request.set_identity(identity);
  api::Csr csr;
  grpc::Status status =
      calls().run(session, [&](grpc::ClientContext& context) { return stub.CreateCsr(&context, request, &csr); });
  if (!status.ok())
    return is_lost(status) ? std::string() : "the data plane made no request: " + status.error_message();
  auto chain = sign_(csr.csr_pem(), identity);
  if (!chain) return chain.error();
  api::InstallRequest install;
  install.set_csr_id(csr.csr_id());
  install.set_chain_pem(chain->chain_pem);
  install.set_roots_pem(chain->roots_pem);
  api::CertificateState state;
  status = calls().run(session, [&](grpc::ClientContext& context) { return stub.Install(&context, install, &state); });
  if (!status.ok()) return is_lost(status) ? std::string() : "the data plane refused it: " + status.error_message();
  return state;
}

void CertificateKeeper::forget(const Session& session, api::Certificates::Stub& stub, const std::string& identity) {
  api::ForgetRequest request;
  request.set_identity(identity);
  api::ForgetReply reply;
  const grpc::Status status =
      calls().run(session, [&](grpc::ClientContext& context) { return stub.Forget(&context, request, &reply); });
  if (status.ok()) {
    log_.info("certificate of " + identity + " forgotten: no attached workload has this identity");
  } else if (!is_lost(status)) {
    log_.warn("certificate of " + identity + " could not be forgotten: " + status.error_message());
  }
}

}  // namespace culvert::southbound
