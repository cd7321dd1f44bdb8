// The shim's event loop: gate, output, control requests, and the end of the container.
#include "shim/supervisor.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/gate.h"
#include "common/syscalls.h"
#include "shim/sources.h"

namespace pvecri {
namespace {

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
};

constexpr int kDrainMs = 1000;

bool MakePipe(UniqueFd* read, UniqueFd* write) {
  int fds[2];
  if (::pipe2(fds, O_CLOEXEC) != 0) return false;
  read->reset(fds[0]);
  write->reset(fds[1]);
  return true;
}

void MakeNonBlocking(int fd) { (void)::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) | O_NONBLOCK); }

// Our own words for errno in a record that a person reads.
void Describe(const Failure& failure, char* text, size_t room) {
  snprintf(text, room, "%s%s%s: %s", failure.step, failure.text[0] ? " " : "", failure.text,
           strerror(failure.error));
  for (char* at = text; *at; ++at) {
    if (static_cast<unsigned char>(*at) < ' ') *at = ' ';
  }
}

// A failure as the held init wrote it. The step is copied: the message's room is used again.
void ReadFailure(const void* data, size_t size, Failure* failure, char* step, size_t room) {
  Field field;
  for (Reader reader(data, size); reader.Next(&field);) {
    const char* text = field.text();
    if (field.tag == Tag::kErrno) failure->error = static_cast<int>(field.number());
    if (field.tag == Tag::kStep && text) snprintf(step, room, "%s", text);
    if (field.tag == Tag::kText && text) snprintf(failure->text, sizeof(failure->text), "%s", text);
  }
  failure->step = step;
}

}  // namespace

int Supervisor::Run(UniqueFd rootfs, UniqueFd init, UniqueFd spec_file) {
  Failure failure;
  if (!Prepare(&failure) ||
      !ForkMonitor(std::move(rootfs), std::move(init), std::move(spec_file), &failure)) {
    return Abandon(failure);
  }
  Loop();
  if (phase_ == Phase::kSettingUp) {
    if (!failed_) failure_.Set("liblxc", spec_.id, EIO);
    return Abandon(failure_);
  }
  End();
  return EXIT_SUCCESS;
}

bool Supervisor::Prepare(Failure* failure) {
  if (::chdir(spec_.run_directory) != 0) return failure->Set("run directory", spec_.run_directory);
  directory_.reset(::open(spec_.directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!directory_) return failure->Set("directory", spec_.directory);
  if (!log_.Open(spec_.log_path)) return failure->Set("log", spec_.log_path);
  if (!PrepareCgroup(spec_, failure)) return false;
  epoll_.reset(::epoll_create1(EPOLL_CLOEXEC));
  sigset_t mask;
  sigemptyset(&mask);
  sigaddset(&mask, SIGTERM);
  ::sigprocmask(SIG_BLOCK, &mask, nullptr);
  // A terminal's hang-up or a stray key must not end what keeps the container's log and exit
  // status.
  for (int ignored : {SIGHUP, SIGINT, SIGQUIT, SIGPIPE}) ::signal(ignored, SIG_IGN);
  signals_.reset(::signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!epoll_ || !signals_) return failure->Set("event loop", "");
  listener_ = ListenForControl(failure);
  if (!listener_) return false;
  Watch(listener_.get(), kListener);
  Watch(signals_.get(), kSignals);
  return true;
}

bool Supervisor::ForkMonitor(UniqueFd rootfs, UniqueFd init, UniqueFd spec_file, Failure* failure) {
  int pair[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0) {
    return failure->Set("gate", "");
  }
  gate_.reset(pair[0]);
  UniqueFd init_side(pair[1]);
  int on = 1;
  UniqueFd result_write;
  if (::setsockopt(gate_.get(), SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)) != 0 ||
      !MakePipe(&result_, &result_write)) {
    return failure->Set("gate", "");
  }
  pid_t shim = ::getpid();
  monitor_pid_ = ::fork();
  if (monitor_pid_ < 0) return failure->Set("fork", "");
  if (monitor_pid_ == 0) {
    RunMonitor(spec_, {rootfs.get(), init.get(), init_side.get(), result_write.get()}, shim);
  }
  monitor_.reset(PidfdOpen(monitor_pid_));
  if (!monitor_) return failure->Set("fork", "pidfd");
  init_side.reset();
  Watch(monitor_.get(), kMonitor);
  Watch(gate_.get(), kGate);
  int spec_fd = spec_file.get();
  if (!SendMessage(gate_.get(), &kGateSpec, 1, &spec_fd, 1)) return failure->Set("gate", "spec");
  if (!SendMounts(spec_, gate_.get(), failure)) return false;
  if (!SendMessage(gate_.get(), &kGateSetUp, 1, nullptr, 0)) return failure->Set("gate", "set-up");
  return true;
}

