#include "istioca/client.h"

#include "ca/chain.h"
#include "istioca/api/istio_ca.grpc.pb.h"

namespace culvert::istioca {
namespace {

namespace auth = istio::v1::auth;

constexpr char kImpersonatedIdentity[] = "ImpersonatedIdentity";  // reference 15.1

const char* name_of(grpc::StatusCode code) {
  switch (code) {
    case grpc::StatusCode::OK:
      return "OK";
    case grpc::StatusCode::CANCELLED:
      return "CANCELLED";
    case grpc::StatusCode::UNKNOWN:
      return "UNKNOWN";
    case grpc::StatusCode::INVALID_ARGUMENT:
      return "INVALID_ARGUMENT";
    case grpc::StatusCode::DEADLINE_EXCEEDED:
      return "DEADLINE_EXCEEDED";
    case grpc::StatusCode::NOT_FOUND:
      return "NOT_FOUND";
    case grpc::StatusCode::ALREADY_EXISTS:
      return "ALREADY_EXISTS";
    case grpc::StatusCode::PERMISSION_DENIED:
      return "PERMISSION_DENIED";
    case grpc::StatusCode::UNAUTHENTICATED:
      return "UNAUTHENTICATED";
    case grpc::StatusCode::RESOURCE_EXHAUSTED:
      return "RESOURCE_EXHAUSTED";
    case grpc::StatusCode::FAILED_PRECONDITION:
      return "FAILED_PRECONDITION";
    case grpc::StatusCode::ABORTED:
      return "ABORTED";
    case grpc::StatusCode::OUT_OF_RANGE:
      return "OUT_OF_RANGE";
    case grpc::StatusCode::UNIMPLEMENTED:
      return "UNIMPLEMENTED";
    case grpc::StatusCode::INTERNAL:
      return "INTERNAL";
    case grpc::StatusCode::UNAVAILABLE:
      return "UNAVAILABLE";
    case grpc::StatusCode::DATA_LOSS:
      return "DATA_LOSS";
    default:
      return "a code of no meaning";
  }
}

// Reference 15.2: at least leaf and roots; the leaf's first URI SAN is the identity that was asked for.
Result<SignedChain, std::string> judged(const auth::IstioCertificateResponse& response, const std::string& identity) {
  const auto& chain = response.cert_chain();
  const std::string answer = "istiod's answer for " + identity;
  if (chain.size() < 2) {
    return answer + " has " + std::to_string(chain.size()) + (chain.size() == 1 ? " element" : " elements") +
           ", at least the leaf and the roots are needed: look at istiod's CA (cacerts)";
  }
  if (chain.size() > kChainElementsMax || response.ByteSizeLong() > kChainBytesMax) {
    return answer + " has " + std::to_string(chain.size()) + " elements of " + std::to_string(response.ByteSizeLong()) +
           " bytes, more than any chain has: it is not used";
  }
  SignedChain out;
  for (int i = 0; i < chain.size(); i++) {
    const std::vector<ca::CertificateFacts> certificates = ca::read_certificates(chain[i]);
    const bool roots = i + 1 == chain.size();
    if (certificates.empty() || (!roots && certificates.size() > 1)) {
      return answer + " is not used: element " + std::to_string(i + 1) + " of " + std::to_string(chain.size()) +
             (certificates.empty() ? " cannot be read as certificates in PEM" : " holds several certificates");
    }
    if (i == 0 && (certificates[0].uris.empty() || certificates[0].uris.front() != identity)) {
      return "san error: istiod's CA answered with a certificate of " +
             (certificates[0].uris.empty() ? "no identity" : certificates[0].uris.front()) + ", asked was " + identity;
    }
    std::string& to = roots ? out.roots_pem : out.chain_pem;
    to += chain[i];
    if (!to.ends_with('\n')) to += '\n';
  }
  return out;
}

}  // namespace

Result<SignedChain, std::string> Client::sign(const std::string& csr_pem, const std::string& identity,
                                              const std::stop_token& stop) {
  auto way = channel();
  if (!way) return way.error();
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() +
                       std::chrono::duration_cast<std::chrono::system_clock::duration>(options_.patience));
  if (const auto said = istiod_.authorize(context); !said) return said.error().sentence;
  auth::IstioCertificateRequest request;
  request.set_csr(csr_pem);
  request.set_validity_duration(options_.validity.count());
  if (options_.impersonate) {
    (*request.mutable_metadata()->mutable_fields())[kImpersonatedIdentity].set_string_value(identity);
  }
  auth::IstioCertificateResponse response;
  const std::stop_callback cancelling(stop, [&context] { context.TryCancel(); });
  const grpc::Status status =
      auth::IstioCertificateService::NewStub(*way)->CreateCertificate(&context, request, &response);
  if (status.ok()) return judged(response, identity);
  if (status.error_code() == grpc::StatusCode::UNAVAILABLE ||
      status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED) {
    give_up(*way);
  }
  return refused(status);
}

Result<Client::ChannelPtr, std::string> Client::channel() {
  const std::lock_guard lock(mutex_);
  const auto root = istiod_.root_pem();
  // A root file that is just being replaced is no reason to give up a connection that works.
  if (channel_ != nullptr && (!root || *root == root_)) return channel_;
  if (!root) return root.error().sentence;
  auto made = istiod_.channel();
  if (!made) return made.error().sentence;
  if (channel_ != nullptr) {
    log_.info("istiod's root certificate " + istiod_.root_file() + " changed: connecting to the CA at " +
              istiod_.where() + " anew");
  }
  root_ = *root;
  channel_ = *made;
  return channel_;
}

void Client::give_up(const ChannelPtr& channel) {
  const std::lock_guard lock(mutex_);
  if (channel_ == channel) channel_.reset();
}

std::string Client::refused(const grpc::Status& status) const {
  const std::string code = name_of(status.error_code());
  const std::string where = "istiod's CA at " + istiod_.where();
  switch (status.error_code()) {
    case grpc::StatusCode::UNAVAILABLE:
      return where + " cannot be reached (" + code + "): " + istiod_.explain(status);
    case grpc::StatusCode::DEADLINE_EXCEEDED:
      return where + " did not answer within " + std::to_string(to_ms(options_.patience)) + " ms (" + code + ")";
    case grpc::StatusCode::CANCELLED:
      return where + " was not waited for (" + code + ")";
    case grpc::StatusCode::UNAUTHENTICATED:
    case grpc::StatusCode::PERMISSION_DENIED:
      return where + " refused (" + code + "): " + istiod_.explain(status) +
             "; the token has to be a service account's, bound to this pod, for the audience istio-ca, and istiod has "
             "to list that account as namespace/name in CA_TRUSTED_NODE_ACCOUNTS";
    default:
      return where + " did not sign (" + code + "): " + istiod_.explain(status);
  }
}

}  // namespace culvert::istioca
