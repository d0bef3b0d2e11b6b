// One node's xDS stream to a fake istiod: gRPC's side of it, around an AdsStream.
#pragma once

#include "tests/testkit/fake_core.h"

namespace culvert::testkit {

// One message is under way in each direction at most. What gRPC calls takes the core's lock; the rest is called with it
// held. Deletes itself when gRPC is done with it.
class FakeIstiod::Core::Stream final : public grpc::ServerGenericBidiReactor {
 public:
  Stream(Core& core, grpc::GenericCallbackServerContext* context);

  void OnReadDone(bool ok) override;
  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;

  // Sends what is due, when nothing is under way.
  void send();
  void send_bytes(std::string bytes);
  // After the message that is under way. `who` is for the event.
  void end(int code, const std::string& text, const char* who);
  bool watching() const { return ads_ && !ended_ && !ending_; }
  AdsStream& ads() { return *ads_; }

 private:
  void refuse(int code, const std::string& text);
  // Holds each response back for the delay in force when it came about.
  bool ready();
  void finish(const grpc::Status& status);

  Core& core_;
  const uint64_t number_;
  const std::map<std::string, std::string> headers_;
  std::unique_ptr<AdsStream> ads_;
  grpc::ByteBuffer incoming_, outgoing_;
  std::deque<std::string> raw_;
  std::optional<std::chrono::steady_clock::time_point> ready_at_;
  bool writing_ = false, ended_ = false;
  std::optional<grpc::Status> ending_;
};

}  // namespace culvert::testkit
