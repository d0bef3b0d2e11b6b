// When certificates are asked for, renewed, warned of and forgotten, on a clock of the test's.
#include "reconcile/certificates.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

namespace culvert::reconcile {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;
using Stage = CertificateMemory::Stage;

constexpr WallClock kNow{std::chrono::hours(1'000'000)};
constexpr uint64_t kMiddle = 200;  // no shift of a wait

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
CertificateStatus detached(CertificateStatus status) {
  status.attached = false;
  return status;
}
CertificateStatus expired(CertificateStatus status) {
  status.valid = false;
  return status;
}

CertificateNeeds no_mesh() { return {}; }
CertificateNeeds needs(std::set<std::string> meshed, std::vector<std::string> local = {}) {
  return {.meshed = [meshed = std::move(meshed)](const std::string& one) { return meshed.contains(one); },
          .local = std::move(local)};
}
CertificateRequest real_time(const std::string& identity) { return {identity, Urgency::kRealTime}; }
CertificateRequest warmup(const std::string& identity) { return {identity, Urgency::kWarmup}; }
CertificateRequest background(const std::string& identity) { return {identity, Urgency::kBackground}; }

TEST(CertificatePlan, PutsWaitingTrafficBeforePodsToComeBeforeRenewals) {
  const auto p = plan({valid("late", 1min), needed("pod"), valid("new", 12min), valid("later", 30s)},
                      needs({"late", "pod", "new", "later"}, {"coming", "pod"}), {}, {}, kNow);
  EXPECT_THAT(p.request, ElementsAre(real_time("pod"), warmup("coming"), background("later"), background("late")))
      << "and renewals by their end";
  EXPECT_THAT(p.forget, IsEmpty());
  EXPECT_EQ(p.next, kNow + 30s) << "the first end";
  EXPECT_EQ(plan({valid("new", 12min)}, no_mesh(), {}, {}, kNow).next, half_life(valid("new", 12min)));
}

TEST(CertificatePlan, FetchesForPodsToComeAndKeepsWhatItHasForThem) {
  EXPECT_THAT(plan({}, needs({"a"}, {"a"}), {}, {}, kNow).request, ElementsAre(warmup("a")));
  const auto held = plan({detached(valid("a", 12min))}, needs({"a"}, {"a"}), {}, {}, kNow);
  EXPECT_THAT(held.request, IsEmpty());
  EXPECT_THAT(held.forget, IsEmpty());
  EXPECT_THAT(plan({detached(valid("a", 1min))}, needs({"a"}, {"a"}), {}, {}, kNow).request,
              ElementsAre(background("a")));
  EXPECT_THAT(plan({detached(expired(valid("a", -1min)))}, needs({"a"}, {"a"}), {}, {}, kNow).request,
              ElementsAre(warmup("a")));
}

TEST(CertificatePlan, AnExpiredCertificateOfAnAttachedPodIsUrgent) {
  EXPECT_THAT(plan({expired(valid("a", -1min))}, no_mesh(), {}, {}, kNow).request, ElementsAre(real_time("a")));
  EXPECT_THAT(plan({valid("a", -1ms)}, no_mesh(), {}, {}, kNow).request, ElementsAre(real_time("a")))
      << "whatever the data plane still says";
}

TEST(CertificatePlan, RenewsAroundHalfOfTheLifeAndNeverLater) {
  for (int serial = 0; serial < 200; serial++) {
    const CertificateStatus status = valid("a", 12min, std::to_string(serial));
    EXPECT_LE(half_life(status), kNow + 6min);
    EXPECT_GT(half_life(status), kNow + 6min - 36s - 1ms) << "a twentieth of its life earlier at most";
    EXPECT_EQ(half_life(status), half_life(status));
  }
  EXPECT_NE(half_life(valid("a", 12min)), half_life(valid("b", 12min))) << "identities do not stay in step";
  EXPECT_THAT(plan({valid("a", 5min)}, no_mesh(), {}, {}, kNow).request, ElementsAre(background("a")));
}

TEST(CertificatePlan, ACertificateThatCameOldIsNotFetchedInALoop) {
  // Ten seconds, dated two minutes back, as istiod does: its half was over before it came.
  CertificateStatus status = valid("a", 10s);
  status.not_before = kNow - 2min;
  CertificateMemory memory;
  memory.granted("a", kNow);
  const auto p = plan({status}, no_mesh(), memory, {}, kNow);
  EXPECT_THAT(p.request, IsEmpty());
  EXPECT_EQ(p.next, kNow + 5s) << "half of what was left";
  EXPECT_THAT(p.warnings, IsEmpty());
  status.not_after = kNow + 500ms;
  EXPECT_EQ(memory.renewal(status), kNow + 1s) << "never twice within a second";
}

TEST(CertificatePlan, ForgetsWhatIsNoLongerLocalOrNoLongerMeshed) {
  const auto p =
      plan({valid("a", 12min), detached(valid("b", 12min)), valid("c", 12min), needed("d"), detached(needed("e"))},
           needs({"a", "b"}), {}, {}, kNow);
  EXPECT_THAT(p.request, IsEmpty());
  EXPECT_THAT(p.forget, ElementsAre("b", "c", "e")) << "d has nothing to forget";
}

TEST(CertificatePlan, WithoutAMeshAttachedCountsAndNothingIsForgotten) {
  EXPECT_THAT(plan({needed("a")}, no_mesh(), {}, {}, kNow).request, ElementsAre(real_time("a")));
  EXPECT_THAT(plan({needed("a")}, needs({}), {}, {}, kNow).request, IsEmpty());
  const auto p = plan({detached(valid("a", 1min)), detached(needed("b"))}, no_mesh(), {}, {}, kNow);
  EXPECT_THAT(p.request, ElementsAre(background("a"))) << "what was fetched for a pod to come is kept alive";
  EXPECT_THAT(p.forget, IsEmpty());
}

TEST(CertificatePlan, LeavesAloneWhatIsBeingFetched) {
  const auto p = plan({needed("a"), detached(needed("b")), valid("c", 1min)}, needs({"a", "c"}, {"d"}), {},
                      {"a", "b", "c", "d"}, kNow);
  EXPECT_THAT(p.request, IsEmpty());
  EXPECT_THAT(p.forget, IsEmpty()) << "its answer would find nobody";
}

TEST(CertificateMemory, DoublesWaitsFromASecondToACeilingAndForgetsThemBySuccess) {
  CertificateMemory memory;
  const CertificateStatus status = needed("a");
  for (const std::chrono::milliseconds expected :
       {1000ms, 2000ms, 4000ms, 8000ms, 16000ms, 32000ms, 64000ms, 128000ms, 150000ms, 150000ms}) {
    memory.failed("a", "no", kNow, kMiddle);
    EXPECT_EQ(memory.allowed(status, kNow), kNow + expected);
  }
  EXPECT_THAT(plan({status}, no_mesh(), memory, {}, kNow).request, IsEmpty());
  EXPECT_EQ(plan({status}, no_mesh(), memory, {}, kNow).next, kNow + 150s);
  EXPECT_THAT(plan({status}, no_mesh(), memory, {}, kNow + 150s).request, ElementsAre(real_time("a")));
  EXPECT_EQ(memory.allowed(needed("b"), kNow), kNow) << "each identity has its own";
  memory.granted("a", kNow);
  EXPECT_EQ(memory.allowed(status, kNow), kNow);
  CertificateMemory shorter(30s);
  for (int i = 0; i < 10; i++) shorter.failed("a", "no", kNow, kMiddle + 200);
  EXPECT_EQ(shorter.allowed(status, kNow), kNow + 30s);
}

TEST(CertificateMemory, ShiftsWaitsByAFifthEitherWay) {
  CertificateMemory early, late;
  early.failed("a", "no", kNow, 0);
  late.failed("a", "no", kNow, 400);
  EXPECT_EQ(early.allowed(needed("a"), kNow), kNow + 800ms);
  EXPECT_EQ(late.allowed(needed("a"), kNow), kNow + 1200ms);
}

TEST(CertificateMemory, NeverWaitsLongerThanTheCertificateLives) {
  CertificateMemory memory;
  for (int i = 0; i < 6; i++) memory.failed("a", "no", kNow, kMiddle);
  EXPECT_EQ(memory.allowed(valid("a", 10s), kNow), kNow + 10s);
  EXPECT_EQ(memory.allowed(valid("a", 60s), kNow), kNow + 32s);
}

TEST(CertificateMemory, HoldsNoMoreThanTheIdentitiesThereAre) {
  CertificateMemory memory;
  for (int i = 0; i < 100; i++) memory.failed("x" + std::to_string(i), "no", kNow, kMiddle);
  memory.keep({"x7", "other"});
  EXPECT_EQ(memory.size(), 1u);
  EXPECT_EQ(memory.reason("x7"), "no");
}

TEST(CertificateWarnings, ComeAtFourFifthsOfTheLifeAndAtItsEndOnceEach) {
  const CertificateStatus status = valid("a", 12min);
  const WallClock late = kNow + 576s, end = kNow + 12min;
  CertificateMemory memory;
  EXPECT_THAT(plan({status}, no_mesh(), memory, {}, late).warnings, IsEmpty()) << "no renewal failed yet";
  memory.failed("a", "the CA is away", kNow + 6min, kMiddle);
  EXPECT_THAT(plan({status}, no_mesh(), memory, {}, late - 1ms).warnings, IsEmpty());
  const auto first = plan({status}, no_mesh(), memory, {}, late).warnings;
  ASSERT_THAT(first, SizeIs(1));
  EXPECT_EQ(first[0].identity, "a");
  EXPECT_EQ(first[0].stage, Stage::kLate);
  EXPECT_EQ(first[0].not_after, end);
  EXPECT_EQ(first[0].reason, "the CA is away");
  memory.told("a", status.serial, first[0].stage);
  EXPECT_THAT(plan({status}, no_mesh(), memory, {}, end - 1ms).warnings, IsEmpty());
  const auto second = plan({expired(status)}, no_mesh(), memory, {}, end).warnings;
  ASSERT_THAT(second, SizeIs(1));
  EXPECT_EQ(second[0].stage, Stage::kExpired);
  memory.told("a", status.serial, second[0].stage);
  EXPECT_THAT(plan({expired(status)}, no_mesh(), memory, {}, end + 1h).warnings, IsEmpty());
  const auto other = plan({expired(valid("a", -1min, "2"))}, no_mesh(), memory, {}, kNow).warnings;
  EXPECT_THAT(other, SizeIs(1)) << "another certificate is another matter";
}

TEST(CertificateWarnings, AreTimesToLookAgain) {
  CertificateMemory memory;
  // A renewal that failed is tried again much later than four fifths of the life.
  const CertificateStatus status = valid("a", 1min);
  for (int i = 0; i < 10; i++) memory.failed("a", "no", kNow - 9min, kMiddle);
  memory.failed("a", "no", kNow, kMiddle);
  CertificateStatus young = valid("a", 7min);
  EXPECT_EQ(plan({young}, no_mesh(), memory, {}, kNow).next, kNow + 150s);
  young.not_after = kNow + 160s;
  young.not_before = kNow - 10s;
  EXPECT_EQ(plan({young}, no_mesh(), memory, {}, kNow).next, kNow + 126s) << "four fifths of 170 s";
  EXPECT_EQ(plan({status}, no_mesh(), memory, {"a"}, kNow).next, kNow + 1min) << "its end, while it is being fetched";
}

TEST(CertificateAdmission, HoldsEightAtOnceOfWhichSixMayWait) {
  const std::vector<CertificateRequest> wanted = {real_time("a"), real_time("b"), warmup("c"), background("d")};
  EXPECT_EQ(admitted(wanted, {}), wanted);
  EXPECT_EQ(admitted(wanted, std::vector(8, Urgency::kRealTime)), std::vector<CertificateRequest>{});
  EXPECT_EQ(admitted(wanted, std::vector(7, Urgency::kRealTime)), (std::vector{real_time("a")}));
  EXPECT_EQ(admitted(wanted, std::vector(6, Urgency::kBackground)), (std::vector{real_time("a"), real_time("b")}));
  EXPECT_EQ(admitted(wanted, std::vector(5, Urgency::kWarmup)),
            (std::vector{real_time("a"), real_time("b"), warmup("c")}));
  EXPECT_EQ(admitted(std::vector(20, warmup("c")), {}).size(), kPatientFetchesMax);
  EXPECT_EQ(admitted(std::vector(20, real_time("a")), {}).size(), kFetchesMax);
}

}  // namespace
}  // namespace culvert::reconcile
