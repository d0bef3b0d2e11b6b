// A small HTTP/1.1 server on one address: requests without bodies, answers of any length, each connection in a thread.
//
// cpp-httplib parses the requests and composes the answers; sockets, threads and patience are ours, because one client
// must never stall another:
//
// - A request's head is read here first: within kRequestPatience, at most kHeadBytesMax. Only whole heads are parsed.
// - At most connections_max connections. When all are in use, the one that has waited longest for its peer (idle, slow
//   to ask, slow to read) is closed for the new one; when none waits, the new one is closed.
// - A peer that takes nothing for kStallPatience, or needs longer than kAnswerPatience for one answer, is cut.
//
// A body is not read: the answer is given, and the connection ends.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "base/ip_address.h"
#include "base/result.h"
#include "base/time.h"

namespace culvert::admin {

inline constexpr Duration kRequestPatience = 2s;  // reference 21.1
inline constexpr Duration kIdlePatience = 30s;    // twice Prometheus's usual scrape interval
inline constexpr Duration kStallPatience = 10s;
inline constexpr Duration kAnswerPatience = 120s;
inline constexpr size_t kHeadBytesMax = 8192;

struct HttpRequest {
  std::string method;
  std::string path;  // decoded, without the query
  std::string accept;
  // The first value of a name in the query, decoded; none: the name is not there.
  std::function<const std::string*(const std::string& name)> query;
};

// Takes the answer's bytes piece by piece; false: the peer is gone, the rest is not worth making.
using Sink = std::function<bool(std::string_view)>;

struct HttpReply {
  int status = 200;
  std::string content_type = "text/plain; charset=utf-8";
  std::string body;
  // Instead of `body`, for what is long: called once, in the connection's thread; false ends the connection without
  // the answer's end, so that the client sees that something is missing.
  std::function<bool(const Sink&)> stream;
  std::string allow;  // of a 405: the methods that are accepted
};

// Called from any of the server's threads, several at once.
using HttpHandler = std::function<HttpReply(const HttpRequest&)>;

struct HttpCounts {
  uint64_t connections = 0;  // accepted
  uint64_t refused = 0;      // closed for want of room: new ones, and ones that waited
  uint64_t timed_out = 0;    // by one of the patiences
};

class HttpServer {
 public:
  virtual ~HttpServer() = default;  // ends every connection and waits for the threads
  // Connections wait in the kernel before. Once.
  virtual void begin() = 0;
  virtual Endpoint address() const = 0;
  virtual HttpCounts counts() const = 0;
};

// Listens. `what` ("the admin interface") and `setting` ("admin.address") are for the error, one sentence. Port 0: any
// free one.
// [::] takes both families, and stands for 0.0.0.0 where the kernel has no IPv6.
Result<std::unique_ptr<HttpServer>, std::string> serve_http(const Endpoint& address, size_t connections_max,
                                                            const std::string& what, const std::string& setting,
                                                            HttpHandler handler);

}  // namespace culvert::admin
