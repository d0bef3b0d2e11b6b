// Explains decisions from the mesh in force. Mesh and certificates are taken on the control thread; the explaining,
// which may walk a large mesh, is done on the call's own.
#include "control/api/why.grpc.pb.h"
#include "control/service_status.h"
#include "why/why.h"

namespace culvert::control {

namespace {

api::WhyOutcome to_api(why::Outcome outcome) {
  switch (outcome) {
    case why::Outcome::kAllowed:
      return api::WHY_ALLOWED;
    case why::Outcome::kRefused:
      return api::WHY_REFUSED;
    case why::Outcome::kDenied:
      return api::WHY_DENIED;
    case why::Outcome::kDepends:
      return api::WHY_DEPENDS;
  }
  return api::WHY_UNSPECIFIED;
}

void put(const std::vector<why::Step>& steps, google::protobuf::RepeatedPtrField<api::WhyStep>& out) {
  for (const why::Step& step : steps) {
    api::WhyStep& one = *out.Add();
    one.set_step(std::string(name_of(step.kind)));
    one.set_passes(step.passes);
    one.set_title(step.title);
    for (const std::string& line : step.lines) one.add_lines(line);
  }
}

void put(const why::Explanation& told, api::WhyReply& out) {
  out.set_from(told.from);
  out.set_to(told.to);
  put(told.steps, *out.mutable_steps());
  for (const why::Path& path : told.paths) {
    api::WhyPath& one = *out.add_paths();
    for (const std::string& endpoint : path.endpoints) one.add_endpoints(endpoint);
    put(path.steps, *one.mutable_steps());
    one.set_outcome(to_api(path.outcome));
    one.set_drop_reason(path.drop_reason);
    one.set_log_at_source(path.log_at_source);
    one.set_log_at_destination(path.log_at_destination);
  }
  out.set_paths_left_out(told.paths_left_out);
  out.set_outcome(to_api(told.outcome));
  out.set_summary(told.summary);
}

class WhyService final : public api::Why::Service {
 public:
  explicit WhyService(Desk& desk) : desk_(desk) {}

  grpc::Status Explain(grpc::ServerContext* context, const api::WhyRequest* request, api::WhyReply* reply) override {
    if (const grpc::Status checked = check_contract(desk_, *context); !checked.ok()) return checked;
    struct InForce {
      std::shared_ptr<const snapshot::Mesh> mesh;
      std::vector<CertificateRow> certificates;
    };
    const auto in_force = desk_.thread.call([&] {
      return InForce{desk_.controller.mesh(), desk_.controller.certificates()};
    });
    if (!in_force) return stopping();
    why::Certificates certificates;
    for (const CertificateRow& row : in_force->certificates) {
      if (row.state == CertificateRow::State::kValid) certificates.emplace(row.identity, row.not_after);
    }
    const auto told =
        why::explain(*in_force->mesh, {request->from(), request->to(), desk_.node, desk_.network, &certificates});
    if (!told) return invalid(told.error());
    put(*told, *reply);
    return grpc::Status::OK;
  }

 private:
  Desk& desk_;
};

}  // namespace

std::unique_ptr<grpc::Service> make_why_service(Desk& desk) { return std::make_unique<WhyService>(desk); }

}  // namespace culvert::control
