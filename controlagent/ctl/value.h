// What a command has to say, before it is decided whether it is shown as a table or as JSON: a tree of plain values in
// a fixed order.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace culvert::ctl {

struct Value {
  enum class Kind : uint8_t { kNull, kBool, kNumber, kSigned, kText, kList, kMap };
  struct Entry;

  Kind kind = Kind::kNull;
  bool truth = false;
  uint64_t number = 0;
  int64_t signed_number = 0;
  std::string text;
  std::vector<Value> items;
  std::vector<Entry> entries;

  static Value of(bool value);
  static Value of(uint64_t value);
  static Value of(uint32_t value);
  static Value of(int64_t value);
  static Value of(std::string value);
  static Value list();
  static Value list(std::vector<Value> items);
  static Value map();

  // Adds a key to a map; returns the map.
  Value& set(std::string key, Value value);
  template <class T>
  Value& set(std::string key, T value);
  const Value* find(const std::string& key) const;  // null: a map without it, or no map
  // As a cell of a table: numbers in decimal, yes or no, lists joined by blanks, "-" for what is empty.
  std::string cell() const;
};

struct Value::Entry {
  std::string key;
  Value value;
};

template <class T>
Value& Value::set(std::string key, T value) {
  return set(std::move(key), of(std::move(value)));
}

// Two blanks of indentation, keys in their order, a newline at the end.
std::string to_json(const Value& value);
// The same in one line.
std::string to_json_line(const Value& value);

// Text from outside, safe for a terminal: control characters become `?`.
std::string printable(std::string text);

}  // namespace culvert::ctl
