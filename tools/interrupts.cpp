#include "tools/interrupts.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "core/status.h"

namespace tandem {
namespace {

int pipe_ends[2] = {-1, -1};

void Write(char what) {
  const int saved_errno = errno;
  [[maybe_unused]] const ssize_t written = write(pipe_ends[1], &what, 1);
  errno = saved_errno;
}

void OnSignal(int) { Write('i'); }

void HandleWith(void (*handler)(int)) {
  struct sigaction action = {};
  action.sa_handler = handler;
  action.sa_flags = SA_RESTART;
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
}

}  // namespace

Interrupts::Interrupts(std::function<void(int)> on_interrupt) {
  TANDEM_CHECK(pipe2(pipe_ends, O_CLOEXEC) == 0, "a pipe can be made");
  thread_ = std::thread([on_interrupt = std::move(on_interrupt)] {
    int count = 0;
    for (char what = 0; read(pipe_ends[0], &what, 1) == 1 || errno == EINTR;) {
      if (what == 'q') return;
      if (what == 'i') on_interrupt(++count);
      what = 0;
    }
  });
  HandleWith(OnSignal);
}

Interrupts::~Interrupts() {
  HandleWith(SIG_IGN);
  Write('q');
  thread_.join();
}

}  // namespace tandem
