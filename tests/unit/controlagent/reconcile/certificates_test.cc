// When certificates are asked for, renewed and forgotten, on a clock of the test's.
#include "reconcile/certificates.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

namespace culvert::reconcile {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

constexpr WallClock kNow{std::chrono::hours(1'000'000)};

// Valid for 12 minutes, `left` of them to come.
CertificateStatus valid(const std::string& identity, std::chrono::milliseconds left, const std::string& serial = "1") {
  return {.identity = identity,
          .valid = true,
          .attached = true,
          .not_before = kNow + left - 12min,
          .not_after = kNow + left,
          .serial = serial};
}
CertificateStatus needed(const std::string& identity) {
  CertificateStatus status;
  status.identity = identity;
  status.attached = true;
  return status;
}
std::function<bool(const std::string&)> meshed(std::set<std::string> identities) {
  return [identities = std::move(identities)](const std::string& one) { return identities.contains(one); };
}
CertificateStatus detached(CertificateStatus status) {
  status.attached = false;
  return status;
}

TEST(CertificatePlan, AsksForWhatIsNeededBeforeItRenews) {
  const auto p = plan({valid("a", 1min), needed("b"), valid("c", 12min)}, {}, {}, kNow);
  EXPECT_THAT(p.request, ElementsAre("b", "a"));
  EXPECT_THAT(p.forget, IsEmpty());
  EXPECT_EQ(p.next, renewal(valid("c", 12min)));
}

TEST(CertificatePlan, RenewsAroundHalfOfTheLifeAndNeverLater) {
  for (int serial = 0; serial < 200; serial++) {
    const CertificateStatus status = valid("a", 12min, std::to_string(serial));
    EXPECT_LE(renewal(status), kNow + 6min);
    EXPECT_GT(renewal(status), kNow + 6min - 36s - 1ms) << "a twentieth of its life earlier at most";
    EXPECT_EQ(renewal(status), renewal(status));
  }
  EXPECT_NE(renewal(valid("a", 12min)), renewal(valid("b", 12min))) << "identities do not stay in step";
  const auto later = plan({valid("a", 5min)}, {}, {}, kNow);
  EXPECT_THAT(later.request, ElementsAre("a"));
}

TEST(CertificatePlan, ForgetsWhatIsNoLongerLocalOrNoLongerMeshed) {
  const auto p =
      plan({valid("a", 12min), detached(valid("b", 12min)), valid("c", 12min), needed("d"), detached(needed("e"))},
           meshed({"a"}), {}, kNow);
  EXPECT_THAT(p.request, IsEmpty());
  EXPECT_THAT(p.forget, ElementsAre("b", "c", "e")) << "d has nothing to forget";
}

TEST(CertificatePlan, WithoutAMeshAttachedAloneCounts) {
  EXPECT_THAT(plan({needed("a")}, {}, {}, kNow).request, ElementsAre("a"));
  EXPECT_THAT(plan({needed("a")}, meshed({}), {}, kNow).request, IsEmpty());
}

TEST(CertificateRetries, DoubleFromASecondToACeilingAndAreForgottenBySuccess) {
  CertificateRetries retries;
  const CertificateStatus status = needed("a");
  constexpr uint64_t kMiddle = 200;  // no shift
  for (const std::chrono::milliseconds expected : {1000ms, 2000ms, 4000ms, 8000ms, 16000ms, 30000ms, 30000ms}) {
    retries.failed("a", kNow, kMiddle);
    EXPECT_EQ(retries.allowed(status, kNow), kNow + expected);
  }
  EXPECT_THAT(plan({status}, {}, retries, kNow).request, IsEmpty());
  EXPECT_EQ(plan({status}, {}, retries, kNow).next, kNow + 30s);
  EXPECT_THAT(plan({status}, {}, retries, kNow + 30s).request, ElementsAre("a"));
  EXPECT_EQ(retries.allowed(needed("b"), kNow), kNow) << "each identity has its own";
  retries.succeeded("a");
  EXPECT_EQ(retries.allowed(status, kNow), kNow);
}

TEST(CertificateRetries, AreShiftedByAFifthEitherWay) {
  CertificateRetries early, late;
  early.failed("a", kNow, 0);
  late.failed("a", kNow, 400);
  EXPECT_EQ(early.allowed(needed("a"), kNow), kNow + 800ms);
  EXPECT_EQ(late.allowed(needed("a"), kNow), kNow + 1200ms);
}

TEST(CertificateRetries, NeverWaitLongerThanTheCertificateLives) {
  CertificateRetries retries;
  for (int i = 0; i < 6; i++) retries.failed("a", kNow, 200);
  EXPECT_EQ(retries.allowed(valid("a", 10s), kNow), kNow + 10s);
  EXPECT_EQ(retries.allowed(valid("a", 60s), kNow), kNow + 30s);
}

}  // namespace
}  // namespace culvert::reconcile
