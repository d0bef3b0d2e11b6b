// A mesh to ask about, and short ways to read the answer.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "snapshot/mesh_builder.h"
#include "tests/testkit/mesh_records.h"
#include "why/why.h"

namespace culvert::why {

using namespace testkit::records;
using namespace snapshot;

const std::string kApi = "shop/api.shop.svc.cluster.local";

class Why : public testing::Test {
 protected:
  Why() { builder.upsert(on("n1", pod("web", {"10.0.0.1", "fd00::1"}))); }

  static Workload on(const std::string& node, Workload w) {
    w.node = node;
    return w;
  }
  static GatewayAddress waypoint(const std::string& ns, const std::string& hostname) {
    return {NamespacedHostname{ns, hostname}, 15008};
  }
  static Policy policy(const std::string& name, PolicyAction action, std::vector<Rule> rules,
                       PolicyScope scope = PolicyScope::kNamespace) {
    Policy p;
    p.name = name;
    p.name_space = "shop";
    p.scope = scope;
    p.action = action;
    p.rules = std::move(rules);
    return p;
  }

  Result<Explanation, std::string> ask(const std::string& from, const std::string& to) {
    mesh = builder.publish();
    question.from = from;
    question.to = to;
    return explain(*mesh, question);
  }
  Explanation answer(const std::string& to) {
    auto answered = ask("shop/web", to);
    EXPECT_TRUE(answered) << (answered ? "" : answered.error());
    return answered ? *answered : Explanation{};
  }
  std::string error(const std::string& from, const std::string& to) {
    const auto answered = ask(from, to);
    EXPECT_FALSE(answered);
    return answered ? "" : answered.error();
  }

  // "ok title" or "NO title"; empty when there is no such step.
  static std::string said(const std::vector<Step>& steps, StepKind kind) {
    for (const Step& step : steps) {
      if (step.kind == kind) return (step.passes ? "ok " : "NO ") + step.title;
    }
    return {};
  }
  static std::vector<std::string> lines(const std::vector<Step>& steps, StepKind kind) {
    for (const Step& step : steps) {
      if (step.kind == kind) return step.lines;
    }
    return {};
  }

  MeshBuilder builder;
  std::shared_ptr<const Mesh> mesh;
  Question question;
};

}  // namespace culvert::why
