// The scrape: names, labels in ztunnel's order, values, and what is left out (reference 24). That a parser takes it is
// for promtool to say (tests/interop/metrics_promtool_test.py).
#include "admin/metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <regex>
#include <set>

#include "tests/unit/controlagent/admin/scrape_sample.h"

namespace culvert::admin {
namespace {

using testing::Contains;
using testing::HasSubstr;
using testing::Not;

std::string text_of(const Scrape& scrape) {
  std::string out;
  EXPECT_TRUE(write_metrics(scrape, [&](std::string_view piece) {
    out += piece;
    return true;
  }));
  return out;
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> out;
  for (size_t at = 0; at < text.size();) {
    const size_t end = text.find('\n', at);
    out.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  return out;
}

// The value of a sample, or a sentence.
std::string value_of(const std::string& text, const std::string& sample) {
  for (const std::string& line : lines_of(text)) {
    if (line.starts_with(sample + " ")) return line.substr(sample.size() + 1);
  }
  return "no " + sample;
}

constexpr char kCliToWeb[] =
    "{reporter=\"source\",source_workload=\"cli\",source_canonical_service=\"cli-app\","
    "source_canonical_revision=\"v1\",source_workload_namespace=\"shop\","
    "source_principal=\"spiffe://td/ns/shop/sa/cli\",source_app=\"cli-app\",source_version=\"v1\","
    "source_cluster=\"Kubernetes\",destination_service=\"web.shop.svc.cluster.local\","
    "destination_service_namespace=\"shop\",destination_service_name=\"web\",destination_workload=\"web\","
    "destination_canonical_service=\"web-app\",destination_canonical_revision=\"v2\","
    "destination_workload_namespace=\"shop\",destination_principal=\"spiffe://td/ns/shop/sa/web\","
    "destination_app=\"web-app\",destination_version=\"v2\",destination_cluster=\"Kubernetes\","
    "request_protocol=\"tcp\",response_flags=\"FLAGS\",connection_security_policy=\"mutual_tls\","
    "source_region=\"r1\",source_zone=\"z1\",destination_region=\"r2\",destination_zone=\"z2\"}";

std::string cli_to_web(const std::string& flags) { return std::regex_replace(kCliToWeb, std::regex("FLAGS"), flags); }

TEST(Metrics, TrafficHasZtunnelsNamesAndLabels) {
  const std::string text = text_of(scrape_sample());
  EXPECT_EQ(value_of(text, "istio_tcp_connections_opened_total" + cli_to_web("-")), "100");
  EXPECT_EQ(value_of(text, "istio_tcp_connections_closed_total" + cli_to_web("-")), "90");
  EXPECT_EQ(value_of(text, "istio_tcp_connections_closed_total" + cli_to_web("DENY")), "5");
  EXPECT_EQ(value_of(text, "istio_tcp_connections_failed_total" + cli_to_web("DENY")), "5");
  EXPECT_EQ(value_of(text, "istio_tcp_received_bytes_total" + cli_to_web("-")), "1234");
  EXPECT_EQ(value_of(text, "istio_tcp_sent_bytes_total" + cli_to_web("-")), "18446744073709551615");
  EXPECT_THAT(text, Not(HasSubstr("istio_tcp_connections_opened_total" + cli_to_web("DENY")))) << "opened under -";
  EXPECT_THAT(text, Not(HasSubstr("istio_tcp_connections_failed_total" + cli_to_web("-")))) << "- is no failure";
}

TEST(Metrics, WhatIsNotKnownIsUnknown) {
  EXPECT_THAT(lines_of(text_of(scrape_sample())),
              Contains("istio_tcp_connections_opened_total{reporter=\"destination\",source_workload=\"say "
                       "\\\"\\\\hi\\\"\\n\",source_canonical_service=\"unknown\","
                       "source_canonical_revision=\"unknown\",source_workload_namespace=\"unknown\","
                       "source_principal=\"unknown\",source_app=\"unknown\",source_version=\"unknown\","
                       "source_cluster=\"unknown\",destination_service=\"unknown\","
                       "destination_service_namespace=\"unknown\",destination_service_name=\"unknown\","
                       "destination_workload=\"unknown\",destination_canonical_service=\"unknown\","
                       "destination_canonical_revision=\"unknown\",destination_workload_namespace=\"unknown\","
                       "destination_principal=\"unknown\",destination_app=\"unknown\","
                       "destination_version=\"unknown\",destination_cluster=\"unknown\",request_protocol=\"tcp\","
                       "response_flags=\"-\",connection_security_policy=\"unknown\"} 1"));
}

TEST(Metrics, HoldsEveryOtherSeriesOfZtunnel) {
  const std::string text = text_of(scrape_sample());
  const auto value = [&](const char* sample) { return value_of(text, sample); };
  EXPECT_EQ(value("istio_tcp_sockets_open{reporter=\"source\"}"), "6");
  EXPECT_EQ(value("istio_tcp_sockets_open{reporter=\"destination\"}"), "7");
  for (const char* reporter : {"source", "destination"}) {
    for (const char* name : {"istio_crl_policy_rejections_total", "istio_crl_untracked_connections_total"}) {
      EXPECT_THAT(value((name + std::string("{reporter=\"") + reporter + "\"}").c_str()), Not(HasSubstr("no ")))
          << name;
    }
  }
  EXPECT_EQ(value("istio_xds_connection_terminations_total{reason=\"Reconnect\"}"), "3");
  EXPECT_EQ(value("istio_xds_message_total{url=\"type.googleapis.com/istio.workload.Address\"}"), "5");
  EXPECT_EQ(value("istio_xds_message_bytes_total{url=\"type.googleapis.com/istio.workload.Address\"}"), "600");
  EXPECT_EQ(value("istio_build{component=\"ztunnel\",tag=\"1.2.3\"}"), "1");
  EXPECT_EQ(value("workload_manager_active_proxy_count"), "1");
  EXPECT_EQ(value("workload_manager_pending_proxy_count"), "2");
  EXPECT_EQ(value("workload_manager_proxies_started_total"), "12");
  EXPECT_EQ(value("workload_manager_proxies_stopped_total"), "13");
  EXPECT_EQ(value("process_open_fds"), "20");
  EXPECT_EQ(value("process_max_fds"), "1024");
  // Nobody asks DNS here: the families are declared.
  for (const char* name :
       {"istio_on_demand_dns", "istio_dns_requests", "istio_dns_upstream_requests", "istio_dns_upstream_failures"}) {
    EXPECT_THAT(lines_of(text), Contains(std::string("# TYPE ") + name + " counter"));
  }
  EXPECT_THAT(lines_of(text), Contains("# TYPE istio_dns_upstream_request_duration_seconds histogram"));
}

TEST(Metrics, AddsOursUnderTheirOwnNames) {
  const std::string text = text_of(scrape_sample());
  const auto value = [&](const char* sample) { return value_of(text, sample); };
  EXPECT_EQ(value("culvert_data_plane_connected"), "1");
  EXPECT_EQ(value("culvert_worker_silence_seconds{worker=\"1\"}"), "2.5");
  EXPECT_EQ(value("culvert_snapshot_version"), "42");
  EXPECT_EQ(value("culvert_certificate_expiry_seconds{identity=\"spiffe://td/ns/shop/sa/cli\"}"), "90.5");
  EXPECT_EQ(value("culvert_certificate_expiry_seconds{identity=\"spiffe://td/ns/shop/sa/old\"}"), "-1.0");
  EXPECT_EQ(value("culvert_certificates{state=\"valid\"}"), "1");
  EXPECT_EQ(value("culvert_certificates{state=\"needed\"}"), "1");
  EXPECT_EQ(value("culvert_mesh_records{kind=\"workload\"}"), "3");
  EXPECT_EQ(value("culvert_mesh_push_duration_seconds_bucket{le=\"0.001\"}"), "3");
  EXPECT_EQ(value("culvert_mesh_push_duration_seconds_bucket{le=\"1.0\"}"), "5");
  EXPECT_EQ(value("culvert_mesh_push_duration_seconds_bucket{le=\"+Inf\"}"), "6");
  EXPECT_EQ(value("culvert_mesh_push_duration_seconds_count"), "6");
  EXPECT_EQ(value("culvert_mesh_push_duration_seconds_sum"), "4.5");
  EXPECT_EQ(value("culvert_port_rx_packet_total"), "1") << "the first of the counters";
  EXPECT_EQ(value("culvert_drops_total{reason=\"port_no_buffer\",room=\"port\"}"), "1") << "the first of the reasons";
  EXPECT_EQ(value("culvert_crl_next_update_seconds"), "60.0");
  EXPECT_EQ(value("culvert_http_connections_refused_total{server=\"admin\"}"), "2");
}

TEST(Metrics, IsOneTextOfWholeFamilies) {
  const std::string text = text_of(scrape_sample());
  EXPECT_TRUE(text.ends_with("\n# EOF\n"));
  std::set<std::string> families;
  std::string family;
  for (const std::string& line : lines_of(text)) {
    if (line.starts_with("# HELP ")) {
      family = line.substr(7, line.find(' ', 7) - 7);
      EXPECT_TRUE(families.insert(family).second) << family << " comes twice";
    } else if (!line.starts_with("#")) {
      EXPECT_TRUE(line.starts_with(family)) << line << " in " << family;
    }
  }
  EXPECT_THAT(lines_of(text), Contains("# UNIT istio_tcp_sent_bytes bytes"));
}

TEST(Metrics, WhatTheDataPlaneDoesNotTellIsNotShownAsNothing) {
  Scrape scrape = scrape_sample();
  scrape.connected = false;
  const std::string away = southbound::kAway;
  scrape.status = away;
  scrape.traffic = away;
  scrape.counters = away;
  scrape.drops = away;
  scrape.certificates = away;
  scrape.attachments = away;
  scrape.crl = away;
  const std::string text = text_of(scrape);
  EXPECT_EQ(value_of(text, "culvert_data_plane_connected"), "0");
  EXPECT_EQ(value_of(text, "culvert_scrape_part_missing{part=\"traffic\"}"), "1");
  EXPECT_EQ(value_of(text, "istio_build{component=\"ztunnel\",tag=\"1.2.3\"}"), "1");
  EXPECT_EQ(value_of(text, "culvert_mesh_records{kind=\"workload\"}"), "3");
  for (const std::string& line : lines_of(text)) {
    EXPECT_FALSE(line.starts_with("istio_tcp_") || line.starts_with("culvert_drops_total")) << line;
  }
}

TEST(Metrics, TheTypeIsTheOneAskedFor) {
  EXPECT_EQ(metrics_content_type("application/openmetrics-text; version=1.0.0,text/plain;q=0.5"),
            "application/openmetrics-text;charset=utf-8;version=1.0.0");
  EXPECT_EQ(metrics_content_type("*/*"), "text/plain; charset=utf-8");
}

TEST(Metrics, CountsThisProcessesDescriptors) {
  const auto before = open_descriptors();
  ASSERT_TRUE(before && descriptors_max());
  EXPECT_GE(*before, 3u);
  EXPECT_GE(*descriptors_max(), *before);
  FILE* file = std::fopen("/proc/self/status", "r");
  EXPECT_EQ(open_descriptors(), *before + 1);
  std::fclose(file);
}

}  // namespace
}  // namespace culvert::admin