void Supervisor::Watch(int fd, uint32_t source) {
  epoll_event event = {.events = EPOLLIN, .data = {.u32 = source}};
  // ENOMEM and ENOSPC (a limit no shim comes near) would leave a container nobody serves.
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) != 0) ::abort();
}

void Supervisor::Unwatch(UniqueFd* fd) {
  // By hand: the kernel forgets a descriptor only when its last copy is closed.
  if (*fd) (void)::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd->get(), nullptr);
  fd->reset();
}

void Supervisor::Loop() {
  while (monitor_) {
    epoll_event events[8];
    int count = ::epoll_wait(epoll_.get(), events, 8, -1);
    for (int i = 0; i < count; ++i) Dispatch(events[i].data.u32, events[i].events);
  }
}

void Supervisor::Dispatch(uint32_t source, uint32_t) {
  switch (source) {
    case kListener:
      return OnAccept();
    case kGate:
      return OnGate();
    case kSignals:
      return OnTerminate();
    case kMonitor:
      return Unwatch(&monitor_);
    case kInit:
      return OnInitEnd();
    case kErrors:
      return OnErrors();
    case kStdout:
      return OnOutput(&out_, &stdout_);
    case kStderr:
      return OnOutput(&err_, &stderr_);
    default:
      return OnRequest(&connections_[source - kFirstConnection]);
  }
}

void Supervisor::OnGate() {
  if (!gate_) return;
  if (!ReceiveMessage(gate_.get(), &message_) || message_.size < 1 || phase_ != Phase::kSettingUp) {
    // The init and the monitor are gone, or going: their pidfds tell the rest.
    for (int i = 0; i < message_.fd_count; ++i) ::close(message_.fds[i]);
    message_.fd_count = 0;
    return Unwatch(&gate_);
  }
  if (message_.body[0] == kGateFailed) {
    ReadFailure(message_.body + 1, message_.size - 1, &failure_, failed_step_,
                sizeof(failed_step_));
    failed_ = true;
    return Unwatch(&gate_);
  }
  if (message_.fd_count == 1) stdout_.reset(message_.fds[0]);
  init_pid_ = message_.sender;
  // It stands at the gate and its parent waits for it: the number can't have been reused.
  init_.reset(PidfdOpen(init_pid_));
  if (!init_) return Unwatch(&gate_);
  Watch(init_.get(), kInit);
  if (stdout_) {
    MakeNonBlocking(stdout_.get());
    Watch(stdout_.get(), kStdout);
  }
  phase_ = Phase::kCreated;
  Writer answer;
  answer.Number(Tag::kPid, static_cast<uint64_t>(init_pid_));
  answer.Number(Tag::kShimPid, static_cast<uint64_t>(::getpid()));
  bool told = ::write(ready_.get(), answer.data(), answer.size()) >= 0;
  ready_.reset();
  // EPIPE: the agent died meanwhile. Its next life undoes what it finds half-made, and may have
  // looked before the init was there to be found: so it leaves by itself, by the gate's end.
  if (!told) Unwatch(&gate_);
}

void Supervisor::OnErrors() {
  if (!errors_) return;  // done by OnInitEnd in the same round
  char report[1024];
  ssize_t got = ::read(errors_.get(), report, sizeof(report));
  if (got < 0 && (errno == EINTR || errno == EAGAIN)) return;
  Unwatch(&errors_);
  if (got > 0) {
    ReadFailure(report, static_cast<size_t>(got), &failure_, failed_step_, sizeof(failed_step_));
    failed_ = true;
    phase_ = Phase::kOver;
    if (starter_) starter_->Answer(failure_);
  } else {
    started_at_ = NowNanoseconds();
    phase_ = Phase::kRunning;
    WriteStarted(directory_.get(), started_at_);
    if (starter_) Status(starter_);
  }
  starter_ = nullptr;
}

void Supervisor::OnOutput(LogStream* stream, UniqueFd* fd) {
  if (stream->Read(fd->get()) == LogStream::Got::kEnd) Unwatch(fd);
}

void Supervisor::OnInitEnd() {
  // A short-lived payload: its start and its end were told in one go, and have an order.
  OnErrors();
  finished_at_ = NowNanoseconds();
  Unwatch(&init_);
}

void Supervisor::OnTerminate() {
  signalfd_siginfo info;
  if (::read(signals_.get(), &info, sizeof(info)) == sizeof(info)) SignalContainer(SIGTERM);
}

