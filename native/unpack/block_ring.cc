// The ring's one lock guards counters alone; blocks are filled and read outside of it.
#include "unpack/block_ring.h"

#include <algorithm>

namespace pvecri {

BlockRing::BlockRing() : memory_(new uint8_t[kBlocks * kBlockSize]) {}

uint64_t BlockRing::Oldest() const {
  uint64_t oldest = UINT64_MAX;
  for (int i = 0; i < kConsumers; ++i) oldest = std::min(oldest, next_[i] - (holds_[i] ? 1 : 0));
  return oldest;
}

uint8_t* BlockRing::Acquire() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return stopped_ || published_ - Oldest() < kBlocks; });
  return stopped_ ? nullptr : &memory_[published_ % kBlocks * kBlockSize];
}

void BlockRing::Publish(size_t size) {
  {
    std::lock_guard lock(mutex_);
    sizes_[published_ % kBlocks] = size;
    ++published_;
  }
  changed_.notify_all();
}

void BlockRing::Finish() {
  {
    std::lock_guard lock(mutex_);
    finished_ = true;
  }
  changed_.notify_all();
}

bool BlockRing::Next(int consumer, const uint8_t** data, size_t* size) {
  std::unique_lock lock(mutex_);
  if (holds_[consumer]) {
    holds_[consumer] = false;
    changed_.notify_all();
  }
  uint64_t& next = next_[consumer];
  changed_.wait(lock, [&] { return stopped_ || finished_ || next < published_; });
  if (stopped_ || next == published_) return false;
  *data = &memory_[next % kBlocks * kBlockSize];
  *size = sizes_[next % kBlocks];
  ++next;
  holds_[consumer] = true;
  return true;
}

void BlockRing::Stop() {
  {
    std::lock_guard lock(mutex_);
    stopped_ = true;
  }
  changed_.notify_all();
}

}  // namespace pvecri
