// A ring of blocks from one producing thread to two consuming ones, each of which sees every block.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include <condition_variable>
#include <memory>
#include <mutex>

namespace pvecri {

class BlockRing {
 public:
  static constexpr size_t kBlockSize = 512 << 10;
  static constexpr int kConsumers = 2;

  BlockRing();

  // Producer: a free block of kBlockSize bytes, or nullptr once somebody has stopped the ring.
  uint8_t* Acquire();
  // Hands over the acquired block, of which `size` bytes are used.
  void Publish(size_t size);
  // No block will follow.
  void Finish();

  // Consumer: gives back the block it holds and waits for the next one; false at the end.
  bool Next(int consumer, const uint8_t** data, size_t* size);

  // Wakes everybody up: no more blocks in or out. Called by whoever fails.
  void Stop();

 private:
  static constexpr size_t kBlocks = 8;

  // The slowest consumer's block; everything before it is free.
  uint64_t Oldest() const;

  std::mutex mutex_;
  std::condition_variable changed_;
  std::unique_ptr<uint8_t[]> memory_;
  size_t sizes_[kBlocks] = {};
  uint64_t published_ = 0;
  uint64_t next_[kConsumers] = {};  // block to be handed out next
  bool holds_[kConsumers] = {};     // whether block next_ - 1 is still being read
  bool finished_ = false;
  bool stopped_ = false;
};

}  // namespace pvecri
