// The client's thread: a stream, what it brings into the machine, what the machine says onto it, and the wait for the
// next stream. One completion queue carries the stream's events and, by an alarm, those of other threads.
#include "xds/client.h"

#include <grpcpp/alarm.h>

#include <atomic>
#include <deque>
#include <mutex>
#include <thread>

#include "xds/back_off.h"
#include "xds/machine.h"
#include "xds/node.h"
#include "xds/stream.h"

namespace culvert::xds {
namespace {

// A connection that neither comes nor fails: gRPC's own bound does not cover the look-up of the name.
constexpr Duration kStartPatience = 2 * istiod::kConnectPatience;
// A stream on which a type stays unanswered for this long is worth a line.
constexpr Duration kAnswerPatience = 10s;
// The same sentence again.
constexpr Duration kRepeat = 60s;

Instant now() { return Instant(std::chrono::steady_clock::now().time_since_epoch()); }

gpr_timespec deadline(Instant until) {
  if (until == kNever) return gpr_inf_future(GPR_CLOCK_MONOTONIC);
  const Duration left = std::max(until - now(), Duration{});
  return gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC), gpr_time_from_nanos(left.count(), GPR_TIMESPAN));
}

std::string text_of(Duration span) {
  if (span == Duration{}) return "at once";
  if (span >= 1s) return "in " + std::to_string(span / 1s) + "." + std::to_string(span % 1s / 100ms) + " s";
  return "in " + std::to_string(to_ms(span)) + " ms";
}

std::string_view short_name(std::string_view url) {
  const size_t dot = url.rfind('.');
  return dot == std::string_view::npos ? url : url.substr(dot + 1);
}

class DeltaClient final : public Client {
 public:
  DeltaClient(Options options, envoy::config::core::v3::Node node, reconcile::MeshStore& store, log::Log& log,
              Wait wait)
      : endpoint_(options.istiod),
        node_id_(node.id()),
        on_demand_(options.on_demand),
        wanted_max_(options.limits.wanted_max),
        machine_(std::move(node), options.on_demand, options.limits, store),
        log_(log),
        wait_(std::move(wait)) {
    status_.where = endpoint_.where();
  }
  ~DeltaClient() override { stop(); }

  void start() override {
    thread_ = std::thread([this] { run(); });
  }
  void stop() override;
  bool ready() const override { return ready_; }
  Metrics metrics() const override {
    const std::lock_guard lock(mutex_);
    return metrics_;
  }
  Status status() const override {
    const std::lock_guard lock(mutex_);
    return status_;
  }
  bool want(std::string name, Answered answered) override;

 private:
  struct Ended {
    Ending ending;
    std::string why;
    bool fruitful = false;
  };

  void run();
  Ended stream();
  Ended follow(Stream& stream);
  // False: the stream is of no use any more.
  bool take(Stream& stream);
  void tell(const Outcome& outcome, size_t bytes);
  void ended(const Ended& ended, Duration wait);
  void pause(Duration span);
  // Hands wishes of other threads to the machine; requests go onto `stream`, if there is one.
  void take_wishes(Stream* stream);
  void wake();
  void close_queue();

  const istiod::Endpoint endpoint_;
  const std::string node_id_;
  const bool on_demand_;
  const size_t wanted_max_;
  Machine machine_;
  log::Log& log_;
  const Wait wait_;
  grpc::CompletionQueue queue_;
  BackOff back_off_;
  std::string last_line_, last_reasons_;  // said, and when
  Instant last_line_at_{}, last_reasons_at_{};
  std::set<std::string> unanswered_;  // types without a response on the stream at hand
  std::multimap<std::string, Answered> answered_;

  std::atomic<bool> ready_ = false, stopping_ = false;
  mutable std::mutex mutex_;  // over what follows
  Metrics metrics_;
  Status status_;
  std::deque<std::pair<std::string, Answered>> wishes_;
  size_t waiting_ = 0;  // wishes and answers owed
  bool woken_ = false, closed_ = false;
  grpc::Alarm alarm_[2];  // one may still be in the queue's hands while the next is set
  int next_alarm_ = 0;
  std::thread thread_;
};

void DeltaClient::wake() {
  const std::lock_guard lock(mutex_);
  if (woken_ || closed_) return;
  woken_ = true;
  alarm_[next_alarm_].Set(&queue_, gpr_now(GPR_CLOCK_MONOTONIC), reinterpret_cast<void*>(Tag::kWake));
  next_alarm_ = 1 - next_alarm_;
}

void DeltaClient::stop() {
  stopping_ = true;
  wake();
  if (thread_.joinable()) {
    thread_.join();
  } else {
    close_queue();
  }
}

void DeltaClient::close_queue() {
  {
    const std::lock_guard lock(mutex_);
    if (closed_) return;
    closed_ = true;
  }
  queue_.Shutdown();
  void* tag = nullptr;
  bool ok = false;
  while (queue_.Next(&tag, &ok)) {
  }
}

