#include "southbound/certificate_fetchers.h"

namespace culvert::southbound {
namespace {

// A call of the contract that ends when `stop` is asked for.
template <class Call>
grpc::Status run_call(const Session& session, const std::stop_token& stop, Call&& call) {
  grpc::ClientContext context;
  state_contract(context, session);
  context.set_deadline(std::chrono::system_clock::now() +
                       std::chrono::duration_cast<std::chrono::system_clock::duration>(kCallPatience));
  const std::stop_callback cancelling(stop, [&context] { context.TryCancel(); });
  return call(context);
}

}  // namespace

void CertificateFetchers::begin(const SessionPtr& session, const std::stop_token& of_session,
                                reconcile::CertificateRequest request) {
  {
    const std::lock_guard lock(mutex_);
    jobs_.push_back({session, of_session, std::move(request)});
    if (idle_ < jobs_.size() && threads_.size() < reconcile::kFetchesMax) {
      threads_.emplace_back([this] { run(stopping_.get_token()); });
    }
  }
  arrived_.notify_one();
}

std::vector<Fetched> CertificateFetchers::take() {
  const std::lock_guard lock(mutex_);
  return std::exchange(done_, {});
}

void CertificateFetchers::stop() {
  stopping_.request_stop();
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
}

void CertificateFetchers::run(const std::stop_token& ours) {
  std::unique_lock lock(mutex_);
  for (;;) {
    ++idle_;
    const bool more = arrived_.wait(lock, ours, [this] { return !jobs_.empty(); });
    --idle_;
    if (!more || ours.stop_requested()) return;
    const Job job = std::move(jobs_.front());
    jobs_.pop_front();
    lock.unlock();
    std::stop_source both;
    const auto ask = [&both] { both.request_stop(); };
    const std::stop_callback by_us(ours, ask), by_session(job.of_session, ask);
    Fetched fetched = fetch(job, both.get_token());
    lock.lock();
    done_.push_back(std::move(fetched));
    lock.unlock();
    on_fetched_();
    lock.lock();
  }
}

Fetched CertificateFetchers::fetch(const Job& job, const std::stop_token& stop) {
  using Outcome = Fetched::Outcome;
  Fetched out;
  out.request = job.request;
  const auto refused = [&](Outcome outcome, std::string reason) {
    // What we ended ourselves is nobody's failure.
    out.outcome = stop.stop_requested() ? Outcome::kLost : outcome;
    out.reason = std::move(reason);
    return out;
  };
  if (!sign_) return refused(Outcome::kCaRefused, "there is no CA: set ca.dir or istiod.address in culvert.yaml");
  const auto stub = api::Certificates::NewStub(job.session->channel);
  api::CsrRequest request;
  request.set_identity(job.request.identity);
  api::Csr csr;
  grpc::Status status = run_call(
      *job.session, stop, [&](grpc::ClientContext& context) { return stub->CreateCsr(&context, request, &csr); });
  if (!status.ok()) {
    return refused(is_lost(status) ? Outcome::kLost : Outcome::kDataPlaneRefused,
                   "the data plane made no request: " + status.error_message());
  }
  auto chain = sign_(csr.csr_pem(), job.request.identity, stop);
  if (!chain) return refused(Outcome::kCaRefused, chain.error());
  api::InstallRequest install;
  install.set_csr_id(csr.csr_id());
  install.set_chain_pem(chain->chain_pem);
  install.set_roots_pem(chain->roots_pem);
  status = run_call(*job.session, stop,
                    [&](grpc::ClientContext& context) { return stub->Install(&context, install, &out.state); });
  if (!status.ok()) {
    return refused(is_lost(status) ? Outcome::kLost : Outcome::kDataPlaneRefused,
                   "the data plane refused it: " + status.error_message());
  }
  out.outcome = Outcome::kInstalled;
  return out;
}

}  // namespace culvert::southbound
