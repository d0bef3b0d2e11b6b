// Policies (reference 12.2): what is carried over, what is left out of its list, what is refused.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "xds/convert.h"

namespace culvert::xds {
namespace {

using reconcile::Policy;
using reconcile::StringMatch;
using testing::ElementsAre;
using testing::IsEmpty;
namespace api = istio::security;

api::Authorization policy() {
  api::Authorization out;
  out.set_name("wide");
  out.set_namespace_("shop");
  return out;
}

std::string problem(const api::Authorization& in) {
  Fields fields;
  convert(in, fields);
  return fields.take_problem();
}

void set(api::Address* address, std::string bytes, uint32_t length) {
  address->set_address(std::move(bytes));
  address->set_length(length);
}

TEST(PolicyConversion, EveryFieldIsCarriedOver) {
  api::Authorization in = policy();
  in.set_scope(api::WORKLOAD_SELECTOR);
  in.set_action(api::DENY);
  in.set_dry_run(true);
  in.add_extensions()->set_name("ignored");
  api::Match& m = *in.add_groups()->add_rules()->add_matches();
  m.add_namespaces()->set_exact("a");
  m.add_not_namespaces()->set_prefix("b");
  m.add_principals()->set_suffix("/sa/c");
  m.add_not_principals()->mutable_presence();
  set(m.add_source_ips(), std::string("\x0a\x01\x02\x03", 4), 16);
  set(m.add_not_source_ips(), std::string("\x0a\x01\x02\x03", 4), 32);
  set(m.add_destination_ips(), std::string("\xfd", 1) + std::string(15, '\0'), 8);
  set(m.add_not_destination_ips(), std::string(4, '\0'), 0);
  m.add_destination_ports(8080);
  m.add_not_destination_ports(65'536 + 9090);
  m.add_service_accounts()->set_namespace_("shop");
  m.mutable_service_accounts(0)->set_serviceaccount("cli");
  m.add_not_service_accounts()->set_namespace_("evil");

  const auto prefix = [](const char* text) { return *Prefix::parse(text); };
  Policy want{.name = "wide",
              .name_space = "shop",
              .scope = reconcile::PolicyScope::kWorkloadSelector,
              .action = reconcile::PolicyAction::kDeny,
              .dry_run = true,
              .rules = {{{{.namespaces = {{StringMatch::Kind::kExact, "a"}},
                           .not_namespaces = {{StringMatch::Kind::kPrefix, "b"}},
                           .principals = {{StringMatch::Kind::kSuffix, "/sa/c"}},
                           .not_principals = {{StringMatch::Kind::kPresence, ""}},
                           .service_accounts = {{"shop", "cli"}},
                           .not_service_accounts = {{"evil", ""}},
                           .source_ips = {prefix("10.1.0.0/16")},
                           .not_source_ips = {prefix("10.1.2.3/32")},
                           .destination_ips = {prefix("fd00::/8")},
                           .not_destination_ips = {prefix("0.0.0.0/0")},
                           .destination_ports = {8080},
                           .not_destination_ports = {9090}}}}}};
  Fields fields;
  EXPECT_EQ(convert(in, fields), want);
  EXPECT_EQ(fields.take_problem(), "");
  EXPECT_THAT(fields.take_notes(), IsEmpty());
}

// The shape decides (reference 12.3): no rule, a rule without clauses, a clause without matches, an empty match.
TEST(PolicyConversion, EmptyLayersStay) {
  api::Authorization in = policy();
  in.add_groups();
  in.add_groups()->add_rules();
  in.add_groups()->add_rules()->add_matches();
  Fields fields;
  const Policy out = convert(in, fields);
  ASSERT_EQ(out.rules.size(), 3u);
  EXPECT_THAT(out.rules[0], IsEmpty());
  ASSERT_EQ(out.rules[1].size(), 1u);
  EXPECT_THAT(out.rules[1][0], IsEmpty());
  EXPECT_THAT(out.rules[2], ElementsAre(ElementsAre(reconcile::Match{})));
  EXPECT_THAT(convert(policy(), fields).rules, IsEmpty());
}

TEST(PolicyConversion, WhatIsNoAddressOrSaysNoFormIsLeftOutAndSaid) {
  api::Authorization in = policy();
  api::Match& m = *in.add_groups()->add_rules()->add_matches();
  set(m.add_source_ips(), "123", 8);
  set(m.add_source_ips(), std::string("\x0a\x00\x00\x00", 4), 8);
  set(m.add_source_ips(), std::string("\x0a\x00\x00\x00", 4), 33);
  set(m.add_source_ips(), std::string(10, '\0') + "\xff\xff" + std::string(4, '\1'), 95);
  m.add_principals();
  m.add_principals()->set_exact("a");
  Fields fields;
  const Policy out = convert(in, fields);
  EXPECT_FALSE(fields.refused());
  EXPECT_THAT(out.rules[0][0][0].source_ips, ElementsAre(*Prefix::parse("10.0.0.0/8")));
  EXPECT_EQ(out.rules[0][0][0].principals.size(), 1u);
  EXPECT_THAT(fields.take_notes(),
              ElementsAre("authorization.groups[0].rules[0].matches[0].principals[0]: says none of exact, prefix, "
                          "suffix, presence, left out",
                          "authorization.groups[0].rules[0].matches[0].source_ips[0]: an address of 3 bytes with "
                          "length 8 is none, left out",
                          "authorization.groups[0].rules[0].matches[0].source_ips[2]: an address of 4 bytes with "
                          "length 33 is none, left out",
                          "authorization.groups[0].rules[0].matches[0].source_ips[3]: an address of 16 bytes with "
                          "length 95 is none, left out"));
}

TEST(PolicyConversion, WhatIsRefusedNamesTheField) {
  const auto problem_of = [](auto change) {
    api::Authorization in = policy();
    change(in);
    return problem(in);
  };
  EXPECT_EQ(problem_of([](auto& p) { p.clear_name(); }), "authorization.name: is missing");
  EXPECT_EQ(problem_of([](auto& p) { p.clear_namespace_(); }), "authorization.namespace: is missing");
  EXPECT_EQ(problem_of([](auto& p) { p.set_namespace_("a/b"); }), "authorization.namespace: holds a `/`");
  EXPECT_EQ(problem_of([](auto& p) { p.set_scope(static_cast<api::Scope>(3)); }),
            "authorization.scope: is a value that this build does not know: 3");
  EXPECT_EQ(problem_of([](auto& p) { p.set_action(static_cast<api::Action>(2)); }),
            "authorization.action: is a value that this build does not know: 2");
  EXPECT_EQ(
      problem_of([](auto& p) { p.add_groups()->add_rules()->add_matches()->add_principals()->set_exact("a\nb"); }),
      "authorization.groups[0].rules[0].matches[0].principals[0].exact: holds a control character");
}

}  // namespace
}  // namespace culvert::xds
