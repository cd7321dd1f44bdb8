// A user namespace, with others that belong to it, before anybody is in them.
#pragma once

#include <sys/types.h>

#include <memory>
#include <string>

#include "addon/clone_child.h"
#include "addon/failure.h"
#include "common/unique_fd.h"

namespace pvecri {

// As /proc/PID/uid_map wants them, one line each.
struct IdMaps {
  std::string uids;
  std::string gids;
};

// A process that keeps new namespaces until they are bound somewhere. A thread cannot make a user
// namespace for itself (unshare(2)), so a child does, and the others together with it: it owns
// them.
class NamespaceHolder {
 public:
  NamespaceHolder() = default;
  NamespaceHolder(const NamespaceHolder&) = delete;
  NamespaceHolder& operator=(const NamespaceHolder&) = delete;
  ~NamespaceHolder();  // ends the process

  // `flags` are CLONE_NEW* of the others.
  Failure Start(int flags, const IdMaps& maps);
  pid_t pid() const { return pid_; }
  int pidfd() const { return pidfd_.get(); }

 private:
  ChildStack stack_;
  UniqueFd pidfd_;
  pid_t pid_ = 0;
};

}  // namespace pvecri
