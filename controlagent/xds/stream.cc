#include "xds/stream.h"

#include <grpcpp/support/proto_buffer_reader.h>
#include <grpcpp/support/proto_buffer_writer.h>

namespace culvert::xds {
namespace {

constexpr const char* kMethod = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";

// The response as it lies in gRPC's own slices.
class ResponseInBuffer final : public EncodedResponse {
 public:
  explicit ResponseInBuffer(grpc::ByteBuffer& buffer) : buffer_(buffer) {}
  std::unique_ptr<google::protobuf::io::ZeroCopyInputStream> open() const override {
    return std::make_unique<grpc::ProtoBufferReader>(&buffer_);
  }
  size_t bytes() const override { return buffer_.Length(); }

 private:
  grpc::ByteBuffer& buffer_;
};

grpc::ByteBuffer encode(const google::protobuf::MessageLite& message) {
  grpc::ByteBuffer out;
  grpc::ProtoBufferWriter writer(&out, 16 * 1024, static_cast<int>(message.ByteSizeLong()));
  message.SerializeToZeroCopyStream(&writer);
  return out;
}

}  // namespace

Stream::Stream(std::shared_ptr<grpc::Channel> channel) : channel_(std::move(channel)), stub_(channel_) {}

void Stream::begin(grpc::CompletionQueue& queue) {
  call_ = stub_.PrepareCall(&context_, kMethod, &queue);
  ++in_flight_;
  call_->StartCall(as_void(Tag::kStart));
}

void Stream::send(const google::protobuf::MessageLite& request) {
  waiting_.push_back(encode(request));
  write_next();
}

void Stream::write_next() {
  if (!connected_ || writing_ || write_broken_ || finishing_ || waiting_.empty()) return;
  writing_ = true;
  ++in_flight_;
  call_->Write(waiting_.front(), as_void(Tag::kWrite));
}

void Stream::read() {
  if (reading_ || finishing_) return;
  reading_ = true;
  wants_read_ = false;
  ++in_flight_;
  call_->Read(&read_, as_void(Tag::kRead));
}

void Stream::next() {
  read_.Clear();
  if (waiting_.size() >= kRequestsWaitingMax && !write_broken_) {
    wants_read_ = true;
  } else {
    read();
  }
}

void Stream::finish() {
  if (finishing_) return;
  finishing_ = true;
  ++in_flight_;
  call_->Finish(&status_, as_void(Tag::kFinish));
}

Stream::Event Stream::on_completion(Tag tag, bool ok) {
  --in_flight_;
  switch (tag) {
    case Tag::kStart:
      connected_ = ok;
      if (!ok) {
        finish();
        return Event::kNothing;
      }
      read();
      write_next();
      return Event::kStarted;
    case Tag::kRead:
      reading_ = false;
      if (ok) return Event::kResponse;
      finish();
      return Event::kNothing;
    case Tag::kWrite:
      writing_ = false;
      waiting_.pop_front();
      // The end shows in the read; until then there is no point in writing.
      if (!ok) write_broken_ = true;
      write_next();
      if (wants_read_ && (waiting_.size() < kRequestsWaitingMax || write_broken_)) read();
      return Event::kNothing;
    case Tag::kFinish:
      return Event::kEnded;
    case Tag::kWake:
      ++in_flight_;
      return Event::kNothing;  // not ours
  }
  return Event::kNothing;
}

std::unique_ptr<EncodedResponse> Stream::response() { return std::make_unique<ResponseInBuffer>(read_); }

}  // namespace culvert::xds
