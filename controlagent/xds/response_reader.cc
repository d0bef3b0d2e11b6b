#include "xds/response_reader.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>

#include <initializer_list>
#include <limits>
#include <utility>

namespace culvert::xds {
namespace {

using google::protobuf::io::ArrayInputStream;
using google::protobuf::io::CodedInputStream;

// The encoding's own words (protobuf, "Encoding"): a tag is a field number and one of these.
enum WireType : uint32_t { kVarint = 0, kFixed64 = 1, kDelimited = 2, kFixed32 = 5 };
constexpr uint32_t field_of(uint32_t tag) { return tag >> 3; }
constexpr uint32_t type_of(uint32_t tag) { return tag & 7; }

// Numbers of reference 14.2.
enum : uint32_t { kVersionInfo = 1, kResources = 2, kTypeUrl = 4, kNonce = 5, kRemoved = 6 };
enum : uint32_t { kResourceName = 3 };

constexpr size_t kTextMax = 4096;

// Skips the value behind a tag. Groups are gone from proto3; who sends them sends something else.
bool skip(CodedInputStream& in, uint32_t tag) {
  uint64_t number = 0;
  uint32_t half = 0, length = 0;
  switch (type_of(tag)) {
    case kVarint:
      return in.ReadVarint64(&number);
    case kFixed64:
      return in.ReadLittleEndian64(&number);
    case kFixed32:
      return in.ReadLittleEndian32(&half);
    case kDelimited:
      return in.ReadVarint32(&length) && length <= uint32_t{std::numeric_limits<int>::max()} &&
             in.Skip(static_cast<int>(length));
    default:
      return false;
  }
}

// The fields of a message by number: calls `take(field, length)` for each delimited one, which reads or skips `length`
// bytes, and passes over all others. False: the framing is broken, or `take` said so.
template <class Take>
bool each_field(CodedInputStream& in, Take&& take) {
  while (const uint32_t tag = in.ReadTag()) {
    if (type_of(tag) != kDelimited) {
      if (!skip(in, tag)) return false;
      continue;
    }
    uint32_t length = 0;
    if (!in.ReadVarint32(&length) || length > uint32_t{std::numeric_limits<int>::max()}) return false;
    if (!take(field_of(tag), static_cast<int>(length))) return false;
  }
  return in.ConsumedEntireMessage();
}

// The name of a resource that is not read whole.
std::string name_only(CodedInputStream& in) {
  std::string name;
  each_field(in, [&](uint32_t field, int length) {
    if (field != kResourceName) return in.Skip(length);
    return static_cast<size_t>(length) <= kTextMax ? in.ReadString(&name, length) : in.Skip(length);
  });
  return name;
}

// Which fields of a message are messages that count_elements looks into.
struct Shape {
  struct Inner {
    uint32_t field;
    const Shape* shape;
  };
  std::initializer_list<Inner> inner = {};
};

// Reference 13.1 and 12.1. What stands in no list here is counted and not looked into.
constexpr Shape kLeaf;
constexpr Shape kPortList{{{1, &kLeaf}}};
constexpr Shape kServicesEntry{{{2, &kPortList}}};
constexpr Shape kWorkload{{{22, &kServicesEntry}}};
constexpr Shape kWeighted{{{1, &kLeaf}}};
constexpr Shape kService{{{13, &kWeighted}}};
constexpr Shape kAddress{{{1, &kWorkload}, {2, &kService}}};
constexpr Shape kMatch;
constexpr Shape kRules{{{2, &kMatch}}};
constexpr Shape kGroup{{{1, &kRules}}};
constexpr Shape kAuthorization{{{5, &kGroup}}};

bool count(CodedInputStream& in, const Shape& shape, size_t most, size_t& counted) {
  return each_field(in, [&](uint32_t field, int length) {
    if (++counted >= most) return false;
    for (const Shape::Inner& inner : shape.inner) {
      if (inner.field != field) continue;
      const auto limit = in.PushLimit(length);
      if (!count(in, *inner.shape, most, counted)) return false;
      in.PopLimit(limit);
      return true;
    }
    return in.Skip(length);
  });
}

}  // namespace

std::unique_ptr<google::protobuf::io::ZeroCopyInputStream> ResponseInMemory::open() const {
  return std::make_unique<ArrayInputStream>(bytes_.data(), static_cast<int>(bytes_.size()));
}

std::optional<Envelope> read_envelope(const EncodedResponse& response) {
  const auto stream = response.open();
  CodedInputStream in(stream.get());
  Envelope out;
  const bool whole = each_field(in, [&](uint32_t field, int length) {
    const auto text = [&](std::string& into) {
      return static_cast<size_t>(length) <= kTextMax && in.ReadString(&into, length);
    };
    switch (field) {
      case kVersionInfo:
        return static_cast<size_t>(length) <= kTextMax ? text(out.version) : in.Skip(length);
      case kTypeUrl:
        return text(out.type_url);
      case kNonce:
        return text(out.nonce);
      case kResources:
        ++out.resources;
        return in.Skip(length);
      case kRemoved:
        ++out.removed;
        return in.Skip(length);
      default:
        return in.Skip(length);
    }
  });
  if (!whole) return std::nullopt;
  return out;
}

void each_removed(const EncodedResponse& response, const Limits& limits,
                  const std::function<void(const std::string& name)>& take) {
  const auto stream = response.open();
  CodedInputStream in(stream.get());
  std::string name;
  each_field(in, [&](uint32_t field, int length) {
    if (field != kRemoved || static_cast<size_t>(length) > limits.name_bytes_max) return in.Skip(length);
    if (!in.ReadString(&name, length)) return false;
    take(name);
    return true;
  });
}

void each_resource(const EncodedResponse& response, const Limits& limits,
                   const std::function<void(const ReadResource&)>& take) {
  const auto stream = response.open();
  CodedInputStream in(stream.get());
  std::string bytes;  // of one resource at a time
  envoy::service::discovery::v3::Resource resource;
  size_t index = 0;
  each_field(in, [&](uint32_t field, int length) {
    if (field != kResources) return in.Skip(length);
    ++index;
    if (static_cast<size_t>(length) > limits.resource_bytes_max) {
      const auto limit = in.PushLimit(length);
      std::string name = name_only(in);
      const bool skipped = in.Skip(in.BytesUntilLimit());
      in.PopLimit(limit);
      take({nullptr, std::move(name),
            "resource: " + std::to_string(length) + " bytes, at most " + std::to_string(limits.resource_bytes_max) +
                " are taken"});
      return skipped;
    }
    if (!in.ReadString(&bytes, length)) return false;
    if (resource.ParseFromString(bytes)) {
      take({&resource, resource.name(), {}});
    } else {
      ArrayInputStream again(bytes.data(), length);
      CodedInputStream inside(&again);
      take({nullptr, name_only(inside),
            "resource: number " + std::to_string(index) + " of the response cannot be read as a Resource"});
    }
    return true;
  });
}

size_t count_elements(std::string_view type_url, std::string_view encoded, size_t most) {
  ArrayInputStream stream(encoded.data(), static_cast<int>(encoded.size()));
  CodedInputStream in(&stream);
  size_t counted = 0;
  count(in, type_url == kAuthorizationType ? kAuthorization : kAddress, most, counted);
  return counted;
}

}  // namespace culvert::xds
