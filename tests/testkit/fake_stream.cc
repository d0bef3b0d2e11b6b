#include "tests/testkit/fake_stream.h"

#include <utility>

namespace culvert::testkit {

namespace {

using Clock = std::chrono::steady_clock;

constexpr char kAdsMethod[] = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";
constexpr char kCaMethod[] = "/istio.v1.auth.IstioCertificateService/CreateCertificate";

UnixTime wall_clock() { return std::chrono::floor<std::chrono::seconds>(std::chrono::system_clock::now()); }

std::string bytes_of(const grpc::ByteBuffer& buffer) {
  std::vector<grpc::Slice> slices;
  if (!buffer.Dump(&slices).ok()) return {};
  std::string out;
  for (const grpc::Slice& slice : slices) out.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
  return out;
}

grpc::ByteBuffer buffer_of(const std::string& bytes) {
  const grpc::Slice slice(bytes);
  return grpc::ByteBuffer(&slice, 1);
}

grpc::Status status_of(int code, const std::string& text) { return {static_cast<grpc::StatusCode>(code), text}; }

std::map<std::string, std::string> headers_of(const grpc::ServerContextBase& context) {
  std::map<std::string, std::string> out;
  for (const auto& [key, value] : context.client_metadata()) {
    out[std::string(key.data(), key.size())] = std::string(value.data(), value.size());
  }
  return out;
}

}  // namespace

FakeIstiod::Core::Stream::Stream(Core& core, grpc::GenericCallbackServerContext* context)
    : core_(core), number_(core.next_number++), headers_(headers_of(*context)) {
  core_.streams[number_] = this;
  FakeIstiodEvent event;
  event.kind = FakeIstiodEvent::Kind::kStream;
  event.stream = number_;
  event.text = context->host() + " from " + context->peer();
  event.headers = headers_;
  core_.tell(std::move(event));
  std::string why;
  const Token* token = core_.token_of(headers_, why);
  if (token == nullptr) {
    refuse(grpc::StatusCode::UNAUTHENTICATED, why);
  } else if (core_.refuse_code != 0) {
    refuse(core_.refuse_code, core_.refuse_text);
  } else {
    ads_ = std::make_unique<AdsStream>(number_, token->name_space);
    StartRead(&incoming_);
  }
}

void FakeIstiod::Core::Stream::OnReadDone(bool ok) {
  const std::lock_guard lock(core_.mutex);
  if (!ok) {
    end(0, "", "the node");
    return;
  }
  if (ended_ || ending_) return;
  envoy::service::discovery::v3::DeltaDiscoveryRequest request;
  if (!request.ParseFromString(bytes_of(incoming_))) {
    refuse(grpc::StatusCode::INTERNAL, "the request does not parse");
    return;
  }
  std::vector<FakeIstiodEvent> told;
  const auto refusal = ads_->on_request(request, core_.table, told);
  core_.tell_all(std::move(told));
  if (refusal) {
    refuse(refusal->grpc_code, refusal->text);
    return;
  }
  StartRead(&incoming_);
  send();
}

void FakeIstiod::Core::Stream::OnWriteDone(bool ok) {
  const std::lock_guard lock(core_.mutex);
  writing_ = false;
  if (ending_) {
    finish(*ending_);
  } else if (ok) {
    send();
  }
  core_.changed.notify_all();
}

void FakeIstiod::Core::Stream::OnCancel() {
  const std::lock_guard lock(core_.mutex);
  end(grpc::StatusCode::CANCELLED, "", "the node or its connection");
}

void FakeIstiod::Core::Stream::OnDone() {
  {
    const std::lock_guard lock(core_.mutex);
    core_.streams.erase(number_);
    core_.changed.notify_all();
  }
  delete this;
}

void FakeIstiod::Core::Stream::send() {
  if (writing_ || ended_ || ending_ || !ads_) return;
  if (!ready()) return;
  std::string bytes;
  if (!raw_.empty()) {
    bytes = std::move(raw_.front());
    raw_.pop_front();
  } else {
    std::vector<FakeIstiodEvent> told;
    const auto response = ads_->next(core_.table, core_.pushes, told);
    core_.tell_all(std::move(told));
    if (!response) return;
    bytes = response->SerializeAsString();
  }
  outgoing_ = buffer_of(bytes);
  writing_ = true;
  StartWrite(&outgoing_);
}

void FakeIstiod::Core::Stream::send_bytes(std::string bytes) {
  raw_.push_back(std::move(bytes));
  send();
}

void FakeIstiod::Core::Stream::end(int code, const std::string& text, const char* who) {
  if (ended_ || ending_) return;
  FakeIstiodEvent event;
  event.kind = FakeIstiodEvent::Kind::kStreamEnd;
  event.stream = number_;
  event.node = ads_ ? ads_->node() : "";
  event.text = who;
  core_.tell(std::move(event));
  if (writing_) {
    ending_ = status_of(code, text);  // after the message that is under way
  } else {
    finish(status_of(code, text));
  }
}

void FakeIstiod::Core::Stream::refuse(int code, const std::string& text) {
  FakeIstiodEvent event;
  event.kind = FakeIstiodEvent::Kind::kRefused;
  event.stream = number_;
  event.text = text;
  core_.tell(std::move(event));
  end(code, text, "a refusal");
}

bool FakeIstiod::Core::Stream::ready() {
  if (raw_.empty() && !ads_->has_work()) return false;
  const auto now = Clock::now();
  if (!ready_at_) {
    if (core_.delay.count() == 0) return true;
    ready_at_ = now + core_.delay;
    core_.after(core_.delay, [&core = core_, number = number_] {
      if (const auto found = core.streams.find(number); found != core.streams.end()) found->second->send();
    });
  }
  if (now < *ready_at_) return false;
  ready_at_.reset();
  return true;
}

void FakeIstiod::Core::Stream::finish(const grpc::Status& status) {
  if (std::exchange(ended_, true)) return;
  Finish(status);
}

// A certificate's call.
class FakeIstiod::Core::CaCall final : public grpc::ServerGenericBidiReactor {
 public:
  CaCall(Core& core, grpc::GenericCallbackServerContext* context)
      : core_(core), number_(core.next_number++), headers_(headers_of(*context)) {
    core_.ca_calls[number_] = this;
    core_.ca_calls_max = std::max(core_.ca_calls_max, core_.ca_calls.size());
    StartRead(&incoming_);
  }

