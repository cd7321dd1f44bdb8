// A child that runs in this address space, on a stack of its own.
#pragma once

#include <linux/sched.h>

#include <cstdint>

namespace pvecri {

// The child's functions leave their stack without a return, which AddressSanitizer takes for frames
// that are still in use when the next child gets the same addresses.
#define CHILD_SIDE [[gnu::no_sanitize_address]]

// Must outlive the child.
class ChildStack {
 public:
  ChildStack();
  ~ChildStack();
  ChildStack(const ChildStack&) = delete;
  ChildStack& operator=(const ChildStack&) = delete;
  bool ok() const;
  uint64_t start() const;

 private:
  void* base_;
};

// clone3 with CLONE_VM in `args`. The child has all signals blocked, may not allocate, lock or
// return. Its pid, or a negative errno.
long CloneChild(clone_args* args, const ChildStack& stack, void (*child)(void*), void* argument);

// Waits for the end of a child.
void ReapChild(int pidfd);

}  // namespace pvecri
