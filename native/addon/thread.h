// Starting a thread of our own: no signal of Node's is ever handled on it, and failing is an errno.
#pragma once

#include <cerrno>
#include <csignal>
#include <system_error>
#include <thread>
#include <utility>

namespace pvecri {

// Returns 0 or an errno: a host out of threads must not end the agent.
template <typename Function>
int StartThread(std::thread* thread, Function function) {
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  int error = 0;
  try {
    *thread = std::thread(std::move(function));
  } catch (const std::system_error& failure) {
    error = failure.code().value();
    if (error == 0) error = EAGAIN;
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return error;
}

}  // namespace pvecri
