// What a fake istiod's server, its streams and its face share.
#pragma once

#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/grpcpp.h>

#include <condition_variable>
#include <deque>
#include <map>
#include <mutex>
#include <set>
#include <thread>

#include "tests/testkit/fake_ads.h"
#include "tests/testkit/fake_ca.h"
#include "tests/testkit/fake_istiod.h"

namespace culvert::testkit {

// Everything that is shared, under one lock; the server is swapped under another, since its end waits for callbacks
// that take the first.
struct FakeIstiod::Core {
  class Service;
  class Stream;
  class CaCall;
  class Refused;

  explicit Core(Options given);
  ~Core();

  grpc::ServerGenericBidiReactor* react(grpc::GenericCallbackServerContext* context);

  Result<void, std::string> listen();
  void stop_listening();
  void restart();

  // With the lock held from here on.
  const Token* token_of(const std::map<std::string, std::string>& headers, std::string& why);
  void tell(FakeIstiodEvent event);
  void tell_all(std::vector<FakeIstiodEvent> told) {
    for (FakeIstiodEvent& event : told) tell(std::move(event));
  }
  void note(const std::string& text);
  // Runs `call` in the pump's thread, with the lock held, unless the fake ends before.
  void after(std::chrono::milliseconds span, std::function<void()> call);
  bool put(XdsResource resource);
  bool drop(const XdsName& name);
  uint64_t count_push(std::set<std::string> types);
  void send_all();

  void pump();
  template <class Holds>
  bool wait(std::chrono::milliseconds patience, Holds holds) {
    std::unique_lock lock(mutex);
    return changed.wait_for(lock, patience, [&] { return holds(); });
  }

  const Options options;
  std::mutex server_mutex;
  std::unique_ptr<Service> service;  // of one server only, as gRPC wants it
  std::unique_ptr<grpc::Server> server;

  mutable std::mutex mutex;
  std::condition_variable changed;  // something was told, or a stream came or went
  std::string bound;                // the address, with its real port
  FakeCa ca;
  std::vector<Token> tokens;
  bool rejecting = false;
  int refuse_code = 0;
  std::string refuse_text;
  std::chrono::milliseconds delay{};
  AdsTable table;
  uint64_t pushes = 0;
  std::map<uint64_t, std::set<std::string>> push_types;
  uint64_t next_number = 1;
  std::map<uint64_t, Stream*> streams;
  std::map<uint64_t, CaCall*> ca_calls;
  size_t ca_calls_max = 0, issued = 0;
  std::string ca_bytes;

  std::deque<FakeIstiodEvent> events;
  std::map<FakeIstiodEvent::Kind, size_t> counts;
  std::deque<FakeIstiodEvent> undelivered;
  std::multimap<std::chrono::steady_clock::time_point, std::function<void()>> timers;
  std::condition_variable pump_wakes;
  bool ending = false;
  std::thread pump_thread;
};

}  // namespace culvert::testkit
