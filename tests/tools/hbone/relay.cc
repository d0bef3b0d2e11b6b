#include "tests/tools/hbone/relay.h"

#include <array>
#include <charconv>

namespace culvert::hbone_tool {

namespace {

constexpr uint32_t kChunkBytes = 64u << 10;
constexpr uint64_t kLocalQueueBytesMax = 256u << 10;  // beyond it the stream is not read

}  // namespace

Relay::Relay(Shared& shared, Tunnel& tunnel, Local local, const hbone::ConnectHeaders& headers, Instant now)
    : shared_(shared), tunnel_(tunnel), session_(*tunnel.http2()), local_(std::move(local)) {
  ++tunnel_.streams;
  report_.connection = tunnel.number();
  report_.authority = headers.authority;
  report_.peer_identity = tunnel.peer_identity();
  std::vector<http2::Header> fields;
  hbone::append_fields(headers, fields);
  const auto requested = session_.request(fields, 1, now);
  if (!requested) {
    end("lost", "the tunnel took no request");
    return;
  }
  ref_ = *requested;
  report_.number = ref_.number;
}

Relay::Relay(Shared& shared, Tunnel& tunnel, http2::StreamRef ref, Instant)
    : shared_(shared), tunnel_(tunnel), session_(*tunnel.http2()), ref_(ref), local_(Local::echo()) {
  ++tunnel_.streams;
  report_.server = true;
  report_.connection = tunnel.number();
  report_.number = ref.number;
  report_.peer_identity = tunnel.peer_identity();
  const auto fields = session_.headers(ref_);
  hbone::ConnectRequest request = hbone::parse_request(fields);
  session_.drop_headers(ref_);
  session_.set_cookie(ref_, 1);
  report_.authority = request.authority_text;
  report_.baggage = request.baggage;
  report_.forwarded_host = request.forwarded_host;
  report_.traceparent = request.traceparent;
  if (request.fault != hbone::RequestFault::kNone) {
    respond(hbone::kStatusBadRequest);
    end("refused", request.fault == hbone::RequestFault::kMethod
                       ? "expected method CONNECT, got " + request.method
                       : "no valid authority pseudo header: " + request.authority_text);
    return;
  }
  if (shared.options.to == "echo") {
    respond(hbone::kStatusOk);
    return;
  }
  std::string error;
  local_ = Local::connecting_to(shared.options.to, error);
  if (local_.failed()) {
    respond(hbone::kStatusServiceUnavailable);
    end("refused", error);
  }
}

void Relay::respond(uint16_t status) {
  char digits[3];
  std::to_chars(digits, digits + sizeof digits, status);
  const bool ok = status == hbone::kStatusOk;
  const std::array<http2::Header, 2> fields = {
      {{":status", {digits, sizeof digits}}, {"baggage", shared_.options.baggage}}};
  const size_t count = ok && !shared_.options.baggage.empty() ? 2 : 1;
  session_.respond(ref_, {fields.data(), count}, !ok);
  report_.status = status;
  established_ = ok;
}

void Relay::on_response() {
  const auto fields = session_.headers(ref_);
  const hbone::ConnectResponse response = hbone::parse_response(fields);
  session_.drop_headers(ref_);
  report_.status = response.status;
  report_.baggage = response.baggage;
  established_ = response.status == hbone::kStatusOk;
  if (!established_) end("refused", "http status: " + hbone::status_text(response.status));
}

void Relay::on_event(const http2::Event& event) {
  if (over_) return;
  switch (event.kind) {
    case http2::EventKind::kHeaders:
      on_response();
      break;
    case http2::EventKind::kReadable:
    case http2::EventKind::kEndOfStream:
    case http2::EventKind::kWritable:
      break;
    case http2::EventKind::kStopped:
      stopped_ = true;
      report_.reset_received = static_cast<uint32_t>(event.code);
      break;
    case http2::EventKind::kReset:
      report_.reset_received = static_cast<uint32_t>(event.code);
      end("reset", "peer reset the stream: " + std::string(http2::name_of(event.code)));
      break;
  }
}

void Relay::end(std::string how, std::string detail) {
  if (over_) return;
  over_ = true;
  report_.end = std::move(how);
  report_.detail = std::move(detail);
  const bool clean = report_.end == "clean";
  if (!clean) local_.abort();
  if (report_.end == "reset" && !report_.reset_received) {
    session_.reset(ref_, http2::ErrorCode::kCancel);
    report_.reset_sent = static_cast<uint32_t>(http2::ErrorCode::kCancel);
  }
  session_.release(ref_);
  --tunnel_.streams;
}

bool Relay::step(Instant now) {
  if (over_) return false;
  if (tunnel_.transport().loss() != hbone::Loss::kNone && !(session_.end_received(ref_) && established_)) {
    end("lost", tunnel_.transport().failure());
    return true;
  }
  if (report_.server && !established_ && !local_.connecting()) {
    respond(local_.failed() ? hbone::kStatusServiceUnavailable : hbone::kStatusOk);
    if (!established_) {
      end("refused", "cannot connect to " + shared_.options.to);
      return true;
    }
  }
  local_.set_reads(established_ && !sent_end_ && session_.writable_bytes(ref_) > 0);
  if (!established_) return false;
  bool moved = false;
  if (local_.is_echo()) {
    moved = move_echo(now);
  } else {
    moved = move_down(now);
    moved = move_up() || moved;
  }
  if (local_.failed()) {
    end("reset", "local end was reset");
    return true;
  }
  const bool lost = tunnel_.transport().loss() != hbone::Loss::kNone;
  const bool down_done = session_.ended(ref_) && (local_.is_echo() || local_.finished());
  const bool up_done = session_.end_sent(ref_) || stopped_ || lost;
  if (down_done && up_done) {
    const bool whole = session_.end_sent(ref_);
    end(whole ? "clean" : (lost ? "lost" : "reset"), whole ? "" : "peer took no more bytes");
    moved = true;
  }
  local_.set_reads(!over_ && !sent_end_ && session_.writable_bytes(ref_) > 0);
  return moved;
}

bool Relay::move_echo(Instant now) {
  bool moved = false;
  while (session_.writable_bytes(ref_) > 0) {
    Packet bytes = session_.read(ref_, kChunkBytes, now);
    if (!bytes) break;
    report_.bytes_received += bytes.bytes();
    report_.bytes_sent += bytes.bytes();
    session_.write(ref_, std::move(bytes));
    moved = true;
  }
  if (session_.ended(ref_) && !sent_end_) {
    sent_end_ = true;
    session_.finish(ref_);
    moved = true;
  }
  return moved;
}

bool Relay::move_up() {
  bool moved = false;
  while (!sent_end_ && !stopped_ && session_.writable_bytes(ref_) > 0) {
    Packet bytes = local_.read(*shared_.pool);
    if (!bytes) break;
    report_.bytes_sent += bytes.bytes();
    session_.write(ref_, std::move(bytes));
    moved = true;
  }
  if (local_.ended() && !sent_end_) {
    sent_end_ = true;
    session_.finish(ref_);
    moved = true;
  }
  return moved;
}

bool Relay::move_down(Instant now) {
  bool moved = false;
  while (local_.unwritten() < kLocalQueueBytesMax) {
    Packet bytes = session_.read(ref_, kChunkBytes, now);
    if (!bytes) break;
    report_.bytes_received += bytes.bytes();
    local_.write(std::move(bytes));
    moved = true;
  }
  if (session_.ended(ref_) && !local_.finished()) local_.finish();
  return local_.flush() || moved;
}

}  // namespace culvert::hbone_tool
