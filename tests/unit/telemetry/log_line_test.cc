// The process's own lines, plain and JSON (reference 25).
#include "telemetry/log_line.h"

#include <gtest/gtest.h>

namespace culvert {
namespace {

constexpr int64_t kTime = 1'769'853'600'000'042;

TEST(LogLine, PlainIsTimeLevelTargetAndMessageBetweenTabs) {
  EXPECT_EQ(format_line(LogFormat::kPlain, kTime, LogLevel::kWarn, "culvert", "port uplink0: \"no\" link"),
            "2026-01-31T10:00:00.000042Z\twarn\tculvert\tport uplink0: \"no\" link");
}

TEST(LogLine, JsonIsOneObject) {
  EXPECT_EQ(format_line(LogFormat::kJson, kTime, LogLevel::kError, "culvert", "port uplink0: \"no\" link"),
            "{\"level\":\"error\",\"time\":\"2026-01-31T10:00:00.000042Z\",\"scope\":\"culvert\","
            "\"message\":\"port uplink0: \\\"no\\\" link\"}");
}

TEST(LogLine, AMessageStaysOnItsLineAndInItsColumn) {
  EXPECT_EQ(format_line(LogFormat::kPlain, 0, LogLevel::kInfo, "t", "a\nb\tc\r\n"),
            "1970-01-01T00:00:00.000000Z\tinfo\tt\ta\\nb\\tc\\r\\n");
  const std::string json = format_line(LogFormat::kJson, 0, LogLevel::kInfo, "t", "a\nb\tc\x01");
  EXPECT_TRUE(json.ends_with("\"message\":\"a\\nb\\tc\\u0001\"}")) << json;
}

TEST(LogLine, LongMessagesAreCutAndTheLineIsStillWhole) {
  for (const char byte : {'x', '\n', '\x01', '\xff'}) {
    const std::string message(100'000, byte);
    EXPECT_LT(format_line(LogFormat::kPlain, 0, LogLevel::kInfo, "t", message).size(), 20'000u);
    const std::string json = format_line(LogFormat::kJson, 0, LogLevel::kInfo, "t", message);
    EXPECT_LT(json.size(), 20'000u);
    EXPECT_TRUE(json.ends_with("...\"}"));
  }
}

TEST(LogSettings, ALineIsWrittenWhenItsLevelIsAtMostItsTargets) {
  LogSettings settings;
  EXPECT_TRUE(settings.writes_access(LogLevel::kInfo));
  EXPECT_FALSE(settings.writes_access(LogLevel::kDebug)) << "info at first";
  settings.access = LogLevel::kWarn;
  EXPECT_TRUE(settings.writes_access(LogLevel::kError));
  EXPECT_TRUE(settings.writes_access(LogLevel::kWarn));
  EXPECT_FALSE(settings.writes_access(LogLevel::kInfo));
  settings.access = LogLevel::kOff;
  EXPECT_FALSE(settings.writes_access(LogLevel::kError));
  EXPECT_TRUE(settings.writes_own(LogLevel::kInfo)) << "each target by itself";
}

}  // namespace
}  // namespace culvert
