// The gate between shim and held init: fixed descriptors, and the first byte of each message.
#pragma once

namespace pvecri {

// The monitor puts these in place before it starts liblxc; src/core/lxc-config.ts names the first
// one.
constexpr int kHostNetworkFd = 10;
constexpr int kGateFd = 11;
constexpr int kInitFd = 12;

// Shim to init. Closing the gate means "exit", never "run".
constexpr char kGateSpec = 'S';    // with the spec's memory file
constexpr char kGateMounts = 'M';  // with the next mounts, in the order of the spec; in a user
                                   // namespace a mount of each device before them
constexpr char kGateSetUp = 'U';   // all is sent: build
// With stdin, stdout, stderr and the error pipe; without stdin for the null device; for a terminal
// the error pipe alone.
constexpr char kGateRun = 'R';
// Init to shim: stands at the gate (with the pty's master for a tty), or could not build.
constexpr char kGateReady = 'Y';
constexpr char kGateFailed = 'F';

}  // namespace pvecri