bool DeltaClient::want(std::string name, Answered answered) {
  {
    const std::lock_guard lock(mutex_);
    if (!on_demand_ || waiting_ >= wanted_max_) return false;
    ++waiting_;
    wishes_.emplace_back(std::move(name), std::move(answered));
  }
  wake();
  return true;
}

void DeltaClient::take_wishes(Stream* stream) {
  std::deque<std::pair<std::string, Answered>> wishes;
  {
    const std::lock_guard lock(mutex_);
    wishes.swap(wishes_);
  }
  for (auto& [name, answered] : wishes) {
    Machine::Want want = machine_.want(name);
    switch (want.kind) {
      case Machine::Want::Kind::kAsked:
        if (stream != nullptr) stream->send(want.request);
        [[fallthrough]];
      case Machine::Want::Kind::kWaiting:
        answered_.emplace(name, std::move(answered));
        continue;
      case Machine::Want::Kind::kAnswered:
      case Machine::Want::Kind::kRefused:
        answered(want.answer);
        break;
    }
    const std::lock_guard lock(mutex_);
    --waiting_;
  }
}

void DeltaClient::run() {
  while (!stopping_) {
    const Ended end = stream();
    if (stopping_) break;
    const Duration span = back_off_.after(end.ending, end.fruitful);
    ended(end, span);
    pause(span);
  }
  close_queue();
}

DeltaClient::Ended DeltaClient::stream() {
  auto channel = endpoint_.channel();
  if (!channel) {
    const bool nowhere = channel.error().kind == istiod::Error::Kind::kAddress;
    return {nowhere ? Ending::kConnection : Ending::kLocal, channel.error().sentence};
  }
  Stream stream(std::move(*channel));
  if (const auto said = endpoint_.authorize(stream.context()); !said) return {Ending::kLocal, said.error().sentence};
  stream.begin(queue_);
  Ended end = follow(stream);
  {
    const std::lock_guard lock(mutex_);
    status_.connected = false;
  }
  // gRPC still holds what its operations point to; cancelled, they end at once.
  if (!stream.drained()) stream.cancel();
  while (!stream.drained()) {
    void* tag = nullptr;
    bool ok = false;
    if (!queue_.Next(&tag, &ok)) break;
    const Tag what = static_cast<Tag>(reinterpret_cast<intptr_t>(tag));
    if (what == Tag::kWake) {
      const std::lock_guard lock(mutex_);
      woken_ = false;
    } else if (stream.on_completion(what, ok) == Stream::Event::kResponse) {
      stream.next();  // unread: the stream is over
    }
  }
  return end;
}

DeltaClient::Ended DeltaClient::follow(Stream& stream) {
  bool fruitful = false;
  Instant patience = now() + kStartPatience;
  while (true) {
    void* tag = nullptr;
    bool ok = false;
    if (queue_.AsyncNext(&tag, &ok, deadline(patience)) != grpc::CompletionQueue::GOT_EVENT) {
      patience = kNever;
      if (!stream.connected()) {
        return {Ending::kConnection, "no connection within " + std::to_string(kStartPatience / 1s) + " s"};
      }
      for (const std::string& url : unanswered_) {
        log_.warn("istiod at " + endpoint_.where() + " has not answered the request for " +
                  std::string(short_name(url)) + " for " + std::to_string(kAnswerPatience / 1s) + " s, waiting on");
      }
      continue;
    }
    const Tag what = static_cast<Tag>(reinterpret_cast<intptr_t>(tag));
    if (what == Tag::kWake) {
      {
        const std::lock_guard lock(mutex_);
        woken_ = false;
      }
      if (stopping_) return {Ending::kComplete, "stopping"};
      take_wishes(stream.connected() ? &stream : nullptr);
      continue;
    }
    switch (stream.on_completion(what, ok)) {
      case Stream::Event::kNothing:
        break;
      case Stream::Event::kStarted:
        patience = now() + kAnswerPatience;
        unanswered_.clear();
        take_wishes(nullptr);  // start() asks for them with the rest
        for (const Request& request : machine_.start()) {
          if (request.has_node()) unanswered_.insert(request.type_url());
          stream.send(request);
        }
        log_.info("connected to istiod at " + endpoint_.where() + " as " + node_id_ + ", " +
                  std::to_string(machine_.kept()) + " resources kept from before");
        last_line_.clear();
        {
          const std::lock_guard lock(mutex_);
          status_.connected = true;
          status_.last_error.clear();
        }
        break;
      case Stream::Event::kResponse:
        if (!take(stream)) {
          return {Ending::kError, "it sent bytes that are no DeltaDiscoveryResponse", fruitful};
        }
        fruitful = true;
        stream.next();
        break;
      case Stream::Event::kEnded:
        return {ending_of(stream.status(), stream.connected()),
                stream.status().ok() ? "it ended the stream" : endpoint_.explain(stream.status()), fruitful};
    }
  }
}

