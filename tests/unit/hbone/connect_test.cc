// The CONNECT exchange as text: authority, baggage, forwarded, traceparent, statuses.
#include "hbone/connect.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/random.h"

namespace culvert::hbone {
namespace {

using testing::ElementsAre;

TEST(Authority, ParsesAddressesAndHostsAndNeverWithoutAPort) {
  const struct {
    const char* text;
    const char* host;
    int port;
    bool address;
  } good[] = {
      {"10.0.1.7:8080", "10.0.1.7", 8080, true},
      {"[fd00::7]:8080", "fd00::7", 8080, true},
      {"web.shop.svc.cluster.local:80", "web.shop.svc.cluster.local", 80, false},
      {"a_b-c.example:65535", "a_b-c.example", 65535, false},
      {"[::ffff:10.0.0.1]:1", "::ffff:10.0.0.1", 1, true},
  };
  for (const auto& c : good) {
    const auto authority = Authority::parse(c.text);
    ASSERT_TRUE(authority) << c.text;
    EXPECT_EQ(authority->host, c.host);
    EXPECT_EQ(authority->port, c.port);
    EXPECT_EQ(authority->address.has_value(), c.address) << c.text;
    EXPECT_EQ(authority->to_string(), c.text);
  }
  for (const char* bad : {"",
                          ":",
                          "10.0.0.1",
                          "10.0.0.1:",
                          "10.0.0.1:0",
                          "10.0.0.1:65536",
                          "10.0.0.1:-1",
                          "10.0.0.1:80x",
                          ":80",
                          "[]:80",
                          "[10.0.0.1]:80",
                          "[fd00::7:80",
                          "fd00::7]:80",
                          "fd00::7:80",
                          "[fd00::7]80",
                          "a b:80",
                          "a@b:80",
                          "a/b:80",
                          "[fe80::1%eth0]:80",
                          "10.0.0.1: 80",
                          "web:+80"}) {
    EXPECT_FALSE(Authority::parse(bad)) << bad;
  }
  EXPECT_TRUE(Authority::parse(std::string(253, 'a') + ":80"));
  EXPECT_FALSE(Authority::parse(std::string(254, 'a') + ":80"));
}

TEST(Authority, OfAnEndpointParsesBack) {
  for (const char* text : {"10.0.0.1:80", "[fd00::1]:443"}) {
    const auto endpoint = Endpoint::parse(text);
    ASSERT_TRUE(endpoint);
    EXPECT_EQ(Authority::of(*endpoint).to_string(), text);
    EXPECT_EQ(Authority::parse(text)->address, endpoint->address);
  }
}

TEST(Baggage, EmitsInOrderAndLeavesEmptyValuesOut) {
  Baggage b{.cluster = "Kubernetes",
            .name_space = "shop",
            .workload_type = "pod",
            .workload = "web-1",
            .service = "web",
            .revision = "v1",
            .region = "r1",
            .zone = "z1"};
  EXPECT_EQ(emit_baggage(b),
            "k8s.cluster.name=Kubernetes,k8s.namespace.name=shop,k8s.pod.name=web-1,service.name=web,"
            "service.version=v1,cloud.region=r1,cloud.availability_zone=z1");
  const std::string text = emit_baggage(b);
  const std::string_view lines[] = {text};
  EXPECT_EQ(parse_baggage(lines), b);
  b.revision = b.region = b.cluster = "";
  EXPECT_EQ(emit_baggage(b), "k8s.namespace.name=shop,k8s.pod.name=web-1,service.name=web,cloud.availability_zone=z1");
  b.workload_type = "statefulset";
  EXPECT_THAT(emit_baggage(b), testing::HasSubstr("k8s.deployment.name=web-1"));
  EXPECT_EQ(emit_baggage({}), "");
}

TEST(Baggage, ParsesLikeTheReference) {
  const std::string_view merged[] = {"k8s.namespace.name=a,unknown=1", "k8s.job.name=j=x,service.name=", "novalue"};
  const Baggage b = parse_baggage(merged);
  EXPECT_EQ(b.name_space, "a");
  EXPECT_EQ(b.workload, "j");  // a second '=' truncates
  EXPECT_EQ(b.workload_type, "job");
  EXPECT_EQ(b.service, "");
  const std::string_view unset[] = {"service.name=a", "service.name="};
  EXPECT_EQ(parse_baggage(unset).service, "");
  const std::string_view foreign[] = {"service.name=a", "service.version=\xc3\xa9"};
  EXPECT_EQ(parse_baggage(foreign), Baggage{});
  const std::string_view type[] = {"k8s.statefulset.name=a", "k8s..name=b", "k8s.name=c", "k8s.deployment.name=d"};
  EXPECT_EQ(parse_baggage(type).workload, "d");
  EXPECT_EQ(parse_baggage({}), Baggage{});
}

TEST(Forwarded, EmitsAndFindsTheHost) {
  EXPECT_EQ(emit_forwarded(*Endpoint::parse("10.0.0.1:4242"), ""), "for=\"10.0.0.1:4242\"");
  EXPECT_EQ(emit_forwarded(*Endpoint::parse("[fd00::1]:4242"), "web.shop"), "for=\"[fd00::1]:4242\";host=web.shop");
  EXPECT_EQ(forwarded_host("for=\"[fd00::1]:4242\";host=web.shop"), "web.shop");
  EXPECT_EQ(forwarded_host("Host=\"web.shop\" ; proto=http"), "web.shop");
  EXPECT_EQ(forwarded_host("for=x"), "");
  EXPECT_EQ(forwarded_host("host=w\xc3\xa9"
                           "b"),
            "");
  EXPECT_EQ(forwarded_host(""), "");
  EXPECT_EQ(forwarded_host(";;host"), "");
}

TEST(Traceparent, IsEmittedAsItIsRecognised) {
  Random random(5);
  for (int i = 0; i < 100; ++i) {
    const std::string text = emit_traceparent(random.next(), random.next(), random.next());
    EXPECT_TRUE(is_traceparent(text)) << text;
    EXPECT_TRUE(text.starts_with("00-") && text.ends_with("-00"));
    EXPECT_FALSE(is_traceparent(text + "0"));
    std::string broken = text;
    broken[40] = 'g';
    EXPECT_FALSE(is_traceparent(broken));
    broken = text;
    broken[35] = '0';
    EXPECT_FALSE(is_traceparent(broken));
  }
  EXPECT_FALSE(is_traceparent(""));
}

TEST(Request, OnlyThePseudoHeadersOfConnectAndWhatIsSet) {
  ConnectHeaders headers{
      .authority = "10.0.0.2:80", .baggage = "a=b", .forwarded = "", .traceparent = "t", .forwarded_network = ""};
  std::vector<http2::Header> fields;
  append_fields(headers, fields);
  std::vector<std::string> lines;
  for (const auto& f : fields) lines.push_back(std::string(f.name) + "=" + std::string(f.value));
  EXPECT_THAT(lines, ElementsAre(":method=CONNECT", ":authority=10.0.0.2:80", "baggage=a=b", "traceparent=t"));
}

TEST(Request, ParsesWhatTheServerReads) {
  const std::string trace = emit_traceparent(1, 2, 3);
  const std::vector<http2::Header> fields = {
      {":method", "CONNECT"},
      {":authority", "[fd00::7]:8080"},
      {"baggage", "k8s.namespace.name=shop"},
      {"baggage", "service.name=web"},
      {"forwarded", "for=\"10.0.0.1:4242\";host=web.shop"},
      {"traceparent", trace},
      {"x-forwarded-network", "other"},
      {"x-istio-source", "waypoint"},
  };
  const ConnectRequest r = parse_request(fields);
  EXPECT_EQ(r.fault, RequestFault::kNone);
  EXPECT_EQ(r.authority.port, 8080);
  EXPECT_EQ(r.baggage.name_space, "shop");
  EXPECT_EQ(r.baggage.service, "web");
  EXPECT_EQ(r.forwarded_host, "web.shop");
  EXPECT_EQ(r.traceparent, trace);
  EXPECT_EQ(r.forwarded_network, "other");
}

TEST(Request, FaultsAreNamed) {
  const std::vector<http2::Header> get = {{":method", "GET"}, {":authority", "a:1"}, {":path", "/"}};
  EXPECT_EQ(parse_request(get).fault, RequestFault::kMethod);
  EXPECT_EQ(parse_request(get).method, "GET");
  const std::vector<http2::Header> no_port = {{":method", "CONNECT"}, {":authority", "web"}, {"traceparent", "junk"}};
  EXPECT_EQ(parse_request(no_port).fault, RequestFault::kAuthority);
  EXPECT_EQ(parse_request(no_port).authority_text, "web");
  EXPECT_EQ(parse_request(no_port).traceparent, "");
}

TEST(Response, StatusAndBaggage) {
  const std::vector<http2::Header> ok = {{":status", "200"}, {"baggage", "service.name=web"}};
  EXPECT_EQ(parse_response(ok).status, 200);
  EXPECT_EQ(parse_response(ok).baggage.service, "web");
  EXPECT_EQ(parse_response({}).status, 0);
  EXPECT_EQ(status_text(401), "401 Unauthorized");
  EXPECT_EQ(status_text(503), "503 Service Unavailable");
  EXPECT_EQ(status_text(299), "299");
}

}  // namespace
}  // namespace culvert::hbone
