// A listening Unix socket that only some users may talk to.
//
// The file of an earlier process is replaced only when nobody serves it: a lock beside it (`<path>.lock`) is held for
// as long as the listener lives, and a socket that still answers is left alone. Who connects is judged by the
// credentials that the kernel recorded (SO_PEERCRED), so the file itself may be opened up to other users when some are
// allowed.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"

namespace culvert::control {

class UnixListener {
 public:
  // `type`: SOCK_STREAM or SOCK_SEQPACKET. Makes the folder when it is missing. The error is one sentence that says
  // what to do.
  static Result<std::unique_ptr<UnixListener>, std::string> open(const std::string& path, int type,
                                                                 std::vector<uint32_t> allowed_uids);
  ~UnixListener();  // removes the file

  struct Accepted {
    UniqueFd connection;  // non-blocking; empty: nobody waits, or a stranger was closed
    bool stranger = false;
    uint32_t uid = 0;
    int error = 0;  // errno when accept itself failed for want of something
  };
  Accepted accept();
  int fd() const { return socket_.get(); }

 private:
  UnixListener() = default;
  std::string path_;
  std::vector<uint32_t> allowed_uids_;
  UniqueFd lock_, socket_;
};

}  // namespace culvert::control
