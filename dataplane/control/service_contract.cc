// The greeting, and the version check that every other service makes.
#include <charconv>

#include "control/api/common.grpc.pb.h"
#include "control/api/contract.h"
#include "control/service_status.h"

namespace culvert::control {

namespace {

std::string speaks(uint32_t least, uint32_t most) {
  return least == most ? "version " + std::to_string(least)
                       : "versions " + std::to_string(least) + " to " + std::to_string(most);
}

std::string printable(std::string text) {
  if (text.size() > 64) text.resize(64);
  for (char& c : text) {
    if (static_cast<unsigned char>(c) < 0x20 || static_cast<unsigned char>(c) >= 0x7f) c = '?';
  }
  return text;
}

class ContractService final : public api::Contract::Service {
 public:
  explicit ContractService(Desk& desk) : desk_(desk) {}

  grpc::Status Hello(grpc::ServerContext*, const api::HelloRequest* request, api::HelloReply* reply) override {
    const uint32_t least = std::max(request->contract_min(), desk_.contract_min);
    const uint32_t most = std::min(request->contract_max(), desk_.contract_max);
    if (least > most) {
      return {grpc::StatusCode::FAILED_PRECONDITION,
              "this data plane (" + desk_.build + ") speaks contract " +
                  speaks(desk_.contract_min, desk_.contract_max) + ", " + printable(request->client()) + " (" +
                  printable(request->build()) + ") speaks " + speaks(request->contract_min(), request->contract_max()) +
                  ": bring the older one to a release next to the newer one's"};
    }
    reply->set_contract(most);
    reply->set_contract_min(desk_.contract_min);
    reply->set_contract_max(desk_.contract_max);
    reply->set_build(desk_.build);
    reply->set_node(desk_.node);
    reply->set_instance(desk_.controller.instance());
    return grpc::Status::OK;
  }

 private:
  Desk& desk_;
};

}  // namespace

grpc::Status check_contract(const Desk& desk, const grpc::ServerContext& context) {
  const auto& metadata = context.client_metadata();
  const auto found = metadata.find(api::kContractMetadata);
  if (found == metadata.end()) {
    return {grpc::StatusCode::FAILED_PRECONDITION, std::string("the call states no contract version (metadata ") +
                                                       api::kContractMetadata + "): say Hello first"};
  }
  uint32_t version = 0;
  const char* const end = found->second.data() + found->second.size();
  const auto [stop, error] = std::from_chars(found->second.data(), end, version);
  if (error != std::errc{} || stop != end || version < desk.contract_min || version > desk.contract_max) {
    return {grpc::StatusCode::FAILED_PRECONDITION,
            "the call states contract version " + printable(std::string(found->second.data(), found->second.size())) +
                ", this data plane speaks " + speaks(desk.contract_min, desk.contract_max)};
  }
  return grpc::Status::OK;
}

std::unique_ptr<grpc::Service> make_contract_service(Desk& desk) { return std::make_unique<ContractService>(desk); }

}  // namespace culvert::control
