#include "telemetry/access_log.h"

#include "telemetry/log_line.h"

namespace culvert {

namespace {

std::string_view message_of(AccessEvent event) {
  switch (event) {
    case AccessEvent::kOpened:
      return "connection opened";
    case AccessEvent::kComplete:
      return "connection complete";
    case AccessEvent::kFailed:
      return "connection failed";
  }
  return "";
}

}  // namespace

LogLevel level_of(AccessEvent event, bool failed) {
  switch (event) {
    case AccessEvent::kOpened:
      return LogLevel::kDebug;
    case AccessEvent::kComplete:
      return failed ? LogLevel::kError : LogLevel::kInfo;
    case AccessEvent::kFailed:
      return LogLevel::kWarn;
  }
  return LogLevel::kInfo;
}

std::string_view format_access(const AccessRecord& record, LogFormat format, AccessLine& line) {
  LogLine out(format, line);
  out.head(record.unix_us, level_of(record.event, !record.error.empty()), kAccessTarget, message_of(record.event));

  // An early deny says little: nothing was established about either side.
  const bool full = record.event != AccessEvent::kFailed;
  out.address("src.addr", record.src_addr);
  if (full) {
    out.quoted("src.workload", record.src_workload);
    out.quoted("src.namespace", record.src_namespace);
    out.quoted("src.identity", record.src_identity);
    out.quoted("src.cluster", record.src_cluster);
  }
  out.address("dst.addr", record.dst_addr);
  if (full) {
    out.bare("dst.hbone_addr", record.dst_hbone_addr);
    out.quoted("dst.service", record.dst_service);
    out.quoted("dst.workload", record.dst_workload);
    out.quoted("dst.namespace", record.dst_namespace);
    out.quoted("dst.identity", record.dst_identity);
    out.quoted("dst.cluster", record.dst_cluster);
  }
  out.quoted("direction", record.direction);
  if (record.event == AccessEvent::kComplete) {
    out.number("bytes_sent", record.bytes_sent);
    out.number("bytes_recv", record.bytes_recv);
    out.milliseconds("duration", static_cast<uint64_t>(to_ms(record.duration)));
  }
  out.quoted("error", record.error);
  return out.end();
}

}  // namespace culvert
