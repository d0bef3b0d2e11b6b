// Socket options, with Linux's names, units and doubled buffer sizes.
#include <cerrno>
#include <cstring>
#include <string>

#include "tests/tools/packetdrill/sockets.h"

namespace culvert::packetdrill {

namespace {

std::chrono::seconds seconds(int value) { return std::chrono::seconds{value}; }

uint8_t tcp_state(const char* name) {
  const std::string state = name;
  if (state == "ESTABLISHED") return TCP_ESTABLISHED;
  if (state == "SYN-SENT") return TCP_SYN_SENT;
  if (state == "SYN-RECEIVED") return TCP_SYN_RECV;
  if (state == "FIN-WAIT-1") return TCP_FIN_WAIT1;
  if (state == "FIN-WAIT-2") return TCP_FIN_WAIT2;
  if (state == "TIME-WAIT") return TCP_TIME_WAIT;
  if (state == "CLOSE-WAIT") return TCP_CLOSE_WAIT;
  if (state == "LAST-ACK") return TCP_LAST_ACK;
  if (state == "CLOSING") return TCP_CLOSING;
  return TCP_CLOSE;
}

// What a script may assert about; fields that the stack does not tell stay 0.
tcp_info describe(const std::optional<tcp::ConnectionInfo>& info) {
  tcp_info out{};
  out.tcpi_state = TCP_CLOSE;
  if (!info) return out;
  const uint32_t mss = std::max<uint32_t>(info->mss, 1);
  out.tcpi_state = tcp_state(info->state);
  out.tcpi_rto = static_cast<uint32_t>(to_us(info->rto));
  out.tcpi_rtt = static_cast<uint32_t>(to_us(info->srtt));
  out.tcpi_snd_mss = info->mss;
  out.tcpi_snd_cwnd = info->cwnd / mss;
  out.tcpi_snd_ssthresh = info->ssthresh == 0xffffffff ? 0x7fffffff : info->ssthresh / mss;
  out.tcpi_rcv_space = info->rcv_wnd;
  return out;
}

int give(const void* from, size_t bytes, void* value, socklen_t* length) {
  *length = static_cast<socklen_t>(std::min<size_t>(*length, bytes));
  std::memcpy(value, from, *length);
  return 0;
}

}  // namespace

int Sockets::getsockopt(int fd, int level, int name, void* value, socklen_t* length) {
  Lock lock = engine_.lock();
  Socket* s = find(fd);
  if (!s) return -1;
  if (!value || !length) return fail(EFAULT);
  const tcp::ConnectionOptions& o = s->options;
  int number = 0;
  if (level == SOL_SOCKET) {
    switch (name) {
      case SO_ERROR:
        number = std::exchange(s->error, 0);
        break;
      case SO_REUSEADDR:
        number = s->reuse_address;
        break;
      case SO_KEEPALIVE:
        number = o.keepalive;
        break;
      case SO_RCVBUF:
        number = static_cast<int>(o.rcv_buffer_bytes_max * 2);
        break;
      case SO_SNDBUF:
        number = static_cast<int>(o.snd_buffer_bytes);
        break;
      case SO_TYPE:
        number = SOCK_STREAM;
        break;
      case SO_DOMAIN:
        number = s->family;
        break;
      case SO_PROTOCOL:
        number = IPPROTO_TCP;
        break;
      case SO_ACCEPTCONN:
        number = s->state == Socket::State::kListening;
        break;
      case SO_LINGER:
        return give(&s->lingering, sizeof s->lingering, value, length);
      default:
        return fail(ENOPROTOOPT);
    }
    return give(&number, sizeof number, value, length);
  }
  if (level != IPPROTO_TCP) return fail(ENOPROTOOPT);
  switch (name) {
    case TCP_NODELAY:
      number = o.nodelay;
      break;
    case TCP_CORK:
      number = s->cork;
      break;
    case TCP_MAXSEG: {
      const auto info = engine_.stack().info(s->id);
      number = info && s->state == Socket::State::kConnected ? static_cast<int>(info->mss)
               : o.mss_clamp                                 ? o.mss_clamp
                                                             : 536;
      break;
    }
    case TCP_KEEPIDLE:
      number = static_cast<int>(o.keepalive_idle / 1s);
      break;
    case TCP_KEEPINTVL:
      number = static_cast<int>(o.keepalive_interval / 1s);
      break;
    case TCP_KEEPCNT:
      number = o.keepalive_probes;
      break;
    case TCP_USER_TIMEOUT:
      number = o.user_timeout ? static_cast<int>(to_ms(*o.user_timeout)) : 0;
      break;
    case TCP_QUICKACK:
      number = 1;
      break;
    case TCP_CONGESTION: {
      const std::string algorithm = o.cubic ? "cubic" : "reno";
      return give(algorithm.c_str(), algorithm.size() + 1, value, length);
    }
    case TCP_INFO: {
      const tcp_info info = describe(engine_.stack().info(s->id));
      return give(&info, sizeof info, value, length);
    }
    default:
      return fail(ENOPROTOOPT);
  }
  return give(&number, sizeof number, value, length);
}

int Sockets::setsockopt(int fd, int level, int name, const void* value, socklen_t length) {
  Lock lock = engine_.lock();
  Socket* s = find(fd);
  if (!s) return -1;
  if (!value) return fail(EFAULT);
  tcp::ConnectionOptions& o = s->options;
  if (level == SOL_SOCKET && name == SO_LINGER) {
    if (length < sizeof(linger)) return fail(EINVAL);
    std::memcpy(&s->lingering, value, sizeof(linger));
    return 0;
  }
  if (level == IPPROTO_TCP && name == TCP_CONGESTION) {
    const std::string algorithm(static_cast<const char*>(value), ::strnlen(static_cast<const char*>(value), length));
    if (algorithm != "cubic" && algorithm != "reno") return fail(ENOENT);
    o.cubic = algorithm == "cubic";
    return 0;
  }
  if (length < sizeof(int)) return fail(EINVAL);
  int number;
  std::memcpy(&number, value, sizeof number);
  if (level == SOL_SOCKET) {
    switch (name) {
      case SO_REUSEADDR:
        s->reuse_address = number != 0;
        return 0;
      case SO_KEEPALIVE:
        o.keepalive = number != 0;
        break;
      case SO_RCVBUF:
        if (number < 0) return fail(EINVAL);
        o.rcv_buffer_bytes_max = std::max(static_cast<uint32_t>(number), 1152u);
        break;
      case SO_SNDBUF:
        if (number < 0) return fail(EINVAL);
        // Doubled for overhead, as Linux does; a receive buffer is doubled and halved again.
        o.snd_buffer_bytes = std::max(static_cast<uint32_t>(number), 2304u) * 2;
        break;
      default:
        return fail(ENOPROTOOPT);
    }
  } else if (level == IPPROTO_TCP) {
    switch (name) {
      case TCP_NODELAY:
        o.nodelay = number != 0;
        break;
      case TCP_MAXSEG:
        if (number < 88 || number > 32'767) return fail(EINVAL);
        o.mss_clamp = static_cast<uint16_t>(number);
        break;
      case TCP_KEEPIDLE:
        if (number < 1 || number > 32'767) return fail(EINVAL);
        o.keepalive_idle = seconds(number);
        break;
      case TCP_KEEPINTVL:
        if (number < 1 || number > 32'767) return fail(EINVAL);
        o.keepalive_interval = seconds(number);
        break;
      case TCP_KEEPCNT:
        if (number < 1 || number > 127) return fail(EINVAL);
        o.keepalive_probes = static_cast<uint8_t>(number);
        break;
      case TCP_USER_TIMEOUT:
        if (number < 0) return fail(EINVAL);
        o.user_timeout = number ? std::optional<Duration>(std::chrono::milliseconds{number}) : std::nullopt;
        break;
      case TCP_QUICKACK:
        engine_.stack().set_quick_ack(s->id, number != 0);
        break;
      default:
        return fail(ENOPROTOOPT);
    }
  } else {
    return fail(ENOPROTOOPT);
  }
  push_options(*s);
  return 0;
}

void Sockets::push_options(Socket& s) {
  engine_.stack().set_options(s.id, s.options, engine_.now());
  engine_.settle();
}

}  // namespace culvert::packetdrill
