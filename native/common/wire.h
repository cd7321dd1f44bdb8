// The tagged binary format between the agent, the shim, the held init and the exec helper.
//
// A message is a run of fields: u16 tag, u32 length, then that many bytes, all little endian.
// Numbers are 8 bytes (two's complement where negative), flags are numbers, text carries its final
// NUL so that it can be used in place. Some fields nest a message. src/core/shim-spec.ts writes the
// same format; its unit test compares the numbers below with its own.
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <string.h>

namespace pvecri {

enum class Tag : uint16_t {
  // A container.
  kId = 1,
  kDirectory = 2,
  kRunDirectory = 3,
  kLogPath = 4,
  kCgroupRoot = 5,
  kCgroupOuter = 6,
  kCgroupMonitor = 7,
  kReadonlyRootfs = 8,
  kMount = 9,
  kMaskedPath = 10,
  kReadonlyPath = 11,
  kProcess = 12,
  kKeepStdin = 13,
  kStdinOnce = 14,
  kPrivileged = 15,
  kLogFolder = 17,
  // Of a pod with a user namespace; with kRootUid and kRootGid, which an exec has alone.
  kUserNamespace = 18,
  kRootUid = 19,
  kRootGid = 27,
  kDevice = 16,
  // Inside kMount.
  kMountSource = 20,
  kMountTarget = 21,
  kMountReadonly = 22,
  kMountRecursiveReadonly = 23,
  kMountPropagation = 24,
  // In place of all but the target: the shim's descriptor of a detached mount that is complete.
  kMountDescriptor = 25,
  // MOUNT_ATTR_NOSUID, _NODEV and _NOEXEC.
  kMountRestrictions = 26,
  kMountIdmapped = 28,
  // Inside kProcess.
  kArgument = 30,
  kEnvironment = 31,
  kCwd = 32,
  kUid = 33,
  kGid = 34,
  kGroup = 35,
  kCapabilities = 36,
  kNoNewPrivileges = 37,
  kSeccomp = 38,
  kAppArmorProfile = 39,
  kOomScoreAdj = 40,
  kTty = 41,
  kSeccompFlags = 45,
  kAmbientCapabilities = 46,
  kRlimit = 47,  // number of the resource, soft and hard limit: 8 bytes each
  // An exec; with kCgroupRoot, kCgroupOuter, kProcess, kKeepStdin, and for a terminal kRows and
  // kColumns.
  kExecName = 50,
  kReportStart = 51,
  // Requests on the control socket.
  kOperation = 60,
  kSignal = 61,
  kRows = 62,
  kColumns = 63,
  // Answers.
  kState = 70,
  kPid = 71,
  kStartedAt = 72,
  kShimPid = 73,
  kErrno = 74,
  kStep = 75,
  kText = 76,
  kWaitStatus = 77,
  kLostBytes = 78,
  // Inside kDevice.
  kDevicePath = 100,
  kDeviceIsBlock = 101,
  kDeviceMajor = 102,
  kDeviceMinor = 103,
  kDeviceMode = 104,
  kDeviceUid = 105,
  kDeviceGid = 106,
  kDeviceAccess = 107,
  kDeviceOptional = 108,
};

enum class Operation : uint64_t {
  kStatus = 1,
  kStart = 2,
  kSendSignal = 3,
  kReopenLog = 4,
  kResize = 5,
  kAttach = 6,  // with kKeepStdin; after its answer the connection carries frames
};

// A frame of an attached connection: u8 channel, u32 length, bytes. To the shim: stdin, its end,
// and sizes (u16 rows, u16 columns). From it: output, and last that the container has ended;
// without that the client was dropped, or the shim is gone.
enum class Channel : uint8_t {
  kStdin = 0,
  kStdout = 1,
  kStderr = 2,
  kSize = 3,
  kStdinEnd = 4,
  kEnded = 5,
};

enum class State : uint64_t { kCreated = 1, kRunning = 2 };

enum class Propagation : uint64_t { kPrivate = 0, kSlave = 1, kShared = 2 };

struct Field {
  Tag tag;
  const uint8_t* data;
  uint32_t size;

  // nullptr unless it is text: one NUL, at its end.
  const char* text() const {
    if (size == 0 || memchr(data, 0, size) != data + size - 1) return nullptr;
    return reinterpret_cast<const char*>(data);
  }
  uint64_t number() const {
    uint64_t value = 0;
    if (size == sizeof(value)) memcpy(&value, data, sizeof(value));
    return value;
  }
};

class Reader {
 public:
  Reader(const void* data, size_t size) : at_(static_cast<const uint8_t*>(data)), left_(size) {}
  explicit Reader(const Field& field) : Reader(field.data, field.size) {}

  // False at the end and at the first malformed byte; ok() tells them apart.
  bool Next(Field* field) {
    if (left_ == 0) return false;
    uint16_t tag;
    uint32_t size;
    if (left_ < sizeof(tag) + sizeof(size)) return Fail();
    memcpy(&tag, at_, sizeof(tag));
    memcpy(&size, at_ + sizeof(tag), sizeof(size));
    if (left_ - sizeof(tag) - sizeof(size) < size) return Fail();
    *field = {static_cast<Tag>(tag), at_ + sizeof(tag) + sizeof(size), size};
    at_ += sizeof(tag) + sizeof(size) + size;
    left_ -= sizeof(tag) + sizeof(size) + size;
    return true;
  }
  bool ok() const { return ok_; }

 private:
  bool Fail() {
    ok_ = false;
    left_ = 0;
    return false;
  }
  const uint8_t* at_;
  size_t left_;
  bool ok_ = true;
};

// Short messages in place; a text that does not fit is cut, a number that does not fit is left out.
class Writer {
 public:
  void Number(Tag tag, uint64_t value) { Put(tag, &value, sizeof(value), false); }
  void Text(Tag tag, const char* text) { Put(tag, text, strlen(text) + 1, true); }
  const uint8_t* data() const { return buffer_; }
  size_t size() const { return size_; }

 private:
  void Put(Tag tag, const void* data, size_t length, bool text) {
    const size_t header = sizeof(uint16_t) + sizeof(uint32_t);
    size_t room = sizeof(buffer_) - size_;
    if (room < header + 1 || (!text && room < header + length)) return;
    uint32_t cut = static_cast<uint32_t>(length < room - header ? length : room - header);
    memcpy(buffer_ + size_, &tag, sizeof(tag));
    memcpy(buffer_ + size_ + sizeof(tag), &cut, sizeof(cut));
    memcpy(buffer_ + size_ + header, data, cut);
    size_ += header + cut;
    if (text) buffer_[size_ - 1] = 0;
  }
  uint8_t buffer_[1024];
  size_t size_ = 0;
};

}  // namespace pvecri
