// A small tree of values for JSON that has no fixed shape: the effective configuration in config_dump.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "admin/json_writer.h"

namespace culvert::admin {

class Value {
 public:
  using List = std::vector<Value>;
  using Object = std::map<std::string, Value>;  // written in the order of its keys

  Value() = default;  // null
  Value(bool value) : state_(value) {}
  Value(int64_t value) : state_(value) {}
  Value(std::string value) : state_(std::move(value)) {}
  Value(const char* value) : state_(std::string(value)) {}
  Value(List value) : state_(std::move(value)) {}
  Value(Object value) : state_(std::move(value)) {}

  // As ztunnel shows a duration: {"nanos": 0, "secs": 5}.
  static Value duration(std::chrono::nanoseconds span);

  // The member of an object, made when it is missing; what was no object becomes one.
  Value& operator[](const std::string& key);

  void write(JsonWriter& out) const;

 private:
  std::variant<std::nullptr_t, bool, int64_t, std::string, List, Object> state_;
};

}  // namespace culvert::admin
