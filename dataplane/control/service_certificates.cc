// Certificates over gRPC. What passes here are requests and chains; the key stays in the store (D20).
#include "control/api/certificates.grpc.pb.h"
#include "control/service_status.h"

namespace culvert::control {

namespace {

int64_t milliseconds(UnixTime at) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(at.time_since_epoch()).count();
}

void put(const CertificateRow& row, api::CertificateState& out) {
  using State = CertificateRow::State;
  out.set_identity(row.identity.uri());
  out.set_state(row.state == State::kValid     ? api::CertificateState::VALID
                : row.state == State::kExpired ? api::CertificateState::EXPIRED
                : row.state == State::kNeeded  ? api::CertificateState::NEEDED
                                               : api::CertificateState::REQUESTED);
  out.set_csr_pending(row.csr_pending);
  out.set_attached(row.attached);
  out.set_not_before_ms(milliseconds(row.not_before));
  out.set_not_after_ms(milliseconds(row.not_after));
  out.set_serial(row.serial);
  out.set_chain_pem(row.chain_pem);
  out.set_roots_pem(row.roots_pem);
}

void put(const CrlReport& report, api::CrlState& out) {
  out.set_lists(static_cast<uint32_t>(report.lists));
  out.set_entries(static_cast<uint32_t>(report.entries));
  if (report.next_update) out.set_next_update_ms(milliseconds(*report.next_update));
  if (report.set_at) out.set_set_at_ms(milliseconds(*report.set_at));
}

class CertificateService final : public api::Certificates::Service {
 public:
  explicit CertificateService(Desk& desk) : desk_(desk) {}

  grpc::Status CreateCsr(grpc::ServerContext* context, const api::CsrRequest* request, api::Csr* reply) override {
    if (const grpc::Status checked = check_contract(desk_, *context); !checked.ok()) return checked;
    const std::optional<identity::SpiffeId> id = identity::SpiffeId::parse(request->identity());
    if (!id) return refuse_identity();
    const auto csr = desk_.thread.call([&] { return desk_.controller.create_csr(*id); });
    if (!csr) return stopping();
    if (!*csr) return {grpc::StatusCode::RESOURCE_EXHAUSTED, csr->error()};
    reply->set_csr_id((*csr)->id);
    reply->set_csr_pem((*csr)->pem);
    return grpc::Status::OK;
  }

  grpc::Status Install(grpc::ServerContext* context, const api::InstallRequest* request,
                       api::CertificateState* reply) override {
    if (const grpc::Status checked = check_contract(desk_, *context); !checked.ok()) return checked;
    const auto installed = desk_.thread.call(
        [&] { return desk_.controller.install(request->csr_id(), request->chain_pem(), request->roots_pem()); });
    if (!installed) return stopping();
    if (!*installed) return invalid(installed->error());
    put(**installed, *reply);
    return grpc::Status::OK;
  }

  grpc::Status List(grpc::ServerContext* context, const api::ListCertificatesRequest* request,
                    api::CertificateStates* reply) override {
    if (const grpc::Status checked = check_contract(desk_, *context); !checked.ok()) return checked;
    const auto rows = desk_.thread.call([&] { return desk_.controller.certificates(request->pem()); });
    if (!rows) return stopping();
    for (const CertificateRow& row : *rows) put(row, *reply->add_states());
    return grpc::Status::OK;
  }

  grpc::Status SetCrl(grpc::ServerContext* context, const api::SetCrlRequest* request, api::CrlState* reply) override {
    if (const grpc::Status checked = check_contract(desk_, *context); !checked.ok()) return checked;
    const std::vector<std::string_view> files(request->files().begin(), request->files().end());
    const auto set = desk_.thread.call([&] { return desk_.controller.set_crls(files); });
    if (!set) return stopping();
    if (!*set) return invalid(set->error());
    put(**set, *reply);
    return grpc::Status::OK;
  }

  grpc::Status GetCrl(grpc::ServerContext* context, const api::CrlStateRequest*, api::CrlState* reply) override {
    if (const grpc::Status checked = check_contract(desk_, *context); !checked.ok()) return checked;
    const auto report = desk_.thread.call([&] { return desk_.controller.crls(); });
    if (!report) return stopping();
    put(*report, *reply);
    return grpc::Status::OK;
  }

  grpc::Status Forget(grpc::ServerContext* context, const api::ForgetRequest* request,
                      api::ForgetReply* reply) override {
    if (const grpc::Status checked = check_contract(desk_, *context); !checked.ok()) return checked;
    const std::optional<identity::SpiffeId> id = identity::SpiffeId::parse(request->identity());
    if (!id) return refuse_identity();
    const auto found = desk_.thread.call([&] { return desk_.controller.forget(*id); });
    if (!found) return stopping();
    reply->set_found(*found);
    return grpc::Status::OK;
  }

 private:
  static grpc::Status refuse_identity() {
    return invalid("identity: spiffe://<trust domain>/ns/<namespace>/sa/<service account> is accepted");
  }

  Desk& desk_;
};

}  // namespace

std::unique_ptr<grpc::Service> make_certificate_service(Desk& desk) {
  return std::make_unique<CertificateService>(desk);
}

}  // namespace culvert::control
