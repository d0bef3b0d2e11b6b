#include "control/unix_listener.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace culvert::control {

namespace {

constexpr int kBacklog = 16;

std::string sentence(const std::string& path, std::string_view what) {
  return "cannot listen on " + path + ": " + std::string(what) + ": " + std::strerror(errno);
}

std::string in_use(const std::string& path) {
  return path +
         " is in use: another culvert-dataplane serves it; stop that one, or give this one other sockets in "
         "culvert.yaml "
         "(control.socket, control.descriptors)";
}

// Only the last folder is made: a wrong path is not to grow a tree.
Result<void, std::string> make_folder(const std::string& path) {
  const size_t slash = path.rfind('/');
  if (slash == std::string::npos || slash == 0) return {};
  const std::string folder = path.substr(0, slash);
  if (::mkdir(folder.c_str(), 0755) != 0 && errno != EEXIST) return sentence(path, "the folder cannot be made");
  return {};
}

bool somebody_answers(const sockaddr_un& address, int type) {
  const UniqueFd probe(::socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  // EAGAIN: its backlog is full, so it lives.
  return probe &&
         (::connect(probe.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0 || errno == EAGAIN);
}

}  // namespace

Result<std::unique_ptr<UnixListener>, std::string> UnixListener::open(const std::string& path, int type,
                                                                      std::vector<uint32_t> allowed_uids) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof(address.sun_path)) {
    return Failure{"cannot listen on `" + path + "`: a path of 1 to 107 bytes is accepted"};
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  std::unique_ptr<UnixListener> out(new UnixListener);
  const Result<void, std::string> folder = make_folder(path);
  if (!folder) return Failure{folder.error()};

  out->lock_ = UniqueFd(::open((path + ".lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!out->lock_) return Failure{sentence(path, "the lock beside it cannot be made")};
  if (::flock(out->lock_.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno == EWOULDBLOCK) return Failure{in_use(path)};
    return Failure{sentence(path, "the lock beside it cannot be taken")};
  }
  struct stat present {};
  if (::lstat(path.c_str(), &present) == 0) {
    if (!S_ISSOCK(present.st_mode)) {
      return Failure{"cannot listen on " + path +
                     ": something that is no socket lies there; remove it or choose another path"};
    }
    // A socket of a program that takes no lock.
    if (somebody_answers(address, type)) return Failure{in_use(path)};
    if (::unlink(path.c_str()) != 0) return Failure{sentence(path, "the old socket cannot be removed")};
  }
  out->socket_ = UniqueFd(::socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!out->socket_) return Failure{sentence(path, "no socket can be made")};
  if (::bind(out->socket_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    return Failure{sentence(path, "the socket cannot be bound")};
  }
  out->path_ = path;
  // Nobody can connect before listen(), so the mode is never wrong while it matters.
  const bool others =
      std::any_of(allowed_uids.begin(), allowed_uids.end(), [](uint32_t uid) { return uid != ::geteuid(); });
  if (::chmod(path.c_str(), others ? 0666 : 0600) != 0) return Failure{sentence(path, "its mode cannot be set")};
  if (::listen(out->socket_.get(), kBacklog) != 0) return Failure{sentence(path, "listening fails")};
  out->allowed_uids_ = std::move(allowed_uids);
  return out;
}

UnixListener::~UnixListener() {
  // The lock's file stays: to remove it would let two processes lock two files of one name.
  if (!path_.empty()) ::unlink(path_.c_str());
}

UnixListener::Accepted UnixListener::accept() {
  Accepted out;
  UniqueFd connection(::accept4(socket_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (!connection) {
    const bool nobody = errno == EAGAIN || errno == EINTR || errno == ECONNABORTED;
    out.error = nobody ? 0 : errno;
    return out;
  }
  ucred peer{};
  socklen_t length = sizeof(peer);
  if (::getsockopt(connection.get(), SOL_SOCKET, SO_PEERCRED, &peer, &length) != 0) {
    out.stranger = true;
    out.uid = ~0u;
    return out;
  }
  out.uid = peer.uid;
  if (std::find(allowed_uids_.begin(), allowed_uids_.end(), peer.uid) == allowed_uids_.end()) {
    out.stranger = true;
    return out;
  }
  out.connection = std::move(connection);
  return out;
}

}  // namespace culvert::control