  void OnReadDone(bool ok) override {
    const std::lock_guard lock(core_.mutex);
    if (!ok) {
      finish({grpc::StatusCode::INTERNAL, "no request came"});
      return;
    }
    std::string why;
    const Token* token = core_.token_of(headers_, why);
    if (token == nullptr) {
      FakeIstiodEvent event;
      event.kind = FakeIstiodEvent::Kind::kRefused;
      event.text = why;
      event.headers = headers_;
      core_.tell(std::move(event));
      finish({grpc::StatusCode::UNAUTHENTICATED, why});
      return;
    }
    const std::string request = bytes_of(incoming_);
    answer_ = core_.ca.answer(request, *token, wall_clock());
    core_.ca_bytes.append(request + answer_.bytes, 0, kCertificateBytesMax - core_.ca_bytes.size());
    FakeIstiodEvent event;
    event.kind = FakeIstiodEvent::Kind::kCsr;
    event.identity = answer_.identity;
    event.text = answer_.csr;
    event.headers = headers_;
    core_.tell(std::move(event));
    if (answer_.behaviour.delay.count() == 0) {
      reply();
      return;
    }
    core_.after(answer_.behaviour.delay, [&core = core_, number = number_] {
      if (const auto found = core.ca_calls.find(number); found != core.ca_calls.end()) found->second->reply();
    });
  }

  void OnCancel() override {
    const std::lock_guard lock(core_.mutex);
    finish({grpc::StatusCode::CANCELLED, ""});
  }

  void OnDone() override {
    {
      const std::lock_guard lock(core_.mutex);
      core_.ca_calls.erase(number_);
      core_.changed.notify_all();
    }
    delete this;
  }

 private:
  void reply() {
    if (finished_) return;
    FakeIstiodEvent event;
    event.kind = FakeIstiodEvent::Kind::kCertificate;
    event.identity = answer_.identity;
    event.text = answer_.grpc_code == 0 ? answer_.serial : answer_.text;
    core_.tell(std::move(event));
    if (answer_.grpc_code != 0) {
      finish(status_of(answer_.grpc_code, answer_.text));
      return;
    }
    ++core_.issued;
    finished_ = true;
    outgoing_ = buffer_of(answer_.bytes);
    StartWriteAndFinish(&outgoing_, grpc::WriteOptions(), grpc::Status::OK);
  }

  void finish(const grpc::Status& status) {
    if (std::exchange(finished_, true)) return;
    Finish(status);
  }

  Core& core_;
  const uint64_t number_;
  const std::map<std::string, std::string> headers_;
  FakeCa::Answer answer_;
  grpc::ByteBuffer incoming_, outgoing_;
  bool finished_ = false;
};

class FakeIstiod::Core::Refused final : public grpc::ServerGenericBidiReactor {
 public:
  Refused() { Finish({grpc::StatusCode::UNIMPLEMENTED, "not a service of istiod"}); }
  void OnDone() override { delete this; }
};

grpc::ServerGenericBidiReactor* FakeIstiod::Core::react(grpc::GenericCallbackServerContext* context) {
  const std::lock_guard lock(mutex);
  if (context->method() == kAdsMethod) return new Stream(*this, context);
  if (context->method() == kCaMethod) return new CaCall(*this, context);
  return new Refused();
}

}  // namespace culvert::testkit
