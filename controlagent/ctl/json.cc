// The one place that includes nlohmann-json.
#include <nlohmann/json.hpp>

#include "ctl/value.h"

namespace culvert::ctl {

namespace {

using Json = nlohmann::ordered_json;

Json convert(const Value& value) {
  switch (value.kind) {
    case Value::Kind::kNull:
      return nullptr;
    case Value::Kind::kBool:
      return value.truth;
    case Value::Kind::kNumber:
      return value.number;
    case Value::Kind::kSigned:
      return value.signed_number;
    case Value::Kind::kText:
      return value.text;
    case Value::Kind::kList: {
      Json out = Json::array();
      for (const Value& item : value.items) out.push_back(convert(item));
      return out;
    }
    case Value::Kind::kMap:
      break;
  }
  Json out = Json::object();
  for (const Value::Entry& entry : value.entries) out[entry.key] = convert(entry.value);
  return out;
}

}  // namespace

// Text that is no UTF-8 is shown with replacement characters rather than refused.
std::string to_json(const Value& value) {
  return convert(value).dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

std::string to_json_line(const Value& value) {
  return convert(value).dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace culvert::ctl
