// The supervisor's answers on the control socket.
#include <errno.h>
#include <unistd.h>

#include "common/gate.h"
#include "common/process.h"
#include "common/terminal.h"
#include "shim/descriptors.h"
#include "shim/supervisor.h"

namespace pvecri {

void Supervisor::OnAccept() {
  UniqueFd fd = AcceptControl(listener_.get());
  if (!fd) return;
  for (int i = 0; i < kMaxConnections; ++i) {
    if (connections_[i].open()) continue;
    Watch(fd.get(), kFirstConnection + i);
    connections_[i].Take(std::move(fd));
    return;
  }
}

void Supervisor::OnRequest(Connection* connection) {
  if (!connection->open()) return;
  Connection::Got got = connection->Read();
  if (got == Connection::Got::kNothing) return;
  if (got == Connection::Got::kClosed) {
    if (starter_ == connection) starter_ = nullptr;
    return connection->Close();
  }
  uint64_t operation = 0, signal = 0, rows = 0, columns = 0, wants_input = 0;
  Field field;
  for (Reader request = connection->request(); request.Next(&field);) {
    if (field.tag == Tag::kOperation) operation = field.number();
    if (field.tag == Tag::kSignal) signal = field.number();
    if (field.tag == Tag::kRows) rows = field.number();
    if (field.tag == Tag::kColumns) columns = field.number();
    if (field.tag == Tag::kKeepStdin) wants_input = field.number();
  }
  connection->Done();
  Failure failure;
  switch (static_cast<Operation>(operation)) {
    case Operation::kStatus:
      return Status(connection);
    case Operation::kStart:
      return Start(connection);
    case Operation::kSendSignal:
      if (signal > 64) {
        failure.Set("signal", "", EINVAL);
        return connection->Answer(failure);
      }
      SignalContainer(static_cast<int>(signal));
      return connection->Answer(Writer());
    case Operation::kReopenLog:
      if (log_.Reopen()) return connection->Answer(Writer());
      failure.Set("log", spec_.log_path);
      return connection->Answer(failure);
    case Operation::kResize:
      return Resize(connection, rows, columns);
    case Operation::kAttach:
      return Attach(connection, wants_input != 0);
  }
  failure.Set("operation", "", EOPNOTSUPP);
  connection->Answer(failure);
}

void Supervisor::Status(Connection* connection) {
  bool running = phase_ == Phase::kRunning;
  Writer answer;
  answer.Number(Tag::kState, static_cast<uint64_t>(running ? State::kRunning : State::kCreated));
  // 0 once it has ended: the number may be another process' by now.
  answer.Number(Tag::kPid, init_ ? static_cast<uint64_t>(init_pid_) : 0);
  answer.Number(Tag::kStartedAt, started_at_);
  answer.Number(Tag::kShimPid, static_cast<uint64_t>(::getpid()));
  answer.Number(Tag::kLostBytes, log_.lost_bytes());
  connection->Answer(answer);
}

bool Supervisor::MakeStdio(UniqueFd* child_stdin, UniqueFd* child_stdout, UniqueFd* child_stderr) {
  if (spec_.tty) return true;
  UniqueFd input;
  if ((spec_.keep_stdin && !MakePipe(child_stdin, &input)) || !MakePipe(&stdout_, child_stdout) ||
      !MakePipe(&stderr_, child_stderr)) {
    return false;
  }
  // From here on they are the container's root's, who gives them to the payload's user.
  for (UniqueFd* fd : {child_stdin, child_stdout, child_stderr}) {
    if (*fd && spec_.user_namespace && ::fchown(fd->get(), spec_.root_uid, spec_.root_gid) != 0) {
      return false;
    }
  }
  if (input) {
    MakeNonBlocking(input.get());
    attachments_.SetPipe(std::move(input), spec_.stdin_once);
  }
  MakeNonBlocking(stdout_.get());
  MakeNonBlocking(stderr_.get());
  Watch(stdout_.get(), kStdout);
  Watch(stderr_.get(), kStderr);
  return true;
}

// What takes CAP_SYS_RESOURCE of the host.
bool Supervisor::RaiseInitLimits(Failure* failure) {
  Field field;
  for (Reader reader(spec_.data, spec_.size); reader.Next(&field);) {
    if (field.tag != Tag::kProcess) continue;
    Process process;
    return ParseProcess(field, &process, failure) && RaiseLimits(init_pid_, process, failure);
  }
  return true;
}

void Supervisor::Start(Connection* connection) {
  Failure failure;
  if (phase_ != Phase::kCreated || !gate_) {
    failure.Set("start", "", phase_ == Phase::kRunning ? EALREADY : ESRCH);
    return connection->Answer(failure);
  }
  if (spec_.user_namespace && !RaiseInitLimits(&failure)) return connection->Answer(failure);
  UniqueFd child_stdin, child_stdout, child_stderr, child_errors;
  if (!MakePipe(&errors_, &child_errors) ||
      !MakeStdio(&child_stdin, &child_stdout, &child_stderr)) {
    failure.Set("pipes", "");
    return connection->Answer(failure);
  }
  int fds[4], count = 0;
  for (UniqueFd* fd : {&child_stdin, &child_stdout, &child_stderr, &child_errors}) {
    if (*fd) fds[count++] = fd->get();
  }
  MirrorLimits(spec_);
  if (!SendMessage(gate_.get(), &kGateRun, 1, fds, count)) {
    failure.Set("gate", "run");
    return connection->Answer(failure);
  }
  Watch(errors_.get(), kErrors);
  phase_ = Phase::kStarting;
  starter_ = connection;
}

void Supervisor::Resize(Connection* connection, uint64_t rows, uint64_t columns) {
  if (spec_.tty && stdout_ && SetTerminalSize(stdout_.get(), rows, columns)) {
    return connection->Answer(Writer());
  }
  Failure failure;
  failure.Set("terminal", "", ENOTTY);
  connection->Answer(failure);
}

void Supervisor::Attach(Connection* connection, bool wants_input) {
  Failure failure;
  if (phase_ != Phase::kRunning || !init_) {
    failure.Set("attach", "", ESRCH);
    return connection->Answer(failure);
  }
  if (!attachments_.Admits(wants_input, &failure)) return connection->Answer(failure);
  connection->Answer(Writer());
  if (!connection->open()) return;
  (void)::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, connection->fd(), nullptr);
  attachments_.Take(connection->Release(), wants_input);
}

}  // namespace pvecri
