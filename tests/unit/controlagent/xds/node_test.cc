// Who we say that we are (reference 14.3).
#include "xds/node.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace culvert::xds {
namespace {

TEST(Node, HasTheFourPartsAndTheMetadata) {
  const auto node = make_node({.instance_ip = "10.0.0.3",
                               .pod_name = "ztunnel-abc",
                               .pod_namespace = "istio-system",
                               .node_name = "n1",
                               .metadata = {{"CLUSTER_ID", "c1"}, {"NODE_NAME", "other"}},
                               .metadata_json = {{"LABELS", R"({"app":"ztunnel","n":[1,true,null]})"}}});
  ASSERT_TRUE(node.ok());
  EXPECT_EQ(node->id(), "ztunnel~10.0.0.3~ztunnel-abc.istio-system~istio-system.svc.cluster.local");
  EXPECT_EQ(node->cluster(), "");
  const auto& fields = node->metadata().fields();
  EXPECT_EQ(fields.at("NAME").string_value(), "ztunnel-abc");
  EXPECT_EQ(fields.at("NAMESPACE").string_value(), "istio-system");
  EXPECT_EQ(fields.at("INSTANCE_IPS").string_value(), "10.0.0.3");
  EXPECT_EQ(fields.at("NODE_NAME").string_value(), "other");  // the proxy's metadata is laid over
  EXPECT_EQ(fields.at("CLUSTER_ID").string_value(), "c1");
  const auto& labels = fields.at("LABELS").struct_value().fields();
  EXPECT_EQ(labels.at("app").string_value(), "ztunnel");
  EXPECT_EQ(labels.at("n").list_value().values(0).number_value(), 1);
  EXPECT_TRUE(labels.at("n").list_value().values(1).bool_value());
}

TEST(Node, WithoutAnAddressItHasTheOneOfZtunnel) {
  EXPECT_EQ(make_node({.pod_name = "z", .pod_namespace = "ns"})->id(), "ztunnel~1.1.1.1~z.ns~ns.svc.cluster.local");
  EXPECT_EQ(make_node({.instance_ip = "", .pod_name = "z", .pod_namespace = "ns"})->id(),
            "ztunnel~1.1.1.1~z.ns~ns.svc.cluster.local");
}

TEST(Node, MetadataThatIsNoJsonIsNamed) {
  const auto node = make_node({.metadata_json = {{"LABELS", "{"}}});
  ASSERT_FALSE(node.ok());
  EXPECT_THAT(node.error(), testing::HasSubstr("ISTIO_METAJSON_LABELS"));
}

}  // namespace
}  // namespace culvert::xds
