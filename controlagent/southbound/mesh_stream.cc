#include "southbound/mesh_stream.h"

namespace culvert::southbound {
namespace {

// A transaction of 100,000 workloads is one answer after many chunks.
constexpr auto kAnswerPatience = std::chrono::seconds(20);

// One operation is under way at a time: any tag will do.
void* const kTag = nullptr;

}  // namespace

MeshStream::MeshStream(const Session& session, Calls& calls)
    : calls_(calls), stub_(api::Mesh::NewStub(session.channel)) {
  state_contract(context_, session);
  if (!calls_.begin(context_)) return;
  stream_ = stub_->AsyncPush(&context_, &queue_, kTag);
  usable_ = wait();
}

MeshStream::~MeshStream() {
  if (stream_ != nullptr) {
    context_.TryCancel();
    grpc::Status ignored;
    stream_->Finish(&ignored, kTag);
    wait();
    calls_.end();
  }
  queue_.Shutdown();
  void* tag = nullptr;
  bool ok = false;
  while (queue_.Next(&tag, &ok)) {
  }
}

bool MeshStream::wait() {
  void* tag = nullptr;
  bool ok = false;
  const auto until = std::chrono::system_clock::now() + kAnswerPatience;
  if (queue_.AsyncNext(&tag, &ok, until) == grpc::CompletionQueue::GOT_EVENT) return ok;
  // The operation still has to end before anything it points to may go; cancelled, it ends at once.
  timed_out_ = true;
  context_.TryCancel();
  queue_.Next(&tag, &ok);
  return false;
}

bool MeshStream::write(const api::MeshUpdate& update) {
  if (!usable_) return false;
  stream_->Write(update, kTag);
  return usable_ = wait();
}

bool MeshStream::read(api::MeshAck* ack) {
  if (!usable_) return false;
  stream_->Read(ack, kTag);
  return usable_ = wait();
}

grpc::Status MeshStream::status() {
  if (stream_ == nullptr) return {grpc::StatusCode::CANCELLED, "stopping"};
  if (timed_out_) return {grpc::StatusCode::DEADLINE_EXCEEDED, "no answer within 20 s"};
  if (usable_) return grpc::Status::OK;
  context_.TryCancel();  // a no-op for a stream that the server ended
  grpc::Status status;
  stream_->Finish(&status, kTag);
  wait();
  stream_.reset();
  calls_.end();
  return status;
}

}  // namespace culvert::southbound
