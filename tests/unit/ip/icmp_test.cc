// Echo, errors sent, and errors understood.
#include "tests/unit/ip/ip_fixture.h"

namespace culvert::ip {
namespace {

using wire::IpProtocol;

class IcmpTest : public IpFixture {
 protected:
  // What our answer looks like to whoever gets it: classified again, on an interface that owns nothing.
  static std::vector<uint8_t> bytes(const Verdict& v) { return testkit::bytes_of_packet(v.packet); }
};

TEST_F(IcmpTest, AnswersEchoToItsOwnAddresses) {
  for (const bool v6 : {false, true}) {
    PacketBuilder echo, reply;
    v6 ? echo.ipv6("fd00::2", "fd00::1", 255) : echo.ipv4("10.0.0.2", "10.0.0.1", 1);
    echo.icmp_echo(7, 9).payload(testkit::pattern(1000));
    v6 ? reply.ipv6("fd00::1", "fd00::2")
       : reply.ipv4("10.0.0.1", "10.0.0.2").ipv4_header([](auto& h) { h.dont_fragment = true; });
    reply.icmp(v6 ? wire::icmpv6::kEchoReply : wire::icmp::kEchoReply, 0, 7u << 16 | 9).payload(testkit::pattern(1000));
    for (const size_t piece : {SIZE_MAX, size_t{11}}) {
      const Verdict v = input.classify(kPod, echo.packet(*pool, piece), false, now);
      ASSERT_EQ(v.kind, VerdictKind::kReply) << text_of(v.reason);
      EXPECT_EQ(v.datagram.destination, addr(v6 ? "fd00::2" : "10.0.0.2"));
      EXPECT_EQ(bytes(v), reply.bytes());
    }
  }
  EXPECT_EQ(counters.value(Counter::kIpEchoAnswered), 4u);
}

TEST_F(IcmpTest, EchoBehindOptionsIsAnsweredWithoutThem) {
  const Verdict v4 =
      receives(PacketBuilder().ipv4("10.0.0.2", "10.0.0.1").ipv4_options({148, 4, 0, 0}).icmp_echo(1, 2).payload("x"));
  ASSERT_EQ(v4.kind, VerdictKind::kReply);
  EXPECT_EQ(v4.packet.bytes(), 20u + 8u + 1u);
  PacketBuilder with_options;
  with_options.ipv6("fd00::2", "fd00::1").extension(IpProtocol::kHopByHop, {0, 1, 4, 0, 0, 0, 0}).icmp_echo(1, 2);
  const Verdict v6 = receives(with_options);
  ASSERT_EQ(v6.kind, VerdictKind::kReply);
  EXPECT_EQ(v6.packet.bytes(), 40u + 8u);
}

TEST_F(IcmpTest, BadIcmpIsRefused) {
  expect_drop(PacketBuilder().ipv4("10.0.0.2", "10.0.0.1").icmp_echo(1, 1).break_transport_checksum(),
              DropReason::kIpIcmpChecksumBad);
  expect_drop(PacketBuilder().ipv6("fd00::2", "fd00::1").icmp_echo(1, 1).break_transport_checksum(),
              DropReason::kIpIcmpChecksumBad);
  expect_drop(PacketBuilder().ipv4("10.0.0.2", "10.0.0.1").protocol(1).payload("1234567"),
              DropReason::kIpIcmpMalformed);
  expect_drop(PacketBuilder().ipv4("10.0.0.2", "10.0.0.1").icmp(13), DropReason::kIpIcmpUnsupported);
  expect_drop(PacketBuilder().ipv4("10.0.0.2", "10.0.0.1").icmp(wire::icmp::kEchoReply),
              DropReason::kIpIcmpUnsupported);
  expect_drop(PacketBuilder().ipv4("10.0.0.2", "10.0.0.1").icmp(wire::icmp::kRedirect).payload(tcp4().bytes()),
              DropReason::kIpIcmpUnsupported);
}

// --- errors that we send ---------------------------------------------------------------------------------------------

TEST_F(IcmpTest, UdpToAnOwnAddressIsAnsweredWithPortUnreachable) {
  const auto question = PacketBuilder().ipv4("10.0.0.2", "10.0.0.1").udp(5, 53).payload("who?");
  Verdict v = receives(question);
  ASSERT_EQ(v.kind, VerdictKind::kReply);
  EXPECT_EQ(bytes(v), PacketBuilder()
                          .ipv4("10.0.0.1", "10.0.0.2")
                          .ipv4_header([](auto& h) { h.dont_fragment = true; })
                          .icmp(wire::icmp::kUnreachable, wire::icmp::kPort)
                          .payload(question.bytes())
                          .bytes());
  const auto question6 = PacketBuilder().ipv6("fd00::2", "fd00::1").udp(5, 53).payload("who?");
  v = receives(question6);
  ASSERT_EQ(v.kind, VerdictKind::kReply);
  EXPECT_EQ(bytes(v), PacketBuilder()
                          .ipv6("fd00::1", "fd00::2")
                          .icmp(wire::icmpv6::kUnreachable, wire::icmpv6::kPort)
                          .payload(question6.bytes())
                          .bytes());
  EXPECT_EQ(counters.value(DropReason::kIpPortClosed), 2u);
  EXPECT_EQ(counters.value(Counter::kIpErrorSent), 2u);
}

TEST_F(IcmpTest, UnknownProtocolsToAnOwnAddressAreAnswered) {
  Verdict v = receives(PacketBuilder().ipv4("10.0.0.2", "10.0.0.1").protocol(132).payload("sctp"));
  ASSERT_EQ(v.kind, VerdictKind::kReply);
  EXPECT_EQ(bytes(v)[20], wire::icmp::kUnreachable);
  EXPECT_EQ(bytes(v)[21], wire::icmp::kProtocol);
  PacketBuilder six;
  six.ipv6("fd00::2", "fd00::1")
      .extension(IpProtocol::kDestinationOptions, {0, 1, 4, 0, 0, 0, 0})
      .protocol(132)
      .payload("s");
  v = receives(six);
  ASSERT_EQ(v.kind, VerdictKind::kReply);
  EXPECT_EQ(bytes(v)[40], wire::icmpv6::kParameterProblem);
  EXPECT_EQ(bytes(v)[41], wire::icmpv6::kUnrecognizedNextHeader);
  EXPECT_EQ(load_be32(&bytes(v)[44]), 40u);  // where the destination options name it
  // RFC 8200 4.7: no next header is nothing to complain about.
  expect_drop(PacketBuilder().ipv6("fd00::2", "fd00::1").protocol(59), DropReason::kIpProtocolUnknown);
  EXPECT_EQ(counters.value(DropReason::kIpProtocolUnknown), 3u);
}

TEST_F(IcmpTest, ExtensionHeadersThatAskForAnAnswerGetOne) {
  PacketBuilder option;
  option.ipv6("fd00::2", "fd00::1").extension(IpProtocol::kDestinationOptions, {0, 0x80, 4, 0, 0, 0, 0}).udp(1, 2);
  Verdict v = receives(option);
  ASSERT_EQ(v.kind, VerdictKind::kReply);
  EXPECT_EQ(bytes(v)[40], wire::icmpv6::kParameterProblem);
  EXPECT_EQ(bytes(v)[41], wire::icmpv6::kUnrecognizedOption);
  EXPECT_EQ(load_be32(&bytes(v)[44]), 42u);
  PacketBuilder routing;
  routing.ipv6("fd00::2", "fd00::1").extension(IpProtocol::kRouting, {0, 0, 1, 0, 0, 0, 0}).udp(1, 2);
  v = receives(routing);
  ASSERT_EQ(v.kind, VerdictKind::kReply);
  EXPECT_EQ(bytes(v)[41], wire::icmpv6::kErroneousField);
  EXPECT_EQ(load_be32(&bytes(v)[44]), 42u);
  // Not to others, and not for what came to everybody.
  PacketBuilder transit;
  transit.ipv6("fd00::2", "fd99::9").extension(IpProtocol::kDestinationOptions, {0, 0x80, 4, 0, 0, 0, 0}).udp(1, 2);
  expect_drop(transit, DropReason::kIpExtensionHeaderBad);
  PacketBuilder quiet;
  quiet.ipv6("fd00::2", "fd00::1").extension(IpProtocol::kDestinationOptions, {0, 0xc0, 4, 0, 0, 0, 0}).udp(1, 2);
  expect_drop(quiet, DropReason::kIpExtensionHeaderBad, true);
}

TEST_F(IcmpTest, EveryErrorHasItsTypeAndCode) {
  using Kind = IcmpError::Kind;
  struct Row {
    Kind kind;
    uint8_t type4, code4, type6, code6;
  };
  const Row rows[] = {
      {Kind::kNetUnreachable, 3, 0, 1, 0},      {Kind::kHostUnreachable, 3, 1, 1, 3},
      {Kind::kProtocolUnreachable, 3, 2, 4, 1}, {Kind::kPortUnreachable, 3, 3, 1, 4},
      {Kind::kProhibited, 3, 13, 1, 1},         {Kind::kTooBig, 3, 4, 2, 0},
      {Kind::kTimeExceeded, 11, 0, 3, 0},       {Kind::kParameterProblem, 12, 0, 4, 0},
      {Kind::kUnrecognizedOption, 12, 0, 4, 2},
  };
  for (const Row& row : rows) {
    for (const bool v6 : {false, true}) {
      Verdict about = receives(v6 ? tcp6() : tcp4());
      IcmpError error;
      error.kind = row.kind;
      error.mtu = 1400;
      const Verdict v = input.make_error(kPod, about.packet, about.datagram, error, now);
      ASSERT_EQ(v.kind, VerdictKind::kReply);
      const auto b = bytes(v);
      const size_t at = v6 ? 40 : 20;
      EXPECT_EQ(b[at], v6 ? row.type6 : row.type4);
      EXPECT_EQ(b[at + 1], v6 ? row.code6 : row.code4);
      if (row.kind == Kind::kTooBig) {
        EXPECT_EQ(load_be32(&b[at + 4]), 1400u);
      }
      EXPECT_EQ(v.datagram.source, addr(v6 ? "fd00::1" : "10.0.0.1"));
    }
  }
}

TEST_F(IcmpTest, ErrorsQuoteNoMoreThanTheStandardsAllow) {
  for (const bool v6 : {false, true}) {
    auto big = v6 ? tcp6() : tcp4();
    big.payload(testkit::pattern(3000));
    const auto original = big.bytes();
    Verdict about = input.classify(kPod, big.packet(*pool, 700), false, now);
    const Verdict v = input.make_error(kPod, about.packet, about.datagram, {IcmpError::Kind::kHostUnreachable}, now);
    const auto b = bytes(v);
    ASSERT_EQ(b.size(), v6 ? 1280u : 576u);
    const size_t at = v6 ? 48 : 28;
    EXPECT_TRUE(std::equal(b.begin() + static_cast<ptrdiff_t>(at), b.end(), original.begin()));
  }
}

TEST_F(IcmpTest, NoErrorIsSentAboutErrorsGroupsOrBroadcastFrames) {
  auto forbidden = [&](const PacketBuilder& about, bool v4) {
    Packet packet = about.packet(*pool);
    Datagram d;
    const auto b = about.bytes();
    d.source = v4 ? IpAddress::v4(&b[12]) : IpAddress::v6(&b[8]);
    d.destination = v4 ? IpAddress::v4(&b[16]) : IpAddress::v6(&b[24]);
    d.protocol = static_cast<IpProtocol>(v4 ? b[9] : b[6]);
    d.header_bytes = v4 ? 20 : 40;
    d.transport_bytes = static_cast<uint32_t>(b.size() - d.header_bytes);
    return input.make_error(kPod, packet, d, {IcmpError::Kind::kHostUnreachable}, now).reason;
  };
  EXPECT_EQ(forbidden(PacketBuilder().ipv4("10.0.0.2", "10.0.9.9").icmp(3), true), DropReason::kIpErrorForbidden);
  EXPECT_EQ(forbidden(PacketBuilder().ipv6("fd00::2", "fd99::9").icmp(1), false), DropReason::kIpErrorForbidden);
  EXPECT_EQ(forbidden(PacketBuilder().ipv6("fd00::2", "fd99::9").icmp(137), false), DropReason::kIpErrorForbidden);
  EXPECT_EQ(forbidden(PacketBuilder().ipv4("10.0.0.2", "224.0.0.1").udp(1, 2), true), DropReason::kIpErrorForbidden);
  EXPECT_EQ(forbidden(PacketBuilder().ipv6("::", "fd99::9").udp(1, 2), false), DropReason::kIpErrorForbidden);
  EXPECT_EQ(forbidden(PacketBuilder().ipv4("10.0.0.2", "10.0.9.9").icmp(8), true), DropReason{});  // an echo may be
  // RFC 1122 3.2.2: "a datagram sent as a link-layer broadcast".
  const Verdict v = receives(PacketBuilder().ipv4("10.0.0.2", "10.0.0.1").udp(1, 2), true);
  EXPECT_EQ(v.kind, VerdictKind::kDrop);
  EXPECT_EQ(counters.value(DropReason::kIpErrorForbidden), 6u);
}

TEST_F(IcmpTest, ErrorsAreLimitedInRatePerInterface) {
  const auto question = PacketBuilder().ipv4("10.0.0.2", "10.0.0.1").udp(5, 53);
  auto answered = [&] { return receives(question).kind == VerdictKind::kReply; };
  int sent = 0;
  while (answered()) ++sent;
  EXPECT_EQ(sent, 50);
  EXPECT_EQ(counters.value(DropReason::kIpErrorRateLimited), 1u);
  now += 9ms;
  EXPECT_FALSE(answered());
  now += 1ms;
  EXPECT_TRUE(answered());
  EXPECT_FALSE(answered());
  now += 10s;
  sent = 0;
  while (answered()) ++sent;
  EXPECT_EQ(sent, 50);  // the burst, however long it was quiet
  // Another interface has its own.
  InterfaceConfig config;
  config.own = {*Prefix::parse("10.0.0.1/24")};
  input.set_interface(InterfaceId{2}, config);
  EXPECT_EQ(input.classify(InterfaceId{2}, question.packet(*pool), false, now).kind, VerdictKind::kReply);
}

TEST_F(IcmpTest, ErrorsNeedAnOwnAddressAndABuffer) {
  InterfaceConfig config;
  config.own = {*Prefix::parse("10.0.0.1/24")};
  input.set_interface(InterfaceId{2}, config);
  Verdict about = receives(tcp6());
  EXPECT_EQ(input.make_error(InterfaceId{2}, about.packet, about.datagram, {}, now).reason,
            DropReason::kIpErrorNoSource);
  pool->fail_take(1);
  EXPECT_EQ(input.make_error(kPod, about.packet, about.datagram, {}, now).reason, DropReason::kIpNoBuffer);
  EXPECT_EQ(input.make_error(kNoInterface, about.packet, about.datagram, {}, now).reason,
            DropReason::kIpInterfaceUnknown);
}

// --- errors that we understand ---------------------------------------------------------------------------------------

class IcmpErrorTest : public IcmpTest {
 protected:
  IcmpErrorTest() { input.set_interface(kUplink, {}); }
  static constexpr InterfaceId kUplink{3};

