// gRPC statuses of the services, and the check that a call states a contract version we speak.
#pragma once

#include <grpcpp/server_context.h>
#include <grpcpp/support/status.h>

#include <string>

#include "control/services.h"

namespace culvert::control {

// OK, or FAILED_PRECONDITION with a sentence that names both sides' versions.
grpc::Status check_contract(const Desk& desk, const grpc::ServerContext& context);

inline grpc::Status stopping() { return {grpc::StatusCode::UNAVAILABLE, "the data plane is shutting down"}; }
inline grpc::Status invalid(std::string sentence) { return {grpc::StatusCode::INVALID_ARGUMENT, std::move(sentence)}; }

}  // namespace culvert::control
