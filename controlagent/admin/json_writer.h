// Writes JSON as it goes, indented by two blanks as ztunnel does, to a sink that takes pieces of about 64 KB: a dump of
// a large mesh is never in memory as a whole, nor as a tree.
//
// Keys come out in the order they are written; ztunnel's are sorted, so callers write them sorted. Strings may hold
// anything: control characters are escaped, and bytes that are no UTF-8 (RFC 3629) become U+FFFD.
#pragma once

#include <concepts>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace culvert::admin {

class JsonWriter {
 public:
  // The sink returns false when nothing more is wanted; then the rest is dropped and ok() is false.
  using Sink = std::function<bool(std::string_view)>;
  explicit JsonWriter(Sink sink) : sink_(std::move(sink)) {}

  void begin_object() { open('{'); }
  void end_object() { close('}'); }
  void begin_array() { open('['); }
  void end_array() { close(']'); }
  void key(std::string_view name);

  void string(std::string_view text);
  void boolean(bool value) { scalar(value ? "true" : "false"); }
  void null() { scalar("null"); }
  template <std::integral Number>
  void number(Number value) {
    scalar(std::to_string(value));
  }

  // A member of an object.
  void member(std::string_view name, std::string_view text) { key(name), string(text); }
  void member(std::string_view name, const char* text) { key(name), string(text); }
  void member(std::string_view name, bool value) { key(name), boolean(value); }
  template <std::integral Number>
  void member(std::string_view name, Number value) {
    key(name), number(value);
  }

  bool ok() const { return ok_; }
  // Everything is with the sink then; a line feed follows the document.
  bool finish();

 private:
  void open(char bracket);
  void close(char bracket);
  void before_value();
  void indent();
  void scalar(std::string_view text);
  void flush();

  static constexpr size_t kPieceBytes = 64 << 10;

  Sink sink_;
  std::string buffer_;
  std::vector<bool> filled_;  // for each open bracket: something stands in it
  bool after_key_ = false;
  bool ok_ = true;
};

}  // namespace culvert::admin