bool DeltaClient::take(Stream& stream) {
  const auto response = stream.response();
  const auto outcome = machine_.on_response(*response);
  if (!outcome) return false;
  tell(*outcome, response->bytes());
  unanswered_.erase(outcome->type_url);
  if (outcome->now_ready) {
    ready_ = true;
    log_.info("the first state of istiod is complete: " + std::to_string(machine_.kept()) + " resources");
  }
  // Whoever sees the ACK finds the rest done.
  stream.send(outcome->reply);
  for (const auto& [name, answer] : outcome->answers) {
    const auto [first, last] = answered_.equal_range(name);
    for (auto at = first; at != last; ++at) at->second(answer);
    const auto told = static_cast<size_t>(std::distance(first, last));
    answered_.erase(first, last);
    const std::lock_guard lock(mutex_);
    waiting_ -= told;
  }
  return true;
}

void DeltaClient::tell(const Outcome& outcome, size_t bytes) {
  const std::string url = shown(outcome.type_url);
  {
    const std::lock_guard lock(mutex_);
    const bool room = metrics_.messages.size() < Metrics::kUrlsMax;
    const bool counted = outcome.known_type || room || metrics_.messages.contains(url);
    Metrics::Messages& messages = metrics_.messages[counted ? url : std::string("other")];
    ++messages.count;
    messages.bytes += bytes;
    metrics_.resources_taken += outcome.resources;
    metrics_.resources_removed += outcome.removed;
    metrics_.resources_refused += outcome.refused;
    status_.kept = machine_.kept();
  }
  const std::string what(short_name(url));
  if (!outcome.known_type) {
    log_.debug("istiod sent the unknown type " + url + ", ignored");
    return;
  }
  log_.debug("istiod: " + what + ": " + std::to_string(outcome.resources) + " taken, " +
             std::to_string(outcome.removed) + " removed, " + std::to_string(outcome.refused) + " refused");
  if (outcome.refused != 0 && (outcome.reasons != last_reasons_ || now() - last_reasons_at_ >= kRepeat)) {
    last_reasons_ = outcome.reasons;
    last_reasons_at_ = now();
    log_.warn("refused " + std::to_string(outcome.refused) + " resources of istiod's " + what +
              ", what stood before of them is kept and the rest is applied: " + outcome.reasons);
  }
  for (const std::string& note : outcome.notes) log_.warn("istiod's " + what + " " + note);
}

void DeltaClient::ended(const Ended& ended, Duration wait) {
  {
    const std::lock_guard lock(mutex_);
    switch (ended.ending) {
      case Ending::kConnection:
        ++metrics_.connection_error;
        break;
      case Ending::kLocal:
      case Ending::kError:
        ++metrics_.error;
        break;
      case Ending::kReconnect:
        ++metrics_.reconnect;
        break;
      case Ending::kComplete:
        ++metrics_.complete;
        break;
    }
    if (ended.ending != Ending::kComplete && ended.ending != Ending::kReconnect) status_.last_error = ended.why;
  }
  std::string line;
  switch (ended.ending) {
    case Ending::kConnection:
      line = "cannot connect to istiod at " + endpoint_.where() + ": " + ended.why;
      break;
    case Ending::kLocal:
      line = "cannot call istiod at " + endpoint_.where() + ": " + ended.why;
      break;
    case Ending::kReconnect:
    case Ending::kError:
      line = "lost the stream of istiod at " + endpoint_.where() + ": " + ended.why;
      break;
    case Ending::kComplete:
      line = "istiod at " + endpoint_.where() + ": " + ended.why;
      break;
  }
  const bool usual = ended.ending == Ending::kComplete || ended.ending == Ending::kReconnect;
  if (line == last_line_ && now() - last_line_at_ < kRepeat) return;
  last_line_ = line;
  last_line_at_ = now();
  line += "; the mesh stays as it was (" + std::to_string(machine_.kept()) + " resources), next try " + text_of(wait);
  log_.write(usual ? log::Level::kInfo : log::Level::kWarn, line);
}

void DeltaClient::pause(Duration span) {
  if (wait_) {
    wait_(span);
    span = {};
  }
  const Instant until = now() + span;
  void* tag = nullptr;
  bool ok = false;
  take_wishes(nullptr);
  // Only wake-ups come while there is no stream.
  while (!stopping_ && queue_.AsyncNext(&tag, &ok, deadline(until)) == grpc::CompletionQueue::GOT_EVENT) {
    {
      const std::lock_guard lock(mutex_);
      woken_ = false;
    }
    take_wishes(nullptr);
  }
}

}  // namespace

Result<std::unique_ptr<Client>, std::string> Client::make(Options options, reconcile::MeshStore& store, log::Log& log,
                                                          Wait wait) {
  auto node = make_node(options.node);
  if (!node) return Failure{node.error()};
  return std::unique_ptr<Client>(
      std::make_unique<DeltaClient>(std::move(options), std::move(*node), store, log, std::move(wait)));
}

}  // namespace culvert::xds
