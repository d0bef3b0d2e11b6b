// Notices that a file has new content, however it got there: written in place, replaced by a rename (editors), or by
// the swap of a symbolic link beside it (ConfigMap volumes).
//
// The directory is watched with inotify and every event in it leads to one look at the file itself, through all links:
// device, inode, size and time of change are compared with those of the last look. Looks wait until the directory has
// been quiet for a while, so that a file written in pieces is read once. Every few seconds there is a look without any
// event, for what inotify cannot see (a link into another directory, a network file system, no inotify at all).
//
// Not a thread: the owner's loop polls descriptor(), and calls poll() when it is readable and when due() comes.
#pragma once

#include <sys/stat.h>

#include <string>

#include "base/time.h"
#include "base/unique_fd.h"

namespace culvert::local {

class FileWatch {
 public:
  struct Timing {
    Duration quiet = 200ms;  // after the last event
    Duration patience = 1s;  // after the first event, in a directory that never rests
    Duration look_without_event = 5s;
  };

  // The present content counts as seen: make the watch before reading the file.
  FileWatch(std::string path, Instant now, Timing timing);
  FileWatch(std::string path, Instant now) : FileWatch(std::move(path), now, Timing()) {}

  // -1 without inotify.
  int descriptor() const { return inotify_.get(); }
  Instant due() const;

  // True when the file differs from when this last answered true (or from the start), also when it is gone or back.
  bool poll(Instant now);

 private:
  struct Look {
    bool exists = false;
    dev_t device = 0;
    ino_t inode = 0;
    off_t size = 0;
    timespec modified{};
    bool operator==(const Look& o) const {
      return exists == o.exists && device == o.device && inode == o.inode && size == o.size &&
             modified.tv_sec == o.modified.tv_sec && modified.tv_nsec == o.modified.tv_nsec;
    }
  };

  Look look() const;
  void watch_directory();
  // True when at least one event was there.
  bool drain_events();

  std::string path_, directory_;
  Timing timing_;
  UniqueFd inotify_;
  int watch_ = -1;  // -1: the directory is not (or no longer) watched
  Look seen_;
  Instant look_at_;               // without any event
  Instant first_event_ = kNever;  // not looked after yet
  Instant last_event_ = kNever;
};

}  // namespace culvert::local
