// One HTTP request and its answer, as the handlers of service/api/ see them. What lies below
// (sockets, TLS, HTTP/1.1, limits, keys) is http_server.h's.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/status.h"
#include "service/access/caller.h"
#include "service/access/request_log.h"
#include "service/work_queue.h"

namespace tandem {

struct HttpRequest {
  std::string method;                          // "POST"
  std::string path;                            // decoded, without the query
  std::string path_tail;                       // what a route's "*" stands for
  std::map<std::string, std::string> query;    // decoded
  std::map<std::string, std::string> headers;  // names in lower case
  std::string body;
  std::string id;  // of the request, also in the answer's header X-Request-Id
  Caller caller;   // who asks, checked
};

// A body too large to be held: the connection takes it piece by piece, as the client reads it. One
// thread at a time; calls must not block for longer than a disk does.
class BodyPieces {
 public:
  virtual ~BodyPieces() = default;
  virtual int64_t bytes() const = 0;  // of all pieces together
  // The next piece, not empty. After an error the connection is closed.
  virtual absl::StatusOr<std::string> Next() = 0;
};

struct HttpResponse {
  int status = 200;
  std::string body;
  std::string content_type = "application/json";
  std::vector<std::pair<std::string, std::string>> headers = {};  // besides the usual ones
  std::shared_ptr<BodyPieces> pieces = nullptr;                   // instead of `body`
};

// The answer's way to the client. Thread-safe. Exactly one of Send() and BeginEvents() is called,
// once; nothing blocks. Dropping an exchange without an answer sends a 500.
class Exchange {
 public:
  virtual ~Exchange() = default;

  // The whole answer.
  virtual void Send(HttpResponse response) = 0;

  // A stream of server-sent events (200, text/event-stream). While nothing is sent for some
  // seconds, `idle_comment` is asked for a comment that goes out in its place, such as the place in
  // the queue; null: a plain one.
  virtual void BeginEvents(std::function<std::string()> idle_comment = nullptr) = 0;
  // `frame` is whole: fields, and the empty line at the end. False: the client is gone, or reads so
  // slowly that the buffer (Limits::max_unread_bytes) is full; then the stream is broken off.
  virtual bool SendEvent(std::string frame) = 0;
  virtual void EndEvents() = 0;

  // Called once, on any thread, if the client leaves before the answer's end (at once, if it has).
  virtual void OnGone(std::function<void()> gone) = 0;

  // What is to be logged of this request; written when the answer ends.
  virtual RequestLog& log() = 0;
};

enum class Access {
  kOpen,   // also without a key: nothing but whether the server is up
  kKey,    // with a key, if there are keys
  kAdmin,  // with an admin's key, if there are keys
};

using HttpHandler = std::function<void(const HttpRequest&, std::shared_ptr<Exchange>)>;

// How an API words an error that the server found before its handler was called.
using ErrorWriter = std::function<HttpResponse(const absl::Status&)>;

struct Route {
  std::string method;
  std::string path;  // exact, or with "*" as one of its parts: "/v1/models/*"
  Access access = Access::kKey;
  HttpHandler handler;  // called on an intake thread
  ErrorWriter write_error;
  std::string body_type = "application/json";
  // 0: HttpServerOptions::max_body_bytes. Bodies of routes with a limit of their own are uploads:
  // together they have room of their own, so that they never take that of other requests.
  int64_t max_body_bytes = 0;
  WorkQueue* queue = nullptr;  // calls the handler instead; outlives the server
};

// All routes, in one list that tests and the server walk.
class RouteTable {
 public:
  void Add(Route route) { routes_.push_back(std::move(route)); }
  const std::vector<Route>& routes() const { return routes_; }

 private:
  std::vector<Route> routes_;
};

}  // namespace tandem