  // The pod's segment comes back in an error of a router.
  Verdict error(bool v6, uint8_t type, uint8_t code, uint32_t rest, std::vector<uint8_t> quoted,
                const char* to = nullptr) {
    PacketBuilder b;
    v6 ? b.ipv6("fd77::1", to ? to : "fd00::2") : b.ipv4("172.16.0.1", to ? to : "10.0.0.2");
    return input.classify(kUplink, b.icmp(type, code, rest).payload(std::move(quoted)).packet(*pool, 50), false, now);
  }
  static std::vector<uint8_t> quote(bool v6, size_t transport = 8) {
    auto all = (v6 ? tcp6() : tcp4()).bytes();
    all.resize((v6 ? 40 : 20) + transport);
    return all;
  }
};

TEST_F(IcmpErrorTest, TellsWhichSegmentAndWhatHappened) {
  struct Row {
    bool v6;
    uint8_t type, code;
    IcmpErrorKind kind;
  };
  const Row rows[] = {
      {false, 3, 0, IcmpErrorKind::kUnreachable},
      {false, 3, 1, IcmpErrorKind::kUnreachable},
      {false, 3, 2, IcmpErrorKind::kPortUnreachable},
      {false, 3, 3, IcmpErrorKind::kPortUnreachable},
      {false, 3, 4, IcmpErrorKind::kTooBig},
      {false, 3, 9, IcmpErrorKind::kProhibited},
      {false, 3, 10, IcmpErrorKind::kProhibited},
      {false, 3, 13, IcmpErrorKind::kProhibited},
      {false, 11, 0, IcmpErrorKind::kTimeExceeded},
      {false, 12, 0, IcmpErrorKind::kOther},
      {true, 1, 0, IcmpErrorKind::kUnreachable},
      {true, 1, 1, IcmpErrorKind::kProhibited},
      {true, 1, 3, IcmpErrorKind::kUnreachable},
      {true, 1, 4, IcmpErrorKind::kPortUnreachable},
      {true, 1, 5, IcmpErrorKind::kProhibited},
      {true, 1, 6, IcmpErrorKind::kProhibited},
      {true, 2, 0, IcmpErrorKind::kTooBig},
      {true, 3, 0, IcmpErrorKind::kTimeExceeded},
      {true, 4, 0, IcmpErrorKind::kOther},
  };
  for (const Row& row : rows) {
    SCOPED_TRACE(int{row.type} * 100 + row.code);
    const Verdict v = error(row.v6, row.type, row.code, 1400, quote(row.v6));
    ASSERT_EQ(v.kind, VerdictKind::kIcmpError) << text_of(v.reason);
    EXPECT_EQ(v.error.kind, row.kind);
    EXPECT_EQ(v.error.local, (Endpoint{addr(row.v6 ? "fd00::2" : "10.0.0.2"), 1000}));
    EXPECT_EQ(v.error.remote, (Endpoint{addr(row.v6 ? "fd99::9" : "10.0.9.9"), 80}));
    EXPECT_EQ(v.error.sequence, 0x01020304u);
    EXPECT_EQ(v.error.mtu, row.kind == IcmpErrorKind::kTooBig ? 1400 : 0);
  }
  EXPECT_EQ(counters.value(Counter::kIpErrorReceived), std::size(rows));
}

TEST_F(IcmpErrorTest, MtuThatCannotBeIsNotBelieved) {
  EXPECT_EQ(error(true, 2, 0, 1279, quote(true)).reason, DropReason::kIpIcmpMalformed);  // RFC 8201 4
  EXPECT_EQ(error(true, 2, 0, 100'000, quote(true)).error.mtu, 65'535);
  EXPECT_EQ(error(false, 3, 4, 0, quote(false)).error.mtu, 0);  // an old router does not say
}

TEST_F(IcmpErrorTest, QuotationsThatSayTooLittleAreRefused) {
  for (const bool v6 : {false, true}) {
    for (size_t bytes = 0; bytes < (v6 ? 48u : 28u); ++bytes) {
      auto cut = quote(v6);
      cut.resize(bytes);
      EXPECT_EQ(error(v6, v6 ? 1 : 3, 0, 0, cut).reason, DropReason::kIpIcmpMalformed) << bytes;
    }
  }
  // An error that goes to somebody else than the sender of what it quotes.
  EXPECT_EQ(error(false, 3, 1, 0, quote(false), "10.0.0.9").reason, DropReason::kIpIcmpMalformed);
}

TEST_F(IcmpErrorTest, ErrorsAboutOtherTrafficAreForwarded) {
  const auto udp = PacketBuilder().ipv4("10.0.0.2", "10.0.9.9").udp(1, 2).payload("x").bytes();
  EXPECT_EQ(error(false, 3, 3, 0, udp).kind, VerdictKind::kForward);
  auto fragment = tcp4().ipv4_header([](auto& h) { h.fragment_offset = 800; }).bytes();
  EXPECT_EQ(error(false, 3, 3, 0, fragment).kind, VerdictKind::kForward);
  // To our own address nobody waits for it.
  auto own = PacketBuilder().ipv4("10.0.0.1", "10.0.0.2").udp(1, 2).payload("x").bytes();
  expect_drop(PacketBuilder().ipv4("10.0.0.2", "10.0.0.1").icmp(3, 3).payload(own), DropReason::kIpIcmpUnsupported);
}

TEST_F(IcmpErrorTest, ChecksumOfAnErrorIsVerified) {
  const auto bad =
      PacketBuilder().ipv4("172.16.0.1", "10.0.0.2").icmp(3, 1).payload(quote(false)).break_transport_checksum();
  EXPECT_EQ(input.classify(kUplink, bad.packet(*pool), false, now).reason, DropReason::kIpIcmpChecksumBad);
}

}  // namespace
}  // namespace culvert::ip
