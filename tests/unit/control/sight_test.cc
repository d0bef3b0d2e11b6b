// What culvertctl is told, and where access-log lines go.
#include <gtest/gtest.h>

#include "control/api/status.grpc.pb.h"
#include "control/services.h"
#include "tests/unit/control/served.h"

namespace culvert::control {
namespace {

class SightTest : public testing::Test {
 protected:
  std::unique_ptr<api::Sight::Stub> stub() { return api::Sight::NewStub(served.channel()); }
  Served served;
};

TEST_F(SightTest, ReportsTheNodesState) {
  served.node.wanted = {"uplink0"};
  served.node.silence = {3ms, 2500ms};
  Call call;
  api::StatusReply reply;
  ASSERT_TRUE(stub()->Status(&call, {}, &reply).ok());
  EXPECT_EQ(reply.node(), "n1");
  EXPECT_EQ(reply.build(), "9.9.9");
  EXPECT_EQ(reply.contract(), 1u);
  EXPECT_FALSE(reply.agent_connected());
  ASSERT_EQ(reply.workers_size(), 2);
  EXPECT_EQ(reply.workers(1).silent_ms(), 2500u);
  EXPECT_EQ(reply.workers(0).poll(), "adaptive");
  ASSERT_EQ(reply.descriptors_wanted_size(), 1);
  EXPECT_EQ(reply.descriptors_wanted(0), "port:uplink0");
}

TEST_F(SightTest, StreamsAnyNumberOfSessionsInMessagesOfBoundedSize) {
  constexpr size_t kRows = 3 * kRowsPerMessage + 1;
  for (size_t i = 0; i < kRows; ++i) {
    worker::SessionRow row{};
    row.direction = "outbound";
    row.source = *Endpoint::parse("10.1.0.11:40000");
    row.destination = *Endpoint::parse("[fd00::1]:80");
    row.source_identity = "spiffe://cluster.local/ns/demo/sa/web";
    row.bytes_sent = i;
    row.age = 1500ms;
    served.node.session_rows.push_back(std::move(row));
  }
  Call call;
  const auto client = stub();
  const auto reader = client->Sessions(&call, {});
  api::SessionRows rows;
  uint64_t seen = 0;
  while (reader->Read(&rows)) {
    EXPECT_LE(static_cast<size_t>(rows.rows_size()), kRowsPerMessage);
    for (const api::Session& row : rows.rows()) {
      EXPECT_EQ(row.bytes_sent(), seen++);
      EXPECT_EQ(row.source().address().size(), 4u);
      EXPECT_EQ(row.destination().address().size(), 16u);
      EXPECT_EQ(row.destination().port(), 80u);
      EXPECT_EQ(row.age_ms(), 1500u);
    }
  }
  EXPECT_TRUE(reader->Finish().ok());
  EXPECT_EQ(seen, kRows);
}

TEST_F(SightTest, ReportsTunnelsAndPorts) {
  worker::TunnelRow tunnel{};
  tunnel.role = "client";
  tunnel.local = *Endpoint::parse("10.1.0.11:40000");
  tunnel.remote = *Endpoint::parse("10.2.0.11:15008");
  tunnel.cipher = "TLS_AES_256_GCM_SHA384";
  tunnel.records_sealed = 7;
  served.node.tunnel_rows.push_back(tunnel);
  worker::PortRow port{};
  port.name = "uplink0";
  port.driver = "tap";
  port.role = worker::PortRole::kUplink;
  port.mtu = 1500;
  port.queues = 1;
  port.mac = {2, 0, 0, 0, 0, 1};
  port.offloads.tso = true;
  port.offloads.tso_bytes_max = 65535;
  port.offloads.rx_checksum = true;
  port.stats.rx_packets = 5;
  served.node.port_rows.push_back(port);

  Call tunnels_call;
  const auto client = stub();
  const auto reader = client->Tunnels(&tunnels_call, {});
  api::TunnelRows tunnels;
  ASSERT_TRUE(reader->Read(&tunnels));
  EXPECT_EQ(tunnels.rows(0).cipher(), "TLS_AES_256_GCM_SHA384");
  EXPECT_EQ(tunnels.rows(0).records_sealed(), 7u);
  EXPECT_FALSE(reader->Read(&tunnels));
  EXPECT_TRUE(reader->Finish().ok());
  Call ports_call;
  api::PortRows ports;
  ASSERT_TRUE(client->Ports(&ports_call, {}, &ports).ok());
  ASSERT_EQ(ports.rows_size(), 1);
  EXPECT_EQ(ports.rows(0).role(), api::Port::UPLINK);
  EXPECT_EQ(ports.rows(0).mac().size(), 6u);
  ASSERT_EQ(ports.rows(0).offloads_size(), 2);
  EXPECT_EQ(ports.rows(0).offloads(1), "tso 65535");
  EXPECT_EQ(ports.rows(0).rx_packets(), 5u);
}

TrafficSample sample_of(std::string_view client, Reporter reporter = Reporter::kSource) {
  TrafficLabels labels;
  labels.reporter = reporter;
  labels.mutual_tls = labels.localities = true;
  labels.source = {client, "sc", "sr", "sns", "spiffe://td/ns/sns/sa/s", "sk", "sreg", "sz"};
  labels.destination = {"dw", "dc", "dr", "dns", "spiffe://td/ns/dns/sa/d", "dk", "dreg", "dz"};
  labels.service = "web.dns.svc.cluster.local";
  labels.service_namespace = "dns";
  labels.service_name = "web";
  auto key = std::make_shared<TrafficKey>();
  key->assign(labels);
  TrafficSample sample;
  sample.key = std::move(key);
  sample.opened = 7;
  sample.received_bytes = 100;
  sample.sent_bytes = 200;
  sample.closed[static_cast<size_t>(ResponseFlag::kNone)] = 4;
  sample.closed[static_cast<size_t>(ResponseFlag::kDeny)] = 2;
  return sample;
}

TEST_F(SightTest, TellsTrafficInARowPerFlagWithEveryLabel) {
  served.node.traffic_report.samples = {sample_of("sw", Reporter::kDestination)};
  served.node.traffic_report.pod_connections = 3;
  served.node.traffic_report.server_tunnels = 4;
  served.node.traffic_report.series = 1;
  served.node.traffic_report.overflowed = 9;
  Call call;
  const auto client = stub();
  const auto reader = client->Traffic(&call, {});
  api::TrafficRows rows;
  ASSERT_TRUE(reader->Read(&rows));
  ASSERT_EQ(rows.rows_size(), 2) << "flags that nothing ended with are left out";
  const api::TrafficRow& fine = rows.rows(0);
  EXPECT_EQ(fine.ShortDebugString(),
            "reporter: DESTINATION source { workload: \"sw\" canonical_service: \"sc\" canonical_revision: \"sr\" "
            "workload_namespace: \"sns\" principal: \"spiffe://td/ns/sns/sa/s\" cluster: \"sk\" region: \"sreg\" "
            "zone: \"sz\" } destination { workload: \"dw\" canonical_service: \"dc\" canonical_revision: \"dr\" "
            "workload_namespace: \"dns\" principal: \"spiffe://td/ns/dns/sa/d\" cluster: \"dk\" region: \"dreg\" "
            "zone: \"dz\" } destination_service: \"web.dns.svc.cluster.local\" destination_service_namespace: \"dns\" "
            "destination_service_name: \"web\" response_flags: \"-\" mutual_tls: true localities: true opened: 7 "
            "closed: 4 received_bytes: 100 sent_bytes: 200");
  const api::TrafficRow& denied = rows.rows(1);
  EXPECT_EQ(denied.response_flags(), "DENY");
  EXPECT_EQ(denied.source().workload(), "sw");
  EXPECT_EQ(denied.closed(), 2u);
  EXPECT_EQ(denied.failed(), 2u);
  EXPECT_EQ(denied.opened() + denied.received_bytes() + denied.sent_bytes(), 0u);
  EXPECT_EQ(rows.totals().source_sockets_open(), 3u);
  EXPECT_EQ(rows.totals().destination_sockets_open(), 4u);
  EXPECT_EQ(rows.totals().series(), 1u);
  EXPECT_EQ(rows.totals().overflowed(), 9u);
  EXPECT_FALSE(reader->Read(&rows));
  EXPECT_TRUE(reader->Finish().ok());
}

TEST_F(SightTest, StreamsTenThousandSeriesWithTheTotalsLast) {
  for (int i = 0; i < 10'000; ++i) {
    served.node.traffic_report.samples.push_back(sample_of("client-" + std::to_string(i)));
  }
  served.node.traffic_report.series = 10'000;
  const auto client = stub();
  int seen = 0;
  {
    Call warm;
    api::StatusReply status;
    ASSERT_TRUE(client->Status(&warm, {}, &status).ok());
  }
  Call call;
  const auto from = std::chrono::steady_clock::now();
  const auto reader = client->Traffic(&call, {});
  api::TrafficRows rows;
  uint64_t series = 0;
  while (reader->Read(&rows)) {
    EXPECT_EQ(series, 0u) << "nothing comes behind the totals";
    seen += rows.rows_size();
    EXPECT_LT(rows.ByteSizeLong(), size_t{1} << 20);
    if (rows.has_totals()) series = rows.totals().series();
  }
  RecordProperty(
      "milliseconds",
      static_cast<int>(
          std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() - from).count()));
  EXPECT_TRUE(reader->Finish().ok());
  EXPECT_EQ(seen, 20'000);
  EXPECT_EQ(series, 10'000u);
}

TEST_F(SightTest, SumsThatMissAWorkerAreNotTold) {
  served.node.traffic_report.samples = {sample_of("sw")};
  served.node.traffic_report.workers_silent = 1;
  Call call;
  const auto client = stub();
  const auto reader = client->Traffic(&call, {});
  api::TrafficRows rows;
  EXPECT_FALSE(reader->Read(&rows));
  const grpc::Status status = reader->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_NE(status.error_message().find("1 of the workers"), std::string::npos) << status.error_message();
}

TEST_F(SightTest, LinesThatWorkersLostAreCountedWithThoseOfTheWriter) {
  served.node.lines_lost = 5;
  Call call;
  api::StatusReply reply;
  ASSERT_TRUE(stub()->Status(&call, {}, &reply).ok());
  EXPECT_EQ(reply.log_lines_lost(), 5u);
  EXPECT_EQ(served.server->log_lines_lost(), 5u);
}

TEST_F(SightTest, SumsCountersOverWorkersAndListsAllOfThem) {
  Call call;
  api::CountersRequest request;
  request.set_per_worker(true);
  api::CounterRows counters;
  ASSERT_TRUE(stub()->Counters(&call, request, &counters).ok());
  EXPECT_EQ(static_cast<size_t>(counters.rows_size()), kCounters);
  const auto& row = counters.rows(static_cast<int>(Counter::kPortRxPacket));
  EXPECT_EQ(row.name(), "port_rx_packet");
  EXPECT_EQ(row.unit(), "packets");
  EXPECT_EQ(row.value(), 21u);
  ASSERT_EQ(row.by_worker_size(), 2);
  EXPECT_EQ(row.by_worker(1), 11u);
  Call drops_call;
  api::CounterRows drops;
  ASSERT_TRUE(stub()->Drops(&drops_call, {}, &drops).ok());
  EXPECT_EQ(static_cast<size_t>(drops.rows_size()), kDropReasons);
  const auto& drop = drops.rows(static_cast<int>(DropReason::kEthTooShort));
  EXPECT_EQ(drop.name(), "eth_too_short");
  EXPECT_EQ(drop.room(), "eth");
  EXPECT_EQ(drop.value(), 7u);
  EXPECT_EQ(drop.by_worker_size(), 0);
}

TEST_F(SightTest, WritesAccessLogLinesOfTheNode) {
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  const UniqueFd read_end(ends[0]);
  UniqueFd write_end(ends[1]);
  served.log_fd = write_end.get();
  served.start();
  {
    const std::lock_guard lock(served.node.mutex);
    for (int i = 0; i < 10'000; ++i) served.node.log_lines.push_back("line " + std::to_string(i));
  }
  std::string expected;
  for (int i = 0; i < 10'000; ++i) expected += "line " + std::to_string(i) + "\n";
  std::thread end([&] {
    while (true) {
      {
        const std::lock_guard lock(served.node.mutex);
        if (served.node.log_lines.size() <= 5'000) break;
      }
      std::this_thread::yield();
    }
    // What the node still holds at the end is written too.
    served.server.reset();
    write_end.reset();
  });
  std::string out;
  char block[65536];
  for (ssize_t n; (n = ::read(read_end.get(), block, sizeof(block))) > 0;) out.append(block, static_cast<size_t>(n));
  end.join();
  EXPECT_EQ(out, expected);
}

}  // namespace
}  // namespace culvert::control
