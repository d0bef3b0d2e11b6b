// The stream that carries mesh transactions, with a bound on every wait (gRPC's blocking streams have none).
#pragma once

#include <memory>
#include <string>

#include "control/api/mesh.grpc.pb.h"
#include "southbound/session.h"

namespace culvert::southbound {

class MeshStream {
 public:
  // `calls` cancels the stream from another thread, and outlives it.
  MeshStream(const Session& session, Calls& calls);
  ~MeshStream();
  MeshStream(const MeshStream&) = delete;
  MeshStream& operator=(const MeshStream&) = delete;

  // False: the stream is of no further use; status() says why.
  bool write(const api::MeshUpdate& update);
  bool read(api::MeshAck* ack);
  grpc::Status status();

 private:
  bool wait();

  Calls& calls_;
  std::unique_ptr<api::Mesh::Stub> stub_;
  grpc::ClientContext context_;
  grpc::CompletionQueue queue_;
  std::unique_ptr<grpc::ClientAsyncReaderWriter<api::MeshUpdate, api::MeshAck>> stream_;
  bool usable_ = false, timed_out_ = false;
};

}  // namespace culvert::southbound
