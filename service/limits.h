// What one client may ask of a server. Everything a request can make grow has a bound here.
#pragma once

#include <cstdint>

namespace tandem {

struct Limits {
  int32_t max_open_requests = 320;  // calls being served at once; the engine bounds its own queue
  int64_t max_message_bytes = 8 << 20;
  // Of an answer, waiting for a client that does not read; beyond it the request is cancelled.
  // All that waits is sent as one event, which must fit the 4 MiB that clients accept by default.
  // About 100,000 tokens.
  int64_t max_unread_bytes = 2 << 20;

  int32_t max_label_bytes = 64;
  int32_t max_stop_strings = 16;
  int32_t max_stop_bytes = 256;  // of one stop string
  int32_t max_stop_token_ids = 64;
  int32_t max_logit_bias = 1024;

  int32_t max_messages = 4096;
  int32_t max_parts = 1024;      // of one message
  int32_t max_tool_calls = 256;  // of one message
  int32_t max_tools = 512;
  int32_t max_tool_bytes = 256 << 10;  // of one tool's JSON schema
  int32_t max_json_depth = 64;
  int32_t max_json_keys = 1024;                // of one object
  int64_t max_json_values = int64_t{1} << 20;  // of one request

  int32_t max_choices = 16;  // answers to one request, or prompts of one
};

// Of files and batches on a server (service/batch/batch_queue.h).
struct BatchLimits {
  int64_t max_file_bytes = 100 << 20;
  int64_t max_key_bytes = int64_t{8} << 30;   // all files of one key, results included
  int64_t max_all_bytes = int64_t{64} << 30;  // of all keys
  int32_t max_key_files = 2000;               // results included
  int32_t max_key_batches = 64;               // of one key that have not ended
  int64_t max_requests = 100'000;             // of one batch
  int64_t keep_s = 30 * 24 * 3600;            // files, and batches that have ended
  int64_t max_window_s = 30 * 24 * 3600;      // in which a batch is to end
  int32_t max_running = 2;                    // batches at once
  int64_t turn_s = 600;                       // then a batch makes room for another key's
};

}  // namespace tandem
