#include "ctl/value.h"

namespace culvert::ctl {

Value Value::of(bool value) {
  Value out;
  out.kind = Kind::kBool;
  out.truth = value;
  return out;
}
Value Value::of(uint64_t value) {
  Value out;
  out.kind = Kind::kNumber;
  out.number = value;
  return out;
}
Value Value::of(uint32_t value) { return of(uint64_t{value}); }
Value Value::of(int64_t value) {
  Value out;
  out.kind = Kind::kSigned;
  out.signed_number = value;
  return out;
}
Value Value::of(std::string value) {
  Value out;
  out.kind = Kind::kText;
  out.text = std::move(value);
  return out;
}
Value Value::list() { return list({}); }
Value Value::list(std::vector<Value> items) {
  Value out;
  out.kind = Kind::kList;
  out.items = std::move(items);
  return out;
}
Value Value::map() {
  Value out;
  out.kind = Kind::kMap;
  return out;
}

Value& Value::set(std::string key, Value value) {
  entries.push_back({std::move(key), std::move(value)});
  return *this;
}

const Value* Value::find(const std::string& key) const {
  for (const Entry& entry : entries) {
    if (entry.key == key) return &entry.value;
  }
  return nullptr;
}

std::string Value::cell() const {
  std::string out;
  switch (kind) {
    case Kind::kNull:
    case Kind::kMap:
      break;
    case Kind::kBool:
      return truth ? "yes" : "no";
    case Kind::kNumber:
      return std::to_string(number);
    case Kind::kSigned:
      return std::to_string(signed_number);
    case Kind::kText:
      out = printable(text);
      break;
    case Kind::kList:
      for (const Value& item : items) out += (out.empty() ? "" : ",") + item.cell();
      break;
  }
  return out.empty() ? "-" : out;
}

std::string printable(std::string text) {
  for (char& c : text) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
  }
  return text;
}

}  // namespace culvert::ctl