void Supervisor::SignalContainer(int signal) {
  if (phase_ == Phase::kCreated || phase_ == Phase::kSettingUp) {
    // The held init is PID 1 of its namespace and deaf to most signals; the gate is what it minds.
    if (signal != 0) Unwatch(&gate_);
  } else if (init_) {
    (void)PidfdSendSignal(init_.get(), signal);
  }
}

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
  uint64_t operation = 0, signal = 0, rows = 0, columns = 0;
  Field field;
  for (Reader request = connection->request(); request.Next(&field);) {
    if (field.tag == Tag::kOperation) operation = field.number();
    if (field.tag == Tag::kSignal) signal = field.number();
    if (field.tag == Tag::kRows) rows = field.number();
    if (field.tag == Tag::kColumns) columns = field.number();
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
  if ((spec_.keep_stdin && !MakePipe(child_stdin, &stdin_)) || !MakePipe(&stdout_, child_stdout) ||
      !MakePipe(&stderr_, child_stderr)) {
    return false;
  }
  MakeNonBlocking(stdout_.get());
  MakeNonBlocking(stderr_.get());
  Watch(stdout_.get(), kStdout);
  Watch(stderr_.get(), kStderr);
  return true;
}

void Supervisor::Start(Connection* connection) {
  Failure failure;
  if (phase_ != Phase::kCreated || !gate_) {
    failure.Set("start", "", phase_ == Phase::kRunning ? EALREADY : ESRCH);
    return connection->Answer(failure);
  }
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
  winsize size = {.ws_row = static_cast<unsigned short>(rows),
                  .ws_col = static_cast<unsigned short>(columns)};
  if (spec_.tty && stdout_ && ::ioctl(stdout_.get(), TIOCSWINSZ, &size) == 0) {
    return connection->Answer(Writer());
  }
  Failure failure;
  failure.Set("terminal", "", ENOTTY);
  connection->Answer(failure);
}

void Supervisor::Drain() {
  // Whoever could write is dead by now, unless a descriptor travelled out of the container.
  uint64_t deadline = NowNanoseconds() + kDrainMs * 1000000ull;
  while ((stdout_ || stderr_) && NowNanoseconds() < deadline) {
    pollfd pipes[] = {{.fd = stdout_.get(), .events = POLLIN, .revents = 0},
                      {.fd = stderr_.get(), .events = POLLIN, .revents = 0}};
    if (::poll(pipes, 2, kDrainMs / 10) <= 0) break;
    if (pipes[0].revents) OnOutput(&out_, &stdout_);
    if (pipes[1].revents) OnOutput(&err_, &stderr_);
  }
  out_.Finish();
  err_.Finish();
}

void Supervisor::DecodeResult(ExitRecord* record) {
  MonitorResult result;
  bool told = ::read(result_.get(), &result, sizeof(result)) == sizeof(result);
  if (!told) {
    record->signal = SIGKILL;
    record->message = "the monitor was killed, and the container with it";
  } else if ((result.error_num & 0x7f) == 0x7f) {
    record->signal = result.error_num >> 8;
  } else if ((result.error_num & 0x7f) != 0) {
    // Not a status: what liblxc puts there before a start, and leaves when its main loop fails.
    record->signal = SIGKILL;
    record->message = "liblxc failed, and the container was killed";
  } else {
    record->exit_code = result.error_num >> 8 & 0xff;
  }
  if (record->signal != 0) record->exit_code = 128 + record->signal;
}

void Supervisor::End() {
  (void)::waitpid(monitor_pid_, nullptr, 0);
  // What is left of the container (execs, children in a shared PID namespace) ends with it.
  KillCgroups(spec_);
  OnErrors();
  Drain();
  ExitRecord record;
  record.started_at = started_at_;
  record.finished_at = finished_at_ ? finished_at_ : NowNanoseconds();
  char message[700];
  if (failed_) {
    Describe(failure_, message, sizeof(message));
    record.exit_code = 128;  // the kubelet's figure for a container that could not start
    record.message = message;
  } else if (started_at_ == 0) {
    record.signal = SIGKILL;
    record.exit_code = 128 + SIGKILL;
    record.message = "ended before it was started";
  } else {
    DecodeResult(&record);
    record.oom_killed = record.signal == SIGKILL && HadOomKill(spec_);
  }
  if (!WriteExit(directory_.get(), record)) perror("ERROR shim: exit record");
  RemoveCgroups(spec_);
  (void)::unlink(kControlSocket);
}

int Supervisor::Abandon(const Failure& failure) {
  gate_.reset();
  if (monitor_pid_ > 0) {
    (void)::kill(monitor_pid_, SIGKILL);
    (void)::waitpid(monitor_pid_, nullptr, 0);
    KillCgroups(spec_);
    RemoveCgroups(spec_);
  }
  if (listener_) (void)::unlink(kControlSocket);
  Writer answer;
  failure.Write(&answer);
  (void)!::write(ready_.get(), answer.data(), answer.size());
  return EXIT_FAILURE;
}

}  // namespace pvecri
