// The container's outer cgroup, which the agent makes, and the leaves below, which liblxc makes.
#pragma once

#include "common/failure.h"
#include "shim/spec.h"

namespace pvecri {

// Limits of the outer cgroup that no file of the agent's expresses: the devices.
bool PrepareCgroup(const ShimSpec& spec, Failure* failure);
// Gives the leaf the limits of the outer cgroup. They bind nothing more, but with a cgroup
// namespace the payload sees the leaf's alone. Just before the start: the set-up ran in the leaf as
// well.
void MirrorLimits(const ShimSpec& spec);
// Kills every process below the outer cgroup and waits for them, at most a second. Likewise in the
// monitor's, which has ended: in shared namespaces liblxc's child starts there, and one whose
// monitor was killed at that moment waits for ever.
void KillCgroups(const ShimSpec& spec);
// Whether the kernel killed a process of the container for lack of memory.
bool HadOomKill(const ShimSpec& spec);
// Removes what liblxc and the exec helpers made: a stale leaf fails the next start (EEXIST).
void RemoveCgroups(const ShimSpec& spec);

}  // namespace pvecri
