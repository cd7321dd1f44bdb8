// The shim proper: from the fork of the monitor to the exit record.
#pragma once

#include <sys/epoll.h>
#include <sys/types.h>

#include "common/fd_passing.h"
#include "common/process.h"
#include "shim/attach.h"
#include "shim/cgroup.h"
#include "shim/control.h"
#include "shim/ending.h"
#include "shim/log_file.h"
#include "shim/monitor.h"
#include "shim/spec.h"

namespace pvecri {

class Supervisor {
 public:
  // `ready` gets one message: the held init's pid, or the failure after everything was undone.
  Supervisor(const ShimSpec& spec, UniqueFd ready) : spec_(spec), ready_(std::move(ready)) {}
  // The process' exit code.
  int Run(UniqueFd rootfs, UniqueFd init, UniqueFd spec_file);

 private:
  enum class Phase { kSettingUp, kCreated, kStarting, kRunning, kOver };
  static constexpr int kMaxConnections = 16;
  // What an event of epoll is about.
  enum Source : uint32_t {
    kListener,
    kGate,
    kSignals,
    kMonitor,
    kInit,
    kErrors,
    kStdout,
    kStderr,
    kFirstConnection,
    kFirstAttached = kFirstConnection + kMaxConnections,
  };

  bool Prepare(Failure* failure);
  bool ForkMonitor(UniqueFd rootfs, UniqueFd init, UniqueFd spec_file, Failure* failure);
  void Loop();
  void Dispatch(uint32_t source);
  void Watch(int fd, uint32_t source);
  void Unwatch(UniqueFd* fd);

  void OnGate();
  void OnErrors();
  void OnOutput(Channel channel, LogStream* stream, UniqueFd* fd);
  void PauseOutput(bool pause);
  void OnInitEnd();
  void OnTerminate();

  // requests.cc
  void OnAccept();
  void OnRequest(Connection* connection);
  void Status(Connection* connection);
  bool RaiseInitLimits(Failure* failure);
  void Start(Connection* connection);
  bool MakeStdio(UniqueFd* child_stdin, UniqueFd* child_stdout, UniqueFd* child_stderr);
  void Resize(Connection* connection, uint64_t rows, uint64_t columns);
  void Attach(Connection* connection, bool wants_input);

  void SignalContainer(int signal);
  void End();
  void Drain();
  void DecodeResult(ExitRecord* record);
  int Abandon(const Failure& failure);

  const ShimSpec& spec_;
  Phase phase_ = Phase::kSettingUp;
  UniqueFd ready_;
  UniqueFd directory_;
  UniqueFd epoll_;
  UniqueFd signals_;
  UniqueFd listener_;
  UniqueFd gate_;
  UniqueFd monitor_;  // pidfd
  UniqueFd result_;
  UniqueFd init_;  // pidfd
  UniqueFd errors_;
  UniqueFd stdout_;  // or the pty's master
  UniqueFd stderr_;
  pid_t monitor_pid_ = -1;
  pid_t init_pid_ = -1;
  uint64_t started_at_ = 0;
  uint64_t finished_at_ = 0;
  Connection* starter_ = nullptr;
  // Of the set-up, later of a start that failed. Its step may point into failed_step_.
  Failure failure_;
  char failed_step_[64] = "";
  bool failed_ = false;
  bool paused_ = false;
  LogFile log_;
  LogStream out_{&log_, "stdout"};
  LogStream err_{&log_, "stderr"};
  Connection connections_[kMaxConnections];
  Attachments attachments_;
  Message message_;
};

}  // namespace pvecri
