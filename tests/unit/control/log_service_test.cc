// Levels and format of the data plane's lines over the contract: applied at once, all of a request or nothing.
#include <gtest/gtest.h>

#include "control/api/log.grpc.pb.h"
#include "tests/unit/control/served.h"

namespace culvert::control {
namespace {

class LogService : public testing::Test {
 protected:
  LogService() {
    served.log = &settings;
    served.start();
    stub = api::Log::NewStub(served.channel());
  }
  grpc::Status set(const api::SetLogRequest& request) {
    Call call;
    return stub->Set(&call, request, &reply);
  }
  static void add(api::SetLogRequest& request, const std::string& target, api::LogLevel level) {
    api::LogTarget& added = *request.add_targets();
    added.set_name(target);
    added.set_level(level);
  }

  LogSettings settings;  // outlives the server
  Served served;
  std::unique_ptr<api::Log::Stub> stub;
  api::LogSettings reply;
};

TEST_F(LogService, TellsWhatIsInForce) {
  settings.access = LogLevel::kOff;
  Call call;
  ASSERT_TRUE(stub->Get(&call, {}, &reply).ok());
  EXPECT_EQ(reply.ShortDebugString(),
            "targets { name: \"access\" level: LOG_LEVEL_OFF } targets { name: \"culvert\" level: LOG_LEVEL_INFO } "
            "format: LOG_FORMAT_PLAIN");
}

TEST_F(LogService, SetsEachLevelOfATargetAndLeavesTheOthersAsTheyAre) {
  for (int level = api::LOG_LEVEL_OFF; level <= api::LOG_LEVEL_TRACE; ++level) {
    api::SetLogRequest request;
    add(request, "access", static_cast<api::LogLevel>(level));
    ASSERT_TRUE(set(request).ok());
    EXPECT_EQ("LOG_LEVEL_" + std::string(name_of(settings.access.load())), [&] {
      std::string name = api::LogLevel_Name(reply.targets(0).level());
      for (size_t i = 10; i < name.size(); ++i) name[i] = static_cast<char>(std::tolower(name[i]));
      return name;
    }());
    EXPECT_EQ(settings.own.load(), LogLevel::kInfo);
    EXPECT_EQ(settings.format.load(), LogFormat::kPlain);
  }
  api::SetLogRequest request;
  add(request, "culvert", api::LOG_LEVEL_WARN);
  request.set_format(api::LOG_FORMAT_JSON);
  ASSERT_TRUE(set(request).ok());
  EXPECT_EQ(settings.own.load(), LogLevel::kWarn);
  EXPECT_EQ(settings.access.load(), LogLevel::kTrace);
  EXPECT_EQ(settings.format.load(), LogFormat::kJson);
  EXPECT_EQ(reply.format(), api::LOG_FORMAT_JSON);
}

TEST_F(LogService, AppliesNothingOfARequestItDoesNotUnderstand) {
  api::SetLogRequest unknown_target;
  add(unknown_target, "access", api::LOG_LEVEL_OFF);
  add(unknown_target, "dns", api::LOG_LEVEL_OFF);
  api::SetLogRequest no_level;
  add(no_level, "access", api::LOG_LEVEL_UNSPECIFIED);
  api::SetLogRequest unknown_level;
  add(unknown_level, "access", static_cast<api::LogLevel>(77));
  api::SetLogRequest unknown_format;
  add(unknown_format, "access", api::LOG_LEVEL_OFF);
  unknown_format.set_format(static_cast<api::LogFormat>(9));
  for (const auto& [request, named] : {std::pair{unknown_target, "`dns`"}, std::pair{no_level, "`access`"},
                                       std::pair{unknown_level, "77"}, std::pair{unknown_format, "format 9"}}) {
    const grpc::Status status = set(request);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT) << named;
    EXPECT_NE(status.error_message().find(named), std::string::npos) << status.error_message();
    EXPECT_EQ(settings.access.load(), LogLevel::kInfo);
    EXPECT_EQ(settings.format.load(), LogFormat::kPlain);
  }
}

TEST_F(LogService, WantsAContractVersionLikeEveryService) {
  grpc::ClientContext get;
  grpc::ClientContext set;
  EXPECT_EQ(stub->Get(&get, {}, &reply).error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_EQ(stub->Set(&set, {}, &reply).error_code(), grpc::StatusCode::FAILED_PRECONDITION);
}

}  // namespace
}  // namespace culvert::control
