// culvertctl's end of the contract: asks the data plane and returns plain values. Protobuf types stay in client.cc.
#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "base/result.h"
#include "ctl/value.h"
#include "why/why.h"

namespace culvert::ctl {

class Client {
 public:
  // Connects and says Hello. The error is one sentence that says what to do.
  static Result<std::unique_ptr<Client>, std::string> connect(const std::string& socket, std::chrono::seconds patience);
  ~Client();

  // A map, and lists of maps. Errors are sentences. Instants are milliseconds since 1970, spans milliseconds.
  Result<Value, std::string> status();
  Result<Value, std::string> sessions();
  Result<Value, std::string> tunnels();
  Result<Value, std::string> ports();
  Result<Value, std::string> counters(bool per_worker);
  Result<Value, std::string> drops(bool per_worker);
  // `from` and `to` as people write them.
  Result<why::Explanation, std::string> why(const std::string& from, const std::string& to);

 private:
  struct Impl;
  explicit Client(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace culvert::ctl
