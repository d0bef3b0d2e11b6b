#include "admin/value.h"

namespace culvert::admin {

Value Value::duration(std::chrono::nanoseconds span) {
  const auto seconds = std::chrono::floor<std::chrono::seconds>(span);
  return Object{{"secs", int64_t{seconds.count()}}, {"nanos", int64_t{(span - seconds).count()}}};
}

Value& Value::operator[](const std::string& key) {
  if (!std::holds_alternative<Object>(state_)) state_ = Object();
  return std::get<Object>(state_)[key];
}

void Value::write(JsonWriter& out) const {
  struct Visitor {
    JsonWriter& out;
    void operator()(std::nullptr_t) const { out.null(); }
    void operator()(bool value) const { out.boolean(value); }
    void operator()(int64_t value) const { out.number(value); }
    void operator()(const std::string& value) const { out.string(value); }
    void operator()(const List& list) const {
      out.begin_array();
      for (const Value& one : list) one.write(out);
      out.end_array();
    }
    void operator()(const Object& object) const {
      out.begin_object();
      for (const auto& [key, value] : object) out.key(key), value.write(out);
      out.end_object();
    }
  };
  std::visit(Visitor{out}, state_);
}

}  // namespace culvert::admin
