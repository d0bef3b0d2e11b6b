#include "tls/record_protection.h"

#include "base/check.h"

namespace culvert::tls {

RecordKey::RecordKey(AeadBackend& backend, CipherSuite suite, TrafficSecret secret)
    : backend_(backend), suite_(suite), secret_(std::move(secret)) {
  DP_CHECK(secret_.view().size() == hash_bytes(suite));
  key_ = backend_.make_key(suite_, traffic_key(suite_, secret_).view());
  iv_ = traffic_iv(suite_, secret_);
}

void RecordKey::update() {
  secret_ = next_traffic_secret(suite_, secret_);
  key_ = backend_.make_key(suite_, traffic_key(suite_, secret_).view());
  iv_ = traffic_iv(suite_, secret_);
  sequence_ = 0;
}

std::array<uint8_t, kAeadNonceBytes> RecordKey::next_nonce() {
  std::array<uint8_t, kAeadNonceBytes> nonce = iv_;
  uint8_t sequence[8];
  store_be64(sequence, sequence_++);
  for (size_t i = 0; i < 8; ++i) nonce[4 + i] = static_cast<uint8_t>(nonce[4 + i] ^ sequence[i]);
  return nonce;
}

Packet RecordSealer::seal(ContentType type, std::span<const ByteView> pieces, size_t bytes, BufferPool& pool) {
  DP_CHECK(bytes <= kPlaintextBytesMax);
  const auto record_bytes = static_cast<uint16_t>(bytes + kRecordOverhead);
  Packet record = record_bytes <= kSmallRoom ? pool.take_small() : pool.take_large();
  if (!record) return {};
  uint8_t* header = record.append(record_bytes);
  uint8_t* body = header + kRecordHeaderBytes;
  RecordHeader{ContentType::kApplicationData, static_cast<uint16_t>(record_bytes - kRecordHeaderBytes)}.emit(header);
  const MutableByteView out{body, bytes + 1};
  const ByteView aad{header, kRecordHeaderBytes};
  const auto inner_type = static_cast<uint8_t>(type);
  const auto nonce = next_nonce();
  if (pieces.size() <= kPiecesMax) {
    std::array<ByteView, kPiecesMax + 1> all;
    size_t count = 0;
    for (const ByteView piece : pieces) {
      if (!piece.empty()) all[count++] = piece;
    }
    all[count++] = ByteView{&inner_type, 1};
    key_->seal(nonce.data(), aad, {all.data(), count}, out, body + out.size());
  } else {
    uint8_t* to = body;
    for (const ByteView piece : pieces) {
      if (!piece.empty()) std::memcpy(to, piece.data(), piece.size());
      to += piece.size();
    }
    *to = inner_type;
    pool.count_copied(bytes);
    const ByteView whole{body, out.size()};
    key_->seal(nonce.data(), aad, {&whole, 1}, out, body + out.size());
  }
  return record;
}

RecordOpener::Opened RecordOpener::open(const ByteQueue& in, uint16_t length, BufferPool& pool) {
  DP_DCHECK(in.bytes() >= kRecordHeaderBytes + length && length <= kCiphertextBytesMax);
  if (length < kAeadTagBytes) return {.outcome = Outcome::kBadMac, .content = {}};
  const auto inner_bytes = static_cast<uint16_t>(length - kAeadTagBytes);
  Packet content = inner_bytes <= kSmallRoom ? pool.take_small() : pool.take_large();
  if (!content) return {.outcome = Outcome::kNoBuffer, .content = {}};
  uint8_t* body = content.append(inner_bytes);

  std::array<uint8_t, kRecordHeaderBytes> aad;
  std::array<uint8_t, kAeadTagBytes> tag;
  in.copy_out(0, aad);
  in.copy_out(kRecordHeaderBytes + inner_bytes, tag);
  std::array<ByteView, kPiecesMax> pieces;
  size_t count = 0;
  in.for_each(kRecordHeaderBytes, inner_bytes, [&](ByteView piece) {
    if (count < kPiecesMax) pieces[count] = piece;
    ++count;
  });
  if (count > kPiecesMax) {
    in.copy_out(kRecordHeaderBytes, {body, inner_bytes});
    pool.count_copied(inner_bytes);
    pieces[0] = {body, inner_bytes};
    count = 1;
  }
  const auto nonce = next_nonce();
  if (!key_->open(nonce.data(), aad, {pieces.data(), count}, tag.data(), {body, inner_bytes})) {
    return {.outcome = Outcome::kBadMac, .content = {}};
  }
  // RFC 8446 5.4: "scanning the field from the end toward the beginning until it finds a non-zero octet".
  size_t end = inner_bytes;
  while (end > 0 && body[end - 1] == 0) --end;
  if (end == 0) return {.outcome = Outcome::kNoContentType, .content = {}};
  const auto type = static_cast<ContentType>(body[end - 1]);
  if (end - 1 > kPlaintextBytesMax) return {.outcome = Outcome::kOverflow, .content = {}};
  content.trim_back(static_cast<uint32_t>(inner_bytes - (end - 1)));
  return {Outcome::kOpened, type, std::move(content)};
}

}  // namespace culvert::tls
