// The agent's ear towards istiod: one delta stream, kept up for ever, whose changes go into a MeshStore as
// Source::kIstiod (reference 14).
//
//   auto client = Client::make(options, store, log);
//   (*client)->start();  …  ready()  …  stop();
//
// A thread of its own owns the stream. What istiod said stays in the store whatever happens to the stream; the next one
// asks for the difference only. Every failure is one line with what to look at and when the next try is; a line that
// says the same again is written once a minute.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "base/result.h"
#include "base/time.h"
#include "log/log.h"
#include "reconcile/mesh_store.h"
#include "xds/options.h"

namespace culvert::xds {

// Counts since the start (reference 24).
struct Metrics {
  // istio_xds_connection_terminations_total by reason.
  uint64_t connection_error = 0, error = 0, reconnect = 0, complete = 0;
  struct Messages {
    uint64_t count = 0, bytes = 0;  // of responses, as encoded
  };
  // istio_xds_message_total and istio_xds_message_bytes_total by url: the two that are asked for, up to kUrlsMax others
  // that istiod sent, the rest as "other".
  static constexpr size_t kUrlsMax = 16;
  std::map<std::string, Messages> messages;
  // Culvert's own.
  uint64_t resources_taken = 0, resources_removed = 0, resources_refused = 0;
};

struct Status {
  bool connected = false;
  std::string where;       // host:port
  std::string last_error;  // of the last stream that failed; empty while a later one is up
  size_t kept = 0;         // resources
};

class Client {
 public:
  // Waits between streams; a test's own does not wait.
  using Wait = std::function<void(Duration)>;
  // Gets the primary name of the resource, or none when istiod has no such name.
  using Answered = std::function<void(const std::optional<std::string>& primary)>;

  // Or a sentence about an option that cannot be used. `store` and `log` outlive the client.
  static Result<std::unique_ptr<Client>, std::string> make(Options options, reconcile::MeshStore& store, log::Log& log,
                                                           Wait wait = {});
  virtual ~Client() = default;  // stops

  virtual void start() = 0;
  // Ends the stream at once and waits for the thread. Names still wanted get no answer.
  virtual void stop() = 0;

  // Task "state manager" of readiness: each type that is not on demand had one response that was ACKed whole. Never
  // withdrawn. These three may be called from any thread.
  virtual bool ready() const = 0;
  virtual Metrics metrics() const = 0;
  virtual Status status() const = 0;

  // On demand: asks for "network/ip" or "namespace/hostname" (reference 13.3). `answered` is called once, in the
  // client's thread, after the store has the resource; it must not wait and must not call stop(). False: not in
  // on-demand mode, or too many wait already; `answered` is not called then. From any thread, also before start().
  virtual bool want(std::string name, Answered answered) = 0;
};

}  // namespace culvert::xds
