// TLS alerts by their numbers (RFC 8446 6).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace culvert::tls {

enum class Alert : uint8_t {
  kCloseNotify = 0,
  kUnexpectedMessage = 10,
  kBadRecordMac = 20,
  kRecordOverflow = 22,
  kHandshakeFailure = 40,
  kBadCertificate = 42,
  kUnsupportedCertificate = 43,
  kCertificateRevoked = 44,
  kCertificateExpired = 45,
  kCertificateUnknown = 46,
  kIllegalParameter = 47,
  kUnknownCa = 48,
  kAccessDenied = 49,
  kDecodeError = 50,
  kDecryptError = 51,
  kProtocolVersion = 70,
  kInsufficientSecurity = 71,
  kInternalError = 80,
  kInappropriateFallback = 86,
  kUserCanceled = 90,
  kMissingExtension = 109,
  kUnsupportedExtension = 110,
  kUnrecognizedName = 112,
  kBadCertificateStatusResponse = 113,
  kUnknownPskIdentity = 115,
  kCertificateRequired = 116,
  kNoApplicationProtocol = 120,
};

// "certificate_required", the standard's word; "unknown_alert" for numbers that are not in it.
std::string_view name_of_alert(uint8_t alert);
// "received fatal alert: certificate_required (116)", the end of a sentence for the log.
std::string text_of_received(uint8_t alert);

}  // namespace culvert::tls
