#include "identity/spiffe_id.h"

#include <gtest/gtest.h>

namespace culvert::identity {
namespace {

TEST(SpiffeId, ParsesIstiosFormAndGivesItBack) {
  const auto id = SpiffeId::parse("spiffe://cluster.local/ns/apps/sa/web");
  ASSERT_TRUE(id);
  EXPECT_EQ(id->trust_domain, "cluster.local");
  EXPECT_EQ(id->name_space, "apps");
  EXPECT_EQ(id->service_account, "web");
  EXPECT_EQ(id->uri(), "spiffe://cluster.local/ns/apps/sa/web");
}

TEST(SpiffeId, RefusesEveryOtherForm) {
  using std::string_view_literals::operator""sv;
  for (const std::string_view text : {
           ""sv,
           "spiffe://"sv,
           "spiffe://td"sv,
           "spiffe://td/ns/a/sa"sv,
           "spiffe://td/ns/a/sa/"sv,
           "spiffe://td/ns/a/sa/b/"sv,
           "spiffe://td/ns/a/sa/b/c"sv,
           "spiffe:///ns/a/sa/b"sv,
           "spiffe://td/ns//sa/b"sv,
           "spiffe://td/NS/a/sa/b"sv,
           "spiffe://td/ns/a/sb/b"sv,
           "SPIFFE://td/ns/a/sa/b"sv,
           "https://td/ns/a/sa/b"sv,
           " spiffe://td/ns/a/sa/b"sv,
           "spiffe://td/ns/a/sa/b c"sv,
           "spiffe://td/ns/a/sa/b\0c"sv,
           "spiffe://td/ns/a/sa/b\n"sv,
           "spiffe://td/ns/\xc3\xa4/sa/b"sv,
       }) {
    EXPECT_FALSE(SpiffeId::parse(text)) << text;
  }
}

TEST(SpiffeId, DiffersInEachPart) {
  const SpiffeId id{"td", "a", "b"};
  EXPECT_EQ(id, *SpiffeId::parse("spiffe://td/ns/a/sa/b"));
  EXPECT_NE(id, *SpiffeId::parse("spiffe://te/ns/a/sa/b"));
  EXPECT_NE(id, *SpiffeId::parse("spiffe://td/ns/c/sa/b"));
  EXPECT_NE(id, *SpiffeId::parse("spiffe://td/ns/a/sa/c"));
}

}  // namespace
}  // namespace culvert::identity
