// Ctrl-C (SIGINT) and SIGTERM as calls of an ordinary function on an ordinary thread. From the
// constructor to the end of the process; at most one object.
#pragma once

#include <functional>
#include <thread>

namespace tandem {

class Interrupts {
 public:
  // `on_interrupt` gets the number of signals so far: 1, 2, ...
  explicit Interrupts(std::function<void(int count)> on_interrupt);
  ~Interrupts();  // signals are ignored from here on

 private:
  std::thread thread_;
};

}  // namespace tandem
