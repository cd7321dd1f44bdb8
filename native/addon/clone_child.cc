// A child that runs in this address space, on a stack of its own.
#include "addon/clone_child.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

#if !defined(__x86_64__)
#error "Proxmox VE runs on amd64; another machine needs its own CloneWithStack"
#endif

namespace pvecri {
namespace {

constexpr size_t kGuardSize = 4096;
constexpr size_t kStackSize = 64 * 1024;
constexpr size_t kKernelSigsetSize = 8;

// clone3 whose child starts on a stack of its own; syscall() cannot do that, because its return
// address lies on the old one.
long CloneWithStack(clone_args* args, void (*child)(void*), void* context) {
  long result;
  register void* argument asm("r12") = context;
  register void (*entry)(void*) asm("r13") = child;
  asm volatile(
      "syscall\n\t"
      "test %%rax, %%rax\n\t"
      "jnz 1f\n\t"
      "xor %%ebp, %%ebp\n\t"
      "mov %%r12, %%rdi\n\t"
      "call *%%r13\n\t"
      "ud2\n"
      "1:"
      : "=a"(result)
      : "a"(SYS_clone3), "D"(args), "S"(sizeof(*args)), "r"(argument), "r"(entry)
      : "rcx", "r11", "memory");
  return result;
}

}  // namespace

ChildStack::ChildStack() {
  base_ = mmap(nullptr, kGuardSize + kStackSize, PROT_READ | PROT_WRITE,
               MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK | MAP_NORESERVE, -1, 0);
  if (base_ != MAP_FAILED) (void)mprotect(base_, kGuardSize, PROT_NONE);
}

ChildStack::~ChildStack() {
  if (base_ != MAP_FAILED) (void)munmap(base_, kGuardSize + kStackSize);
}

bool ChildStack::ok() const { return base_ != MAP_FAILED; }

uint64_t ChildStack::start() const { return reinterpret_cast<uint64_t>(base_) + kGuardSize; }

long CloneChild(clone_args* args, const ChildStack& stack, void (*child)(void*), void* argument) {
  args->stack = stack.start();
  args->stack_size = kStackSize;
  // No handler of ours may run in the child, which shares our memory; it starts with this mask.
  uint64_t all = ~uint64_t{0};
  uint64_t before = 0;
  (void)syscall(SYS_rt_sigprocmask, SIG_SETMASK, &all, &before, kKernelSigsetSize);
  long result = CloneWithStack(args, child, argument);
  (void)syscall(SYS_rt_sigprocmask, SIG_SETMASK, &before, nullptr, kKernelSigsetSize);
  return result;
}

void ReapChild(int pidfd) {
  siginfo_t info;
  while (waitid(static_cast<idtype_t>(P_PIDFD), static_cast<id_t>(pidfd), &info, WEXITED) < 0 &&
         errno == EINTR) {
  }
}

}  // namespace pvecri
