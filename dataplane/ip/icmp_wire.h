// ICMP errors between their wire form and values. Of the room's own use.
#pragma once

#include <optional>

#include "base/bytes.h"
#include "ip/icmp_error.h"
#include "wire/icmp.h"

namespace culvert::ip {

enum class QuotationKind : uint8_t {
  kTcp,            // `report` is filled
  kOtherProtocol,  // an error about something else than TCP, or about a later fragment
  kNotAnError,     // another message, or an error that nobody acts on
  kMalformed,
};

struct Quotation {
  QuotationKind kind;
  IcmpErrorReport report;
};

// `message` starts with the ICMP header. The checksum is not verified here.
Quotation parse_icmp_error(ByteView message, bool v4);

wire::IcmpHeader header_of_v4(const IcmpError& error);
wire::IcmpHeader header_of_v6(const IcmpError& error);

}  // namespace culvert::ip
