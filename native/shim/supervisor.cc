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
#include "shim/descriptors.h"
#include "shim/sources.h"

namespace pvecri {
namespace {

constexpr int kDrainMs = 1000;

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
  if (!log_.Open(spec_.log_folder, spec_.log_path)) return failure->Set("log", spec_.log_path);
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
  attachments_.Watch(epoll_.get(), kFirstAttached);
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
    int count = ::epoll_wait(epoll_.get(), events, 8, attachments_.Timeout());
    for (int i = 0; i < count; ++i) Dispatch(events[i].data.u32);
    attachments_.DropLate();
    PauseOutput(attachments_.blocked());
  }
}

void Supervisor::Dispatch(uint32_t source) {
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
      return OnOutput(Channel::kStdout, &out_, &stdout_);
    case kStderr:
      return OnOutput(Channel::kStderr, &err_, &stderr_);
    default:
      if (source >= kFirstAttached) return attachments_.OnEvent(source);
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
    UniqueFd terminal(::fcntl(stdout_.get(), F_DUPFD_CLOEXEC, 0));
    attachments_.SetTerminal(std::move(terminal), spec_.keep_stdin);
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

void Supervisor::OnOutput(Channel channel, LogStream* stream, UniqueFd* fd) {
  // Told in the same round as what a client is now behind with.
  if (attachments_.blocked()) return;
  LogStream::Got got = stream->Read(fd->get());
  if (got == LogStream::Got::kData) {
    attachments_.Output(channel, stream->fresh(), stream->fresh_size());
    stream->Log();
  } else if (got == LogStream::Got::kEnd) {
    Unwatch(fd);
    attachments_.CloseTerminal();
  }
}

void Supervisor::PauseOutput(bool pause) {
  if (pause == paused_) return;
  paused_ = pause;
  for (auto [fd, source] : {std::pair(&stdout_, kStdout), std::pair(&stderr_, kStderr)}) {
    if (!*fd) continue;
    if (pause) {
      (void)::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd->get(), nullptr);
    } else {
      Watch(fd->get(), source);
    }
  }
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

void Supervisor::Drain() {
  // Whoever could write is dead by now, unless a descriptor travelled out of the container.
  uint64_t deadline = NowNanoseconds() + kDrainMs * 1000000ull;
  int for_clients = kDrainMs;
  while ((stdout_ || stderr_) && NowNanoseconds() < deadline) {
    if (attachments_.blocked()) {
      uint64_t before = NowNanoseconds();
      attachments_.Flush(for_clients);
      uint64_t taken = NowNanoseconds() - before;
      for_clients -= static_cast<int>(taken / 1000000);
      if (for_clients < 0) for_clients = 0;
      deadline += taken;
    }
    pollfd pipes[] = {{.fd = stdout_.get(), .events = POLLIN, .revents = 0},
                      {.fd = stderr_.get(), .events = POLLIN, .revents = 0}};
    if (::poll(pipes, 2, kDrainMs / 10) <= 0) break;
    if (pipes[0].revents) OnOutput(Channel::kStdout, &out_, &stdout_);
    if (pipes[1].revents) OnOutput(Channel::kStderr, &err_, &stderr_);
  }
  out_.Finish();
  err_.Finish();
  attachments_.Flush(for_clients);
  attachments_.End();
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
