// Answers as bytes of HTTP/1.1. Pure functions.
#pragma once

#include <string>

#include "service/http/exchange.h"

namespace tandem {

struct AnswerFrame {
  std::string request_id;
  bool http_1_0 = false;      // no chunks: a stream ends with the connection
  bool without_body = false;  // the answer to HEAD
  bool close = false;         // the connection ends with this answer
};

// Head and body; without the pieces. Header values with line breaks are left out.
std::string FormatResponse(const HttpResponse& response, const AnswerFrame& frame);

std::string FormatEventsHead(const AnswerFrame& frame);
// Part of a stream; "" is its end.
std::string FormatEvents(const std::string& bytes, const AnswerFrame& frame);
// A comment, which readers of events skip.
std::string FormatComment(const std::string& text);

}  // namespace tandem
