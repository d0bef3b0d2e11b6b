#include "local/file_watch.h"

#include <sys/inotify.h>

#include <algorithm>
#include <filesystem>

namespace culvert::local {
namespace {

// Whatever can give the name another content. IN_MODIFY is left out: a writer that is not done would be an event per
// write, and its end is IN_CLOSE_WRITE.
constexpr uint32_t kEvents = IN_CLOSE_WRITE | IN_CREATE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE | IN_ATTRIB |
                             IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR;

}  // namespace

FileWatch::FileWatch(std::string path, Instant now, Timing timing)
    : path_(std::move(path)),
      directory_((std::filesystem::path(path_).parent_path() / ".").string()),
      timing_(timing),
      inotify_(inotify_init1(IN_NONBLOCK | IN_CLOEXEC)),
      look_at_(now + timing.look_without_event) {
  watch_directory();
  seen_ = look();
}

Instant FileWatch::due() const {
  if (first_event_ == kNever) return look_at_;
  return std::min({look_at_, last_event_ + timing_.quiet, first_event_ + timing_.patience});
}

bool FileWatch::poll(Instant now) {
  if (drain_events()) {
    last_event_ = now;
    if (first_event_ == kNever) first_event_ = now;
  }
  if (now < due()) return false;
  if (watch_ < 0) watch_directory();
  first_event_ = last_event_ = kNever;
  look_at_ = now + timing_.look_without_event;
  const Look found = look();
  if (found == seen_) return false;
  seen_ = found;
  return true;
}

FileWatch::Look FileWatch::look() const {
  struct stat status {};
  if (stat(path_.c_str(), &status) != 0) return {};
  return {true, status.st_dev, status.st_ino, status.st_size, status.st_mtim};
}

void FileWatch::watch_directory() {
  if (inotify_) watch_ = inotify_add_watch(inotify_.get(), directory_.c_str(), kEvents);
}

bool FileWatch::drain_events() {
  bool any = false;
  alignas(inotify_event) char buffer[4096];
  for (;;) {
    const ssize_t n = inotify_ ? read(inotify_.get(), buffer, sizeof(buffer)) : -1;
    if (n <= 0) return any;
    any = true;
    for (ssize_t at = 0; at < n;) {
      const auto* event = reinterpret_cast<const inotify_event*>(buffer + at);
      // The directory itself went away; it is looked for again at the next look.
      if ((event->mask & IN_IGNORED) != 0) watch_ = -1;
      if ((event->mask & IN_MOVE_SELF) != 0 && watch_ >= 0) inotify_rm_watch(inotify_.get(), watch_);
      at += static_cast<ssize_t>(sizeof(inotify_event) + event->len);
    }
  }
}

}  // namespace culvert::local
