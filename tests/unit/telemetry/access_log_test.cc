// Access-log lines as reference 25 gives them, and what hostile values do to them: nothing.
#include <gtest/gtest.h>

#include <string>

#include "telemetry/access_log.h"

namespace culvert {
namespace {

Endpoint at(std::string_view text) { return *Endpoint::parse(text); }

std::string line_of(const AccessRecord& record, LogFormat format = LogFormat::kPlain) {
  AccessLine line;
  return std::string(format_access(record, format, line));
}

AccessRecord complete() {
  AccessRecord r;
  r.unix_us = 1'769'853'600'000'042;
  r.src_addr = at("10.0.0.1:4242");
  r.src_workload = "client";
  r.src_namespace = "shop";
  r.src_identity = "spiffe://cluster.local/ns/shop/sa/client";
  r.src_cluster = "Kubernetes";
  r.dst_addr = at("10.0.0.2:15008");
  r.dst_hbone_addr = "10.0.0.2:80";
  r.dst_service = "web.shop.svc.cluster.local";
  r.dst_workload = "web-1";
  r.dst_namespace = "shop";
  r.dst_identity = "spiffe://cluster.local/ns/shop/sa/web";
  r.dst_cluster = "Kubernetes";
  r.direction = "outbound";
  r.bytes_sent = 10;
  r.bytes_recv = 1'000'000'000'000;
  r.duration = 12'999us;
  return r;
}

TEST(AccessLog, ACompleteConnectionHasEveryFieldInOrder) {
  EXPECT_EQ(
      line_of(complete()),
      "2026-01-31T10:00:00.000042Z\tinfo\taccess\tconnection complete\t"
      "src.addr=10.0.0.1:4242 src.workload=\"client\" src.namespace=\"shop\" "
      "src.identity=\"spiffe://cluster.local/ns/shop/sa/client\" src.cluster=\"Kubernetes\" "
      "dst.addr=10.0.0.2:15008 dst.hbone_addr=10.0.0.2:80 dst.service=\"web.shop.svc.cluster.local\" "
      "dst.workload=\"web-1\" dst.namespace=\"shop\" dst.identity=\"spiffe://cluster.local/ns/shop/sa/web\" "
      "dst.cluster=\"Kubernetes\" direction=\"outbound\" bytes_sent=10 bytes_recv=1000000000000 duration=\"12ms\"");
}

TEST(AccessLog, AFailedOneIsAnErrorAndEndsWithIt) {
  AccessRecord r = complete();
  r.error = "connection closed due to policy change";
  const std::string line = line_of(r);
  EXPECT_NE(line.find("\terror\taccess\tconnection complete\t"), std::string::npos);
  EXPECT_TRUE(line.ends_with("duration=\"12ms\" error=\"connection closed due to policy change\"")) << line;
}

TEST(AccessLog, UnknownFieldsAreLeftOut) {
  AccessRecord r;
  r.src_addr = at("[fd00::1]:4242");
  r.direction = "inbound";
  EXPECT_EQ(line_of(r),
            "1970-01-01T00:00:00.000000Z\tinfo\taccess\tconnection complete\t"
            "src.addr=[fd00::1]:4242 direction=\"inbound\" bytes_sent=0 bytes_recv=0 duration=\"0ms\"");
}

TEST(AccessLog, AnOpenedConnectionHasNoCountsYet) {
  AccessRecord r = complete();
  r.event = AccessEvent::kOpened;
  const std::string line = line_of(r);
  EXPECT_NE(line.find("Z\tdebug\taccess\tconnection opened\tsrc.addr=10.0.0.1:4242"), std::string::npos);
  EXPECT_TRUE(line.ends_with("direction=\"outbound\"")) << line;
}

TEST(AccessLog, AnEarlyDenyTellsAddressesDirectionAndError) {
  AccessRecord r = complete();
  r.event = AccessEvent::kFailed;
  r.error = "tls handshake error: certificate expired";
  EXPECT_EQ(line_of(r),
            "2026-01-31T10:00:00.000042Z\twarn\taccess\tconnection failed\tsrc.addr=10.0.0.1:4242 "
            "dst.addr=10.0.0.2:15008 direction=\"outbound\" error=\"tls handshake error: certificate expired\"");
}

TEST(AccessLog, HostileValuesStayInsideTheirQuotes) {
  struct Row {
    std::string_view value;
    const char* written;
  };
  using namespace std::string_view_literals;
  for (const Row& row :
       {Row{"a\"b", "a\\\"b"}, Row{"a\\b", "a\\\\b"}, Row{"a\nb\r\tc", "a\\nb\\r\\tc"},
        Row{"\x01\x7f"sv, "\\u{01}\\u{7f}"}, Row{"\0"sv, "\\u{00}"}, Row{"gr\xc3\xbc\xc3\x9f", "gr\xc3\xbc\xc3\x9f"},
        Row{"\xc3(", "\\xc3("}, Row{"\xed\xa0\x80", "\\xed\\xa0\\x80"}, Row{"\xc0\xaf", "\\xc0\\xaf"},
        Row{"\xf0\x9f\x98\x80", "\xf0\x9f\x98\x80"}, Row{"\xf5", "\\xf5"}, Row{"\xe2\x82", "\\xe2\\x82"}}) {
    AccessRecord r;
    r.error = row.value;
    EXPECT_TRUE(line_of(r).ends_with(std::string("error=\"") + row.written + "\"")) << line_of(r);
  }
  AccessRecord r;
  r.dst_hbone_addr = "host:80 bytes_sent=7\n\"";
  EXPECT_NE(line_of(r).find("dst.hbone_addr=host:80?bytes_sent?7?? "), std::string::npos) << line_of(r);
}

TEST(AccessLog, LongValuesAreCutAndMarked) {
  AccessRecord r;
  const std::string exact(kLogValueBytesMax - 2, 'x');
  r.error = exact;
  EXPECT_TRUE(line_of(r).ends_with("error=\"" + exact + "\""));
  const std::string longer = exact + "y";
  r.error = longer;
  EXPECT_TRUE(line_of(r).ends_with("xxx...\""));
  EXPECT_EQ(line_of(r).size(), line_of(AccessRecord{}).size() + 1 + 7 + kLogValueBytesMax)
      << "error for info, and the field";
}

TEST(AccessLog, TheLongestRecordFitsIntoALine) {
  const std::string worst(10'000, '\x01');
  AccessRecord r = complete();
  for (std::string_view* v :
       {&r.src_workload, &r.src_namespace, &r.src_identity, &r.src_cluster, &r.dst_hbone_addr, &r.dst_service,
        &r.dst_workload, &r.dst_namespace, &r.dst_identity, &r.dst_cluster, &r.direction, &r.error}) {
    *v = worst;
  }
  r.src_addr = r.dst_addr = at("[1111:2222:3333:4444:5555:6666:7777:8888]:65535");
  r.bytes_sent = r.bytes_recv = UINT64_MAX;
  r.duration = Duration::max();
  const std::string line = line_of(r);
  EXPECT_LT(line.size(), kAccessLineBytesMax);
  EXPECT_TRUE(line.ends_with("...\"")) << "the last field is whole";
  const std::string json = line_of(r, LogFormat::kJson);
  EXPECT_LT(json.size(), kAccessLineBytesMax);
  EXPECT_TRUE(json.ends_with("...\"}")) << "and so is the object";
}

TEST(AccessLogJson, ACompleteConnectionHasEveryFieldInOrder) {
  EXPECT_EQ(line_of(complete(), LogFormat::kJson),
            R"({"level":"info","time":"2026-01-31T10:00:00.000042Z","scope":"access","message":"connection complete",)"
            R"("src.addr":"10.0.0.1:4242","src.workload":"client","src.namespace":"shop",)"
            R"("src.identity":"spiffe://cluster.local/ns/shop/sa/client","src.cluster":"Kubernetes",)"
            R"("dst.addr":"10.0.0.2:15008","dst.hbone_addr":"10.0.0.2:80","dst.service":"web.shop.svc.cluster.local",)"
            R"("dst.workload":"web-1","dst.namespace":"shop","dst.identity":"spiffe://cluster.local/ns/shop/sa/web",)"
            R"("dst.cluster":"Kubernetes","direction":"outbound","bytes_sent":10,"bytes_recv":1000000000000,)"
            R"("duration":"12ms"})");
}

TEST(AccessLogJson, OpenedAndFailedConnections) {
  AccessRecord r;
  r.event = AccessEvent::kOpened;
  r.src_addr = at("[fd00::1]:4242");
  r.src_workload = "client";
  r.direction = "inbound";
  EXPECT_EQ(line_of(r, LogFormat::kJson),
            R"({"level":"debug","time":"1970-01-01T00:00:00.000000Z","scope":"access","message":"connection opened",)"
            R"("src.addr":"[fd00::1]:4242","src.workload":"client","direction":"inbound"})");
  r.event = AccessEvent::kFailed;
  r.error = "unknown waypoint: a\"b";
  EXPECT_EQ(line_of(r, LogFormat::kJson),
            R"({"level":"warn","time":"1970-01-01T00:00:00.000000Z","scope":"access","message":"connection failed",)"
            R"("src.addr":"[fd00::1]:4242","direction":"inbound","error":"unknown waypoint: a\"b"})");
}

TEST(AccessLogJson, HostileValuesStayInsideTheirStrings) {
  struct Row {
    std::string_view value;
    const char* written;
  };
  using namespace std::string_view_literals;
  for (const Row& row : {Row{"a\"b", "a\\\"b"}, Row{"a\\b", "a\\\\b"}, Row{"a\nb\r\tc", "a\\nb\\r\\tc"},
                         Row{"\x01\x7f"sv, "\\u0001\\u007f"}, Row{"\0"sv, "\\u0000"},
                         Row{"gr\xc3\xbc\xc3\x9f", "gr\xc3\xbc\xc3\x9f"}, Row{"\xc3(", "\\\\xc3("}}) {
    AccessRecord r;
    r.error = row.value;
    EXPECT_TRUE(line_of(r, LogFormat::kJson).ends_with(std::string("\"error\":\"") + row.written + "\"}"))
        << line_of(r, LogFormat::kJson);
  }
  AccessRecord r;
  r.dst_hbone_addr = "host:80\",\"bytes_sent\":7";
  EXPECT_NE(line_of(r, LogFormat::kJson).find(R"("dst.hbone_addr":"host:80?,?bytes_sent?:7")"), std::string::npos)
      << line_of(r, LogFormat::kJson);
}

}  // namespace
}  // namespace culvert
