// The device program, assembled by hand: it is a list of comparisons.
#include "shim/device_filter.h"

#include <linux/bpf.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/unique_fd.h"
#include "common/wire.h"

namespace pvecri {
namespace {

constexpr int kAny = -1;
constexpr struct {
  int major;
  int minor;
} kCharacterDevices[] = {
    {1, 3},       // null
    {1, 5},       // zero
    {1, 7},       // full
    {1, 8},       // random
    {1, 9},       // urandom
    {5, 0},       // tty
    {5, 1},       // console
    {5, 2},       // ptmx
    {136, kAny},  // the slaves of a devpts
};

constexpr int kFixedInstructions = 64;
constexpr int kInstructionsPerDevice = 8;

class Assembler {
 public:
  explicit Assembler(size_t room)
      : code_(static_cast<bpf_insn*>(calloc(room, sizeof(bpf_insn)))), room_(room) {}
  Assembler(const Assembler&) = delete;
  Assembler& operator=(const Assembler&) = delete;
  ~Assembler() { free(code_); }

  void Load(uint8_t to, uint8_t from, size_t offset) {
    Put(BPF_LDX | BPF_MEM | BPF_W, to, from, static_cast<int16_t>(offset), 0);
  }
  void Move(uint8_t to, uint8_t from) { Put(BPF_ALU | BPF_MOV | BPF_X, to, from, 0, 0); }
  void And(uint8_t to, int value) { Put(BPF_ALU | BPF_AND | BPF_K, to, 0, 0, value); }
  void ShiftRight(uint8_t to, int bits) { Put(BPF_ALU | BPF_RSH | BPF_K, to, 0, 0, bits); }
  // Skips so many instructions unless the register holds the value.
  void SkipUnless(uint8_t on, int value, int16_t count) {
    Put(BPF_JMP | BPF_JNE | BPF_K, on, 0, count, value);
  }
  void Return(int value) {
    Put(BPF_ALU | BPF_MOV | BPF_K, BPF_REG_0, 0, 0, value);
    Put(BPF_JMP | BPF_EXIT, 0, 0, 0, 0);
  }
  const bpf_insn* code() const { return code_; }
  uint32_t count() const { return count_; }
  bool ok() const { return code_ && count_ <= room_; }

 private:
  void Put(int opcode, uint8_t to, uint8_t from, int16_t offset, int32_t value) {
    // Counted all the same: ok() tells.
    if (++count_ > room_ || !code_) return;
    code_[count_ - 1] = {.code = static_cast<uint8_t>(opcode),
                         .dst_reg = static_cast<uint8_t>(to & 0xf),
                         .src_reg = static_cast<uint8_t>(from & 0xf),
                         .off = offset,
                         .imm = value};
  }
  bpf_insn* code_;
  size_t room_;
  uint32_t count_ = 0;
};

constexpr uint8_t kType = BPF_REG_2, kAccess = BPF_REG_3, kMajor = BPF_REG_4, kMinor = BPF_REG_5,
                  kScratch = BPF_REG_6;

size_t CountDevices(const ShimSpec& spec) {
  size_t count = 0;
  Field field;
  for (Reader reader(spec.data, spec.size); reader.Next(&field);) {
    count += field.tag == Tag::kDevice;
  }
  return count;
}

// Lets one device through for the accesses it is given, all asked for at once included.
void AllowDevice(const Field& device, Assembler* program) {
  int type = BPF_DEVCG_DEV_CHAR, major = 0, minor = 0, access = 0;
  Field part;
  for (Reader reader(device); reader.Next(&part);) {
    int number = static_cast<int>(part.number());
    if (part.tag == Tag::kDeviceIsBlock && number != 0) type = BPF_DEVCG_DEV_BLOCK;
    if (part.tag == Tag::kDeviceMajor) major = number;
    if (part.tag == Tag::kDeviceMinor) minor = number;
    if (part.tag == Tag::kDeviceAccess) access = number;
  }
  program->SkipUnless(kType, type, 7);
  program->SkipUnless(kMajor, major, 6);
  program->SkipUnless(kMinor, minor, 5);
  program->Move(kScratch, kAccess);
  program->And(kScratch, ~access);
  program->SkipUnless(kScratch, 0, 2);
  program->Return(1);
}

void Assemble(const ShimSpec& spec, Assembler* program) {
  program->Load(kType, BPF_REG_1, offsetof(bpf_cgroup_dev_ctx, access_type));
  program->Move(kAccess, kType);
  program->And(kType, 0xffff);
  program->ShiftRight(kAccess, 16);
  program->Load(kMajor, BPF_REG_1, offsetof(bpf_cgroup_dev_ctx, major));
  program->Load(kMinor, BPF_REG_1, offsetof(bpf_cgroup_dev_ctx, minor));
  // A node alone opens nothing, and package managers make them.
  program->SkipUnless(kAccess, BPF_DEVCG_ACC_MKNOD, 2);
  program->Return(1);
  program->SkipUnless(kType, BPF_DEVCG_DEV_CHAR, 4 * 9 - 1);
  for (const auto& device : kCharacterDevices) {
    program->SkipUnless(kMajor, device.major, device.minor == kAny ? 2 : 3);
    if (device.minor != kAny) program->SkipUnless(kMinor, device.minor, 2);
    program->Return(1);
  }
  Field field;
  for (Reader reader(spec.data, spec.size); reader.Next(&field);) {
    if (field.tag == Tag::kDevice) AllowDevice(field, program);
  }
  program->Return(0);
}

// Four instructions each, but for the one of any minor.
static_assert(sizeof(kCharacterDevices) / sizeof(kCharacterDevices[0]) == 9);

}  // namespace

bool AttachDeviceFilter(const ShimSpec& spec, int cgroup, Failure* failure) {
  Assembler program(kFixedInstructions + kInstructionsPerDevice * CountDevices(spec));
  Assemble(spec, &program);
  if (!program.ok()) return failure->Set("device filter", "assemble", ENOMEM);
  bpf_attr load = {};
  load.prog_type = BPF_PROG_TYPE_CGROUP_DEVICE;
  load.insns = reinterpret_cast<uint64_t>(program.code());
  load.insn_cnt = program.count();
  load.license = reinterpret_cast<uint64_t>("Apache-2.0");
  strcpy(load.prog_name, "pvecri_devices");
  UniqueFd fd(static_cast<int>(::syscall(SYS_bpf, BPF_PROG_LOAD, &load, sizeof(load))));
  if (!fd) return failure->Set("device filter", "load");
  bpf_attr attach = {};
  attach.target_fd = static_cast<uint32_t>(cgroup);
  attach.attach_bpf_fd = static_cast<uint32_t>(fd.get());
  attach.attach_type = BPF_CGROUP_DEVICE;
  // Those of the levels above are asked as well, and all must agree.
  attach.attach_flags = BPF_F_ALLOW_MULTI;
  if (::syscall(SYS_bpf, BPF_PROG_ATTACH, &attach, sizeof(attach)) == 0) return true;
  return failure->Set("device filter", "attach");
}

}  // namespace pvecri
