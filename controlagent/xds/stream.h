// One delta stream to istiod over gRPC's asynchronous interface: turns completions of its queue into events, keeps
// requests until they can be written, and reads no further while too many wait, so that a peer that takes no ACKs
// cannot make us pile them up.
//
// Used by one thread, the one that takes events from the queue. After cancel() or an end, the queue's events go on
// being handed in until drained(); only then may the stream go.
#pragma once

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <grpcpp/completion_queue.h>
#include <grpcpp/generic/generic_stub.h>

#include <deque>
#include <memory>

#include "xds/response_reader.h"

namespace culvert::xds {

// What a completion of the queue was.
enum class Tag : intptr_t { kStart = 1, kRead, kWrite, kFinish, kWake };

class Stream {
 public:
  static constexpr size_t kRequestsWaitingMax = 64;

  explicit Stream(std::shared_ptr<grpc::Channel> channel);

  // Headers go here before begin().
  grpc::ClientContext& context() { return context_; }
  void begin(grpc::CompletionQueue& queue);
  void send(const google::protobuf::MessageLite& request);
  void cancel() { context_.TryCancel(); }

  enum class Event : uint8_t { kNothing, kStarted, kResponse, kEnded };
  // Takes a completion. After kResponse, response() holds it until next(); after kEnded, status() says why.
  Event on_completion(Tag tag, bool ok);
  std::unique_ptr<EncodedResponse> response();
  void next();

  const grpc::Status& status() const { return status_; }
  bool connected() const { return connected_; }
  bool drained() const { return in_flight_ == 0; }

 private:
  void write_next();
  void read();
  void finish();
  static void* as_void(Tag tag) { return reinterpret_cast<void*>(tag); }

  std::shared_ptr<grpc::Channel> channel_;
  grpc::GenericStub stub_;
  grpc::ClientContext context_;
  std::unique_ptr<grpc::GenericClientAsyncReaderWriter> call_;
  std::deque<grpc::ByteBuffer> waiting_;
  grpc::ByteBuffer read_;
  grpc::Status status_;
  int in_flight_ = 0;
  bool connected_ = false, writing_ = false, write_broken_ = false, reading_ = false, wants_read_ = false;
  bool finishing_ = false;
};

}  // namespace culvert::xds
